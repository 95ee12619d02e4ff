"""Random activations: piecewise, bumps, jumps, oscillating, growing, steep, plain."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import ntk_eoc as ne


class Case(NamedTuple):
    """An activation, where it varies and on what scale, and the variance to ask it at."""

    family: str
    act: ne.Activation
    features: list[tuple[float, float]]
    q: float


def _log(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _piecewise(rng, undeclared=0):
    """A continuous spline of parabolas, linear outside; `undeclared` kinks are not listed."""
    kinks = np.sort(np.round(rng.uniform(-3, 3, rng.integers(1, 5)), 2))
    kinks = kinks[np.r_[True, np.diff(kinks) > 0.05]]
    slopes, bends = rng.normal(size=kinks.size + 1), 0.3 * rng.normal(size=kinks.size)

    def phi(s):
        total = slopes[0] * s
        for c, b, more in zip(kinks, bends, slopes[1:], strict=True):
            beyond = jnp.maximum(s - c, 0.0)
            total = total + more * beyond + b * jnp.where(beyond < 2, beyond**2, 4 * beyond - 4)
        return total

    listed = sorted({*kinks.tolist(), *(kinks + 2).tolist()})
    features = [(c, 0.0) for c in listed]
    if undeclared:
        listed.remove(float(rng.choice(kinks)))
    return phi, tuple(listed), features


def _bump(rng):
    base, c = rng.choice(3), float(rng.uniform(-3, 3))
    width, height = _log(rng, 1e-5, 3), float(rng.uniform(0.2, 2))
    bases = (lambda s: s, jnp.tanh, lambda s: 0 * s)

    def phi(s):
        return bases[base](s) + height * jnp.exp(-(((s - c) / width) ** 2))

    return phi, (), [(c, width), (0.0, 0.5)]


def _jump(rng, declared):
    c, height = round(float(rng.uniform(-2, 2)), 2), float(rng.normal())

    def phi(s):
        return jnp.tanh(s) + height * (s > c)

    return phi, (c,) if declared else (), [(c, 0.0), (0.0, 0.5)]


def _oscillating(rng):
    rate, phase = _log(rng, 0.3, 6), float(rng.uniform(0, 6))
    grid = np.arange(-40, 40, 3.0 / rate)
    return (lambda s: jnp.sin(rate * s + phase) + 0.1 * s), (), [(float(c), 0.0) for c in grid]


def _growing(rng):
    a, kind = float(rng.uniform(0.1, 0.5)), rng.choice(5)
    functions = (
        lambda s: jnp.exp(a * s),
        lambda s: jnp.sinh(a * s),
        lambda s: s**3 - a * s,
        lambda s: s * jnp.log1p((s / a) ** 2),
        lambda s: jnp.exp(0.01 * a * s * s),
    )
    return functions[kind], (), [(0.0, a)]


def _steep(rng):
    k, c, kind = _log(rng, 1, 3e4), float(rng.uniform(-2, 2)), rng.choice(4)
    functions = (
        lambda s: jax.scipy.special.erf(k * (s - c)),
        lambda s: s * jax.nn.sigmoid(k * (s - c)),
        lambda s: jnp.sqrt((s - c) ** 2 + k**-2),
        lambda s: s + jnp.tanh(k * (s - c)) / k,
    )
    return functions[kind], (), [(c, 1 / k), (c, 4 / k), (0.0, 0.5)]


def _plain(rng):
    names = ("tanh", "silu", "softplus", "arctan", "mish", "elu", "hard_tanh", "softsign", "gelu",
             "sigmoid", "relu", "hard_silu", "squared_relu")  # fmt: skip
    act, scale = ne.activation(str(rng.choice(names))), _log(rng, 0.2, 5)
    kinks = tuple(c / scale for c in act.kinks)
    features = [(c, 0.0) for c in kinks] + [(0.0, 0.3 / scale), (0.5 / scale, 0.3 / scale)]
    return (lambda s: act.fn(scale * s)), kinks, features


FAMILIES = {
    "piecewise": _piecewise,
    "undeclared": lambda rng: _piecewise(rng, undeclared=1),
    "bump": _bump,
    "jump": lambda rng: _jump(rng, declared=True),
    "hidden jump": lambda rng: _jump(rng, declared=False),
    "oscillating": _oscillating,
    "growing": _growing,
    "steep": _steep,
    "plain": _plain,
}


def case(seed: int) -> Case:
    """The activation of a seed; the families in turn."""
    rng = np.random.default_rng(seed)
    family = list(FAMILIES)[seed % len(FAMILIES)]
    fn, kinks, features = FAMILIES[family](rng)
    q = _log(rng, 0.05, 4 if family in ("growing", "oscillating") else 30)
    return Case(family, ne.Activation(f"{family} {seed}", fn, kinks), features, q)
