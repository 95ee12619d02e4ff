"""K∞ by quadrature: inputs of norms over a decade, and of one norm, beside one erf of all pairs.

    python benchmarks/gaussian.py [n] [depth] [activation ...]

Seconds of wall time, closed forms taken away. "first" plans and compiles; "÷ erf" is "second" by
layer over one elementwise erf of n² numbers; "error" the largest estimate, relative to the
diagonal. "dual" is the rule in two variables, microseconds a triple.
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ntk_eoc as ne
from ntk_eoc.gaussian import dual

NAMES = ("tanh", "gelu", "silu", "hard_tanh", "elu", "relu")
TRIPLES = 512


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall time of the first and of the second call."""
    times = [time.perf_counter()]
    for _ in range(2):
        jax.block_until_ready(run())
        times.append(time.perf_counter())
    return times[1] - times[0], times[2] - times[1]


def plain(name: str) -> ne.Activation:
    """A named activation without its closed forms."""
    act = ne.activation(name)
    fields = {f.name: getattr(act, f.name) for f in dataclasses.fields(ne.Activation)}
    return ne.Activation(**{**fields, "dual": None, "dual_prime": None})


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    n, depth = (int(word) for word in (sys.argv[1:3] + ["300", "10"][len(sys.argv) - 1 :]))
    rng = np.random.default_rng(0)
    unit = rng.standard_normal((n, 10))
    unit *= np.sqrt(10) / np.linalg.norm(unit, axis=1, keepdims=True)
    x = jnp.asarray(unit)
    mixed = x * jnp.asarray(10 ** rng.uniform(-0.5, 0.5, (n, 1)))
    erf = jax.jit(jax.scipy.special.erf)
    numbers = jnp.asarray(rng.standard_normal((n, n)))
    one = min(seconds(partial(erf, numbers))[1] for _ in range(5))
    q1, q2 = 10 ** rng.uniform(-2, 1.4, (2, TRIPLES))
    delta = rng.uniform(0, 2, TRIPLES)
    print(f"n = {n}, depth {depth}; one erf of n² numbers: {one:.4f} s")
    head = ("first", "second", "÷ erf", "error", "one norm", "dual")
    print("activation  " + "".join(f"{word:>10}" for word in head))
    for name in sys.argv[3:] or NAMES:
        act = plain(name)
        init = ne.Init(act, 1.5, 0.1)
        first, second = seconds(partial(ne.ntk_infinite, init, mixed, mixed, depth))
        found = ne.ntk_infinite_with_error(init, mixed, mixed, depth)
        root = jnp.sqrt(jnp.diagonal(found.value))
        error = float(jnp.max(found.error / jnp.outer(root, root)))
        shared = seconds(partial(ne.ntk_infinite, init, x, x, depth))[1]
        triple = seconds(partial(dual, act, q1, q2, delta))[1] / TRIPLES * 1e6
        row = f"{first:10.1f}{second:10.2f}{second / one / (depth - 1):10.0f}{error:10.0e}"
        print(f"{name:<12}{row}{shared:10.2f}{triple:10.0f}", flush=True)


if __name__ == "__main__":
    main()
