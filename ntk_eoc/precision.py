"""Concrete or traced, float64 or not: what a computation may rely on."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


def is_traced(*arrays: Any) -> bool:
    """Whether any of the arrays has no concrete value."""
    return any(isinstance(x, jax.core.Tracer) for x in arrays)


def in_float64(f: Callable[P, R]) -> Callable[P, R]:
    """Make f compute in float64 and at once, whatever the configuration and inside of a trace.

    For functions of concrete numbers, which return NumPy arrays or floats.
    """

    @wraps(f)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            return f(*args, **kwargs)

    return wrapped


def on_all_cores(job: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Return [job(item), …] in float64, by threads; the first alone, since it compiles for all."""
    run = in_float64(job)  # which a thread has to be told by itself
    first = [run(item) for item in items[:1]]
    if len(items) < 2:
        return first
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return first + list(pool.map(run, items[1:]))


def geometric_mean(a: Array, b: Array) -> Array:
    """Return √(a b) of a, b >= 0, also where the product leaves the range of floats."""
    product = a * b
    inside = (product > float(jnp.finfo(product.dtype).tiny)) & jnp.isfinite(product)
    together = jnp.sqrt(jnp.where(inside, product, 1.0))
    return jnp.where(inside, together, jnp.sqrt(a) * jnp.sqrt(b))


def require_float64() -> None:
    """Raise unless JAX computes in float64.

    Raises:
        RuntimeError: If x64 is off.
    """
    if jnp.zeros(()).dtype != jnp.float64:
        raise RuntimeError(
            "Gaussian integrals need float64, but x64 is off: call "
            'jax.config.update("jax_enable_x64", True) at the start of the program.'
        )
