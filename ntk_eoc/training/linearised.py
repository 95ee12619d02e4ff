"""The linearised network, for any f(params, x)."""

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

Function = Callable[[Any, Array], Array]


def linearise(f: Function, params: Any) -> Function:
    """Return f_lin(θ, x) = f(θ_0, x) + J(x)(θ − θ_0), by one `jvp` a call, no Jacobian.

    Trained by gradient descent on the squared error it is what K(θ_0) predicts, exactly.

    Args:
        f: Any differentiable (params, x) -> outputs.
        params: θ_0, any tree of arrays; θ must be of the same shapes and dtypes.

    Source: `docs/theory.md` §7.
    """

    def linear(at: Any, x: Array) -> Array:
        tangent = jax.tree.map(lambda a, b: a - b, at, params)
        value, slope = jax.jvp(lambda p: f(p, x), (params,), (tangent,))
        return value + slope

    return linear
