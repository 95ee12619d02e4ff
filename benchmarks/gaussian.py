"""Duals by quadrature: distinct triples, and many angles at one pair of variances.

    python benchmarks/gaussian.py [triples] [activation ...]

Beside each time, in the same run, that of one plain vectorised pass of φ over as many points as the
two rules have nodes at variances up to 25: CPU time over CPU time, so that load matters little.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ntk_eoc.activations import Activation, activation
from ntk_eoc.gaussian import Panels, dual, plan
from ntk_eoc.gaussian.rules import COARSE, FINE

NAMES = ("tanh", "elu", "hard_tanh")
POINTS = 1 << 16


def seconds(run: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU time of the second call."""
    jax.block_until_ready(run())
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - wall, time.process_time() - cpu


def nodes(panels: Panels) -> int:
    """Nodes of both rules for one triple."""
    part = 0.5 if panels.parity else 1.0
    outer = math.ceil(part * panels.soft) + math.ceil(part * 5 * len(panels.kinks))
    return outer * (panels.gauss + len(panels.breaks)) * (FINE**2 + COARSE**2)


def plain_seconds(act: Activation) -> float:
    """CPU time of φ at one point, in a vectorised pass."""
    s = jnp.asarray(np.random.default_rng(0).normal(size=POINTS) * 3)
    total = jax.jit(lambda s: jax.lax.fori_loop(0, 50, lambda _, t: t + jnp.sum(act(s + t)), 0.0))
    return seconds(lambda: total(s))[1] / (50 * POINTS)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    rng = np.random.default_rng(0)
    q1, q2 = 10 ** rng.uniform(-2, math.log10(25), (2, count))
    delta = 2 * np.sin(rng.uniform(1e-6, np.pi - 1e-6, count) / 2) ** 2
    print(f"{count} triples, q from 0.01 to 25; seconds")
    print(f"{'activation':<12}{'wall':>8}{'CPU':>8}{'φ alone':>9}{'ratio':>7}{'one q, q':>10}")
    for name in sys.argv[2:] or NAMES:
        act = dataclasses.replace(activation(name), dual=None, dual_prime=None)
        alone = plain_seconds(act) * nodes(plan(act)) * count
        wall, cpu = seconds(partial(dual, act, q1, q2, delta))
        shared, _ = seconds(partial(dual, act, 0.7, 3.1, delta))
        row = f"{name:<12}{wall:8.1f}{cpu:8.1f}{alone:9.1f}{cpu / alone:7.2f}{shared:10.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
