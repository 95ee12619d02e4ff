"""φ and φ' as NumPy functions, and clear errors for what cannot be integrated.

An activation is a user's function: it is called once in every way that the integrals call it before
anything is computed, so that what is wrong with it is said in its own terms.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from ntk_eoc.activations import Activation

TAIL = 38.0  # exp(−z²/2) underflows beyond
_BLOCKS = (512, 16_384)  # points per call of the compiled activation: two programs serve all


class ActivationError(ValueError):
    """An activation that cannot be integrated against a Gaussian, with what to do about it."""


Evaluator = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@cache
def evaluator(act: Activation) -> Evaluator:
    """Return s -> (φ(s), φ'(s)) in float64 NumPy, with clear errors for what cannot be called."""

    def both(s: Array) -> tuple[Array, Array]:
        return act(s), act.prime(s)

    def checked(what: str, call: Callable[..., tuple[Any, ...]], *args: Any) -> tuple[Any, ...]:
        try:
            return call(*args)
        except Exception as error:
            reason = (str(error).splitlines() or [""])[0]
            raise ActivationError(
                f"activation {act.name!r} must be an elementwise JAX function of an array: use "
                f"jnp functions, and jnp.where instead of if ({what} raised "
                f"{type(error).__name__}: {reason})."
            ) from error

    compiled = jax.jit(both)

    def evaluate(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blocks = -(-s.size // _BLOCKS[0])
        padded = np.resize(s.ravel(), (blocks, _BLOCKS[0])).astype(np.float64)
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            pairs = [compiled(block) for block in padded]
        value, slope = (
            np.concatenate([np.asarray(y, np.float64) for y in ys])
            for ys in zip(*pairs, strict=True)
        )
        return value[: s.size].reshape(s.shape), slope[: s.size].reshape(s.shape)

    array = jax.ShapeDtypeStruct((2, 3), float)
    # φ itself before `both`, whose annotations refuse another shape in words of their own.
    shapes = checked("tracing it", lambda: (jax.eval_shape(act.fn, array),))
    if shapes[0].shape == (2, 3):
        shapes = checked("tracing it", lambda: jax.eval_shape(both, array))
    if any(y.shape != (2, 3) for y in shapes):
        raise ActivationError(
            f"activation {act.name!r} must be elementwise, but of an array of shape (2, 3) it made "
            f"one of shape {next(y.shape for y in shapes if y.shape != (2, 3))}."
        )
    s = np.linspace(-3, 3, _BLOCKS[0])
    # Every second point at another place of the array, among other points.
    moved = np.where(np.arange(_BLOCKS[0]) % 2 == 0, s[::-1], 7.0)
    value, among = (checked("calling it", evaluate, x)[0] for x in (s, moved))
    if not np.allclose(value[::-1][::2], among[::2], rtol=1e-9, atol=1e-12, equal_nan=True):
        raise ActivationError(
            f"activation {act.name!r} must be elementwise, but its value at one point changes with "
            f"the other points of the array."
        )
    return evaluate


def check_values(act: Activation, s: np.ndarray, value: np.ndarray, slope: np.ndarray) -> None:
    """Refuse NaN."""
    for what, y in (("", value), ("the derivative of ", slope)):
        bad = np.isnan(y)
        if bad.any():
            raise ActivationError(
                f"{what}activation {act.name!r} must be a number everywhere, got nan at "
                f"s = {s[bad][0]:.4g}. (Where jnp.where hides a branch, make the hidden branch "
                f"finite too.)"
            )


def sample(act: Activation) -> tuple[np.ndarray, np.ndarray]:
    """Return φ and φ' at 512 points of |s| <= 30, where both are finite.

    Raises:
        ActivationError: If φ is not elementwise, not a number somewhere, or constant.
    """
    s = np.linspace(-30, 30, _BLOCKS[0])
    value, slope = evaluator(act)(s)
    check_values(act, s, value, slope)
    finite = np.isfinite(value) & np.isfinite(slope)
    value, slope = value[finite], slope[finite]
    if value.size == 0 or np.ptp(value) == 0:
        told = f"{value[0]:.4g}" if value.size else "infinite"
        raise ActivationError(
            f"activation {act.name!r} must not be constant, but is {told} at every |s| <= 30: "
            f"shift or scale it."
        )
    return value, slope


@cache  # asked at every point of an edge
def check_slope(act: Activation) -> None:
    """Refuse a step: it has moments, but no tangent kernel and no edge.

    Raises:
        ActivationError: If φ' is 0 wherever it is looked at.
    """
    near = np.geomspace(1e-6, 30, 256)
    between = np.convolve((-30.0, *act.kinks, 30.0), (0.5, 0.5), "valid")
    s = np.concatenate([-near, near, between])
    if not sample(act)[1].any() and not evaluator(act)(s)[1].any():
        raise ActivationError(
            f"activation {act.name!r} must have a slope, but its derivative is 0 wherever "
            f"it was looked at on |s| <= 30: smooth its steps, or scale it."
        )


def check_growth(act: Activation, q: float) -> tuple[float, float]:
    """Return the range of z that holds all of E[φ(√q z)²] but 1e-15 of it.

    Raises:
        ActivationError: If the mass does not decay: the moment does not exist.
    """
    z = np.linspace(-TAIL, TAIL, 1217)
    value, slope = evaluator(act)(np.sqrt(q) * z)
    near = np.abs(z) < 10
    check_values(act, np.sqrt(q) * z[near], value[near], slope[near])
    with np.errstate(divide="ignore"):
        size = np.nan_to_num(np.maximum(np.abs(value), np.abs(slope)), nan=0.0, posinf=np.inf)
        log_mass = 2 * np.log(size) - z**2 / 2
    if size[np.abs(z) < TAIL - 10].max() == 0:  # a dead zone wider than the weight
        return -TAIL / 4, TAIL / 4
    if np.isinf(size).any() and np.isfinite(size[[0, -1]]).all():
        raise ActivationError(
            f"activation {act.name!r} must be finite with its derivative, but one of them is "
            f"infinite at s = {np.sqrt(q) * z[np.isinf(size)][0]:.4g}: cut the pole off."
        )
    peak = z[np.argmax(log_mass)]
    if not (np.isfinite(log_mass.max()) and abs(peak) < TAIL - 10):
        if np.isfinite(log_mass.max()) and abs(peak) < TAIL - 1:  # a bump, not growth
            raise ActivationError(
                f"E[φ(√q z)²] must come from |z| < {TAIL - 10:g} to be integrated, but that of "
                f"{act.name!r} comes from z = {peak:.3g} at q = {q:.3g}, where φ is not small: "
                f"scale the inputs up, or leave out what lies at s = {np.sqrt(q) * peak:.3g}."
            )
        raise ActivationError(
            f"E[φ(√q z)²] must exist, but {act.name!r} grows too fast for it at q = {q:g}: "
            f"take a smaller q, scale its input down, or bound it (a clip far out changes nothing "
            f"else)."
        )
    mass = np.exp(log_mass - log_mass.max())
    kept = z[(mass / mass.sum() + np.exp(-(z**2) / 2) / 40) > 1e-15]
    return float(kept[0]), float(kept[-1])
