"""What is observed of a network in training."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from ntk_eoc.checks import require
from ntk_eoc.kernels.matrix import ntk_matrix
from ntk_eoc.training.linearised import Function
from ntk_eoc.training.trainer import Loss, Observe


class Record(NamedTuple):
    """An observation.

    Attributes:
        train: f_t on the training points.
        test: f_t on the test points.
        loss: On the training points.
        test_loss: On the test points.
        test_error: Part of the test points that are classified wrongly.
        distance: ‖θ_t − θ_0‖.
        drift: ‖K(θ_t) − K(θ_0)‖, operator norm of the NTK matrices.
    """

    train: Float[Array, "n k"]
    test: Float[Array, "test k"]
    loss: Float[Array, ""]
    test_loss: Float[Array, ""]
    test_error: Float[Array, ""]
    distance: Float[Array, ""]
    drift: Float[Array, ""]


def wrong_class(outputs: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    """Return the part of the rows whose largest output is not at the largest target."""
    return (outputs.argmax(-1) != y.argmax(-1)).mean(dtype=outputs.dtype)


def wrong_sign(outputs: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    """Return the part of the outputs whose sign is not the target's."""
    return (outputs * y <= 0).mean(dtype=outputs.dtype)


def watch(
    f: Function,
    params: Any,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    loss: Loss,
    error: Loss,
    kernel: Callable[[Any], Array],
) -> Observe:
    """Return the function from θ_t to a `Record`.

    Args:
        f: Pure function of (params, x [n, d]).
        params: θ_0.
        train: (x, y).
        test: (x, y).
        loss: From (outputs, targets) to a scalar.
        error: The same, for the test error: `wrong_class` or `wrong_sign`.
        kernel: From params to K(θ) [n, n, k, k] on points of one's choice; its drift is recorded.
    """
    start = kernel(params)

    def observe(at: Any) -> Record:
        outputs, outputs_test = f(at, train[0]), f(at, test[0])
        moved = jax.tree.map(lambda a, b: ((a - b) ** 2).sum(), at, params)
        drift = jnp.linalg.eigvalsh(ntk_matrix(kernel(at) - start))
        return Record(
            train=outputs,
            test=outputs_test,
            loss=loss(outputs, train[1]),
            test_loss=loss(outputs_test, test[1]),
            test_error=error(outputs_test, test[1]),
            distance=jnp.sqrt(jnp.stack(jax.tree.leaves(moved)).sum()),
            drift=jnp.abs(drift).max(),
        )

    return observe


def class_targets(
    labels: Shaped[np.ndarray, "..."] | None, n: int
) -> tuple[Float[np.ndarray, "n c"], Shaped[np.ndarray, "c"]]:
    """Return one-hot targets of labels, and the classes in the order of the columns.

    Raises:
        ValueError: If there are no labels, not one for each of n inputs, or only one class.
    """
    require(labels is not None, "labels", f"one for each of {n} inputs", labels)
    labels = np.asarray(labels)
    require(labels.shape == (n,), "labels", f"of shape ({n},), one for each input", labels.shape)
    classes, index = np.unique(labels, return_inverse=True)
    require(classes.size >= 2, "labels", "of two classes or more", classes.tolist())
    return np.eye(classes.size)[index], classes
