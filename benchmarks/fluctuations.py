"""`fluctuations` at n = 64, l = 32: seconds, memory, compilation; and against sampling.

Prints (1) time and peak memory of the law from a cold start, each depth in a process of its own:
seconds of two calls, their difference, which is compilation, and the CPU seconds of the first; (2)
the law of n = 8, l = 4 against `ntk_sampled` at the width and the number of networks that tell
√E‖K − K∞‖_F² as well as the stated error of the law, or to 1/1000 if it is exact: networks of
width m are off by about √E‖K − K∞‖_F²/‖K∞‖_F themselves.
"""

import json
import math
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import ntk_eoc as ne

ACCURACY = 1e-3  # relative, of √E‖·‖_F², where the law is exact
NETWORKS = 200  # timed; the cost of more is proportional


def points(n: int, d: int) -> np.ndarray:
    """Inputs on the sphere of norm² d."""
    x = np.random.default_rng(0).normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1)[:, None] * d**0.5


def init_of(name: str) -> ne.Init:
    """At the edge of chaos, at q = 1."""
    return ne.edge_of_chaos(name, q=1.0)


def law(name: str, n: int, depth: int) -> dict[str, float]:
    """Seconds of two calls, and the peak of the process's memory in MiB."""
    init, x, seconds, work = init_of(name), points(n, 64), [], []
    for _ in range(2):
        start, began = time.perf_counter(), time.process_time()
        ne.fluctuations(init, x, depth).frobenius((*range(100, 100 * depth, 100), 1))
        seconds.append(time.perf_counter() - start)
        work.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": seconds[0], "again": seconds[1], "work": work[0], "peak": peak}


def cold(name: str, n: int, depth: int) -> dict[str, float]:
    """The same in a fresh process, without a cache of compiled programs."""
    command = [sys.executable, __file__, "law", name, str(n), str(depth)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1])


def print_laws(console: Console) -> None:
    table = Table("φ", "n", "l", "first, s", "again, s", "compiling, s", "CPU, s", "peak, MiB")
    for name, n, depth in (
        ("relu", 64, 4),
        ("relu", 64, 32),
        ("relu", 64, 128),
        ("gelu", 64, 32),
        ("tanh", 64, 32),
    ):
        found = cold(name, n, depth)
        compiling = found["first"] - found["again"]
        row = (found["first"], found["again"], compiling, found["work"])
        table.add_row(name, str(n), str(depth), *(f"{s:.2f}" for s in row), f"{found['peak']:.0f}")
    console.print(table)


def print_sampling(console: Console) -> None:
    table = Table("φ", "width", "networks", "sampling, s", "law, s", "times less")
    x = points(8, 16)
    for name in ("relu", "gelu"):
        init = init_of(name)
        start = time.perf_counter()
        f = ne.fluctuations(init, x, 4)
        ne.fluctuations(init, x, 4)
        ours = (time.perf_counter() - start) / 2  # compilation counts, half of it
        value, error = f.frobenius((1, 1, 1, 1))
        accuracy = max(error / value, ACCURACY)
        # The second order is about the square of the first: the width has to make it small.
        width = math.ceil((value / float(np.linalg.norm(f.limit / 8))) ** 2 / accuracy)
        networks = math.ceil(1 / (2 * accuracy**2))  # a Gaussian's variance is known to √(2/N)
        widths = (width, width, width, 1)
        draw = jax.jit(
            lambda keys, init=init, widths=widths: jax.lax.map(
                lambda key: ne.ntk_sampled(key, init, jnp.asarray(x), widths), keys
            )
        )
        keys = jax.random.split(jax.random.key(0), NETWORKS)
        jax.block_until_ready(draw(keys))
        start = time.perf_counter()
        jax.block_until_ready(draw(keys))
        theirs = (time.perf_counter() - start) * networks / NETWORKS
        row = (f"{width:,}", f"{networks:,}", f"{theirs:,.0f}", f"{ours:.2f}")
        table.add_row(name, *row, f"{theirs / ours:,.0f}")
    console.print(table)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    if sys.argv[1:2] == ["law"]:
        print(json.dumps(law(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        console = Console()
        print_laws(console)
        print_sampling(console)
