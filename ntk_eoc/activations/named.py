"""The named activations: where a string of a config or of the command line becomes a function."""

import copyreg
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from ntk_eoc import user_code
from ntk_eoc.activations import duals
from ntk_eoc.activations.core import Activation, abs_linear
from ntk_eoc.checks import unknown_name

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al., 2017


def _expm1_below(s: Array) -> Array:
    """exp(s) − 1 at s <= 0 and 0 above; by tanh, which is many times faster than expm1 here."""
    t = jnp.tanh(jnp.minimum(s, 0.0) / 2)
    return 2 * t / (1 - t)


def _elu(alpha: float, scale: float, s: Array) -> Array:
    return scale * jnp.where(s > 0, s, alpha * _expm1_below(s))


def _elu_prime(alpha: float, scale: float, s: Array) -> Array:
    return scale * jnp.where(s >= 0, 1.0, alpha * jnp.exp(jnp.minimum(s, 0.0)))


def _step_between(low: float, high: float, s: Array) -> Array:
    # The right derivative at both kinks, as of `abs_linear`.
    return jnp.where((s >= low) & (s < high), jnp.ones_like(s), jnp.zeros_like(s))


def _smooth_gelu(s: Array) -> Array:
    return jax.nn.gelu(s, approximate=True)


def _gelu(s: Array) -> Array:
    return s * jax.scipy.stats.norm.cdf(s)


def _gelu_prime(s: Array) -> Array:
    return jax.scipy.stats.norm.cdf(s) + s * jax.scipy.stats.norm.pdf(s)


def _minus_sin_dual(q1: Array, q2: Array, delta: Array) -> Array:
    return duals.sin(q1, q2, delta)  # (−sin)(−sin)


def _square(s: Array) -> Array:
    return s * s


def _squared_relu(s: Array) -> Array:
    return jnp.where(s > 0, s * s, 0.0 * s)


def _softplus(s: Array) -> Array:
    # Half the time of jax.nn.softplus, which takes care of infinities too.
    return jnp.maximum(s, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(s)))


def _softsign(s: Array) -> Array:
    return s / (1 + jnp.abs(s))


def _hard_silu(s: Array) -> Array:
    return s * jnp.clip((s + 3) / 6, 0.0, 1.0)


def _mish(s: Array) -> Array:
    return s * jnp.tanh(jax.nn.softplus(s))


_SMOOTH = [
    Activation("tanh", jnp.tanh),
    Activation("sigmoid", jax.nn.sigmoid),
    Activation("arctan", jnp.arctan),
    Activation("erf", jax.scipy.special.erf, dual=duals.erf, dual_prime=duals.erf_prime),
    Activation("gelu", _gelu, derivative=_gelu_prime, dual=duals.gelu, dual_prime=duals.gelu_prime),
    Activation("gelu_tanh", _smooth_gelu),
    Activation("silu", jax.nn.silu),
    Activation("swish", jax.nn.silu),
    Activation("mish", _mish),
    Activation("softplus", _softplus, derivative=jax.nn.sigmoid),
    Activation("sin", jnp.sin, derivative=jnp.cos, dual=duals.sin, dual_prime=duals.cos),
    Activation("cos", jnp.cos, dual=duals.cos, dual_prime=_minus_sin_dual),
    Activation("exp", jnp.exp, derivative=jnp.exp, dual=duals.exp, dual_prime=duals.exp),
    Activation("quadratic", _square, dual=duals.quadratic, dual_prime=duals.quadratic_prime),
]

_KINKED = [
    Activation("elu", partial(_elu, 1.0, 1.0), (0.0,), partial(_elu_prime, 1.0, 1.0)),
    Activation(
        "selu",
        partial(_elu, _SELU_ALPHA, _SELU_SCALE),
        (0.0,),
        partial(_elu_prime, _SELU_ALPHA, _SELU_SCALE),
    ),
    Activation(
        "hard_tanh",
        partial(jnp.clip, min=-1.0, max=1.0),
        (-1.0, 1.0),
        partial(_step_between, -1.0, 1.0),
    ),
    Activation(
        "relu6", partial(jnp.clip, min=0.0, max=6.0), (0.0, 6.0), partial(_step_between, 0.0, 6.0)
    ),
    Activation("hard_silu", _hard_silu, (-3.0, 3.0)),
    Activation("softsign", _softsign, (0.0,)),
    Activation("squared_relu", _squared_relu, (0.0,)),
]

NAMED: dict[str, Callable[[], Activation]] = {
    "identity": partial(abs_linear, 1.0, 0.0, "identity"),
    "relu": partial(abs_linear, 0.5, 0.5, "relu"),
    "leaky_relu": partial(abs_linear, 0.505, 0.495, "leaky_relu"),  # slope 0.01 below zero
    "abs": partial(abs_linear, 0.0, 1.0, "abs"),
    **{act.name: partial(lambda act: act, act) for act in (*_SMOOTH, *_KINKED)},
}


_SOURCE = "_source"  # where an activation keeps the file and the name that it was loaded by


def _by_name(act: Activation) -> Any:
    """How to pickle an activation: by name, here or in a file: its function may have none."""
    if act.name in NAMED and NAMED[act.name]() is act:
        return activation, (act.name,)
    if _SOURCE in act.__dict__:
        return activation, (act.__dict__[_SOURCE],)
    return object.__reduce_ex__(act, 4)


copyreg.pickle(Activation, _by_name)


def activation(name: str) -> Activation:
    """Return the activation called `name`, or the user's own that it refers to.

    Args:
        name: A key of `NAMED`, or `FILE.py:NAME` or `package.module:NAME`: an elementwise JAX
            function, its kinks in its attribute `kinks`, or an `Activation`. A path is relative to
            the config in a sweep, else to the working directory; a changed file is loaded anew.

    Raises:
        ValueError: If there is none; the message lists the known names and the nearest.
    """
    if name in NAMED:
        return NAMED[name]()
    if not user_code.is_reference(name):
        raise ValueError(unknown_name("activation", name, [*NAMED, "FILE.py:NAME"]))
    found = user_code.load(name, "activation")
    where, _, attribute = name.rpartition(":")
    if not isinstance(found, Activation):
        if not callable(found) or isinstance(found, type):
            raise ValueError(
                f"`activation` must be a function or an Activation, got {name!r}: {found!r}."
            )
        found = Activation(attribute, found, getattr(found, "kinks", ()))
    if where.endswith(".py"):
        found.__dict__[_SOURCE] = f"{user_code.find_file(where, 'activation')}:{attribute}"
    return found


def as_activation(act: Activation | str) -> Activation:
    """Return φ, given as itself or by its name.

    Raises:
        TypeError: If it is anything else. A plain function is: its kinks are not known.
        ValueError: If there is no activation of this name.
    """
    if isinstance(act, str):
        return activation(act)
    if isinstance(act, Activation):
        return act
    told = f"`activation` must be an Activation or its name, got {act!r}"
    if not callable(act) or isinstance(act, type):
        raise TypeError(f"{told}.")
    name = getattr(act, "__name__", "phi")
    use = f" (or use the name {name!r})" if name in NAMED else ""
    raise TypeError(
        f"{told}: wrap the function, Activation({name!r}, fn, kinks=(…)), with the points where "
        f"its slope jumps{use}."
    )
