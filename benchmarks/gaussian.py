"""Duals by quadrature: distinct triples, and many angles at one pair of variances.

    python benchmarks/gaussian.py [triples] [activation ...]

Seconds of wall time. "first" tabulates and compiles. "direct" is the rule in two variables, timed
in the same run on few of the triples and scaled up to all of them; "gain" is its ratio to "second".
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from ntk_eoc.activations import activation
from ntk_eoc.gaussian import dual
from ntk_eoc.gaussian.triples import MANY

NAMES = ("tanh", "elu", "hard_tanh", "silu", "softplus", "gelu", "relu")
FEW = MANY - 1  # so few that they are integrated directly


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall time of the first and of the second call."""
    times = [time.perf_counter()]
    for _ in range(2):
        jax.block_until_ready(run())
        times.append(time.perf_counter())
    return times[1] - times[0], times[2] - times[1]


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    rng = np.random.default_rng(0)
    q1, q2 = 10 ** rng.uniform(-2, math.log10(25), (2, count))
    delta = 2 * np.sin(rng.uniform(1e-6, np.pi - 1e-6, count) / 2) ** 2
    few = slice(min(FEW, count))
    print(f"{count} triples, q from 0.01 to 25; seconds")
    head = ("first", "second", "direct", "gain", "one q, q")
    print("activation  " + "".join(f"{word:>10}" for word in head))
    for name in sys.argv[2:] or NAMES:
        act = dataclasses.replace(activation(name), dual=None, dual_prime=None)
        first, second = seconds(partial(dual, act, q1, q2, delta))
        direct = seconds(partial(dual, act, q1[few], q2[few], delta[few]))[1]
        direct *= count / q1[few].size
        shared = seconds(partial(dual, act, 0.7, 3.1, delta))[1]
        row = f"{first:10.1f}{second:10.2f}{direct:10.1f}{direct / second:10.1f}{shared:10.2f}"
        print(f"{name:<12}{row}", flush=True)


if __name__ == "__main__":
    main()
