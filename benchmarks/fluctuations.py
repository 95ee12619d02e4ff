"""`fluctuations` at n = 64, l = 32: seconds, memory, compilation; and against sampling.

Prints (1) CPU seconds and peak memory of the law from a cold start, each depth in a process of its
own: of two calls, and their difference, which is compilation; (2) the law of n = 8, l = 4 against
`ntk_sampled` at the width and the number of networks that tell √E‖K − K∞‖_F² with the law's
standard error, or to 1/1000 if it is exact: networks of width m are off by about the square of
√E‖K − K∞‖_F²/‖K∞‖_F themselves. `--to FOLDER` writes the tables.
"""

import json
import math
import os
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ntk_eoc as ne
from ntk_eoc.finite_width.neurons import ERRORS
from ntk_eoc.kernels.sampled import draw_ntk, ntk_ensemble
from ntk_eoc.report.tables import Table, markdown, write

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
    """CPU seconds of two calls, and the peak of the process's memory in MiB."""
    init, x, work = init_of(name), points(n, 64), []
    for _ in range(2):
        start = time.process_time()
        ne.fluctuations(init, x, depth).frobenius((*range(100, 100 * depth, 100), 1))
        work.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": work[0], "again": work[1], "peak": peak}


def cold(name: str, n: int, depth: int) -> dict[str, float]:
    """The same in a fresh process, without a cache of compiled programs."""
    command = [sys.executable, __file__, "law", name, str(n), str(depth)]
    own = {**os.environ, "JAX_COMPILATION_CACHE_DIR": ""}
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
    return json.loads(ran.stdout.splitlines()[-1])


def times() -> Table:
    """Cold starts: CPU seconds and memory."""
    columns = ("φ", "n", "l", "first, s", "again, s", "compiling, s", "peak, MiB")
    rows = []
    for name, n, depth in (
        ("relu", 64, 8),
        ("relu", 64, 32),
        ("relu", 64, 128),
        ("gelu", 64, 8),
        ("gelu", 64, 32),
        ("tanh", 64, 8),
        ("tanh", 64, 32),
    ):
        found = cold(name, n, depth)
        row = (found["first"], found["again"], found["first"] - found["again"])
        rows.append((name, n, depth, *(f"{s:.2f}" for s in row), f"{found['peak']:.0f}"))
    return Table(columns, rows)


def sampling() -> Table:
    """CPU seconds beside those of networks, at the same standard error."""
    columns = ("φ", "standard error", "width", "networks", "sampling, s", "law, s", "times less")
    rows, x = [], points(8, 16)
    for name in ("relu", "gelu", "tanh"):
        init = init_of(name)
        start = time.process_time()
        f = ne.fluctuations(init, x, 4)
        ours = time.process_time() - start  # compilation counts
        value, error = f.frobenius((1, 1, 1, 1))
        accuracy = max(error / value / ERRORS, ACCURACY)
        # The second order is about the square of the first: the width has to make it small.
        width = math.ceil((value / float(np.linalg.norm(f.limit / 8))) ** 2 / accuracy)
        networks = math.ceil(1 / (2 * accuracy**2))  # a Gaussian's variance is known to √(2/N)
        ensemble = ntk_ensemble(init, jnp.asarray(x), (width, width, width, 1), dtype=jnp.float32)
        keys = jax.random.split(jax.random.key(0), NETWORKS)
        jax.block_until_ready(_draw(keys, ensemble))
        start = time.process_time()
        jax.block_until_ready(_draw(keys, ensemble))
        theirs = (time.process_time() - start) * networks / NETWORKS
        row = (f"{accuracy:.2g}", f"{width:,}", f"{networks:,}", f"{theirs:,.0f}", f"{ours:.2f}")
        rows.append((name, *row, f"{theirs / ours:,.0f}"))
    return Table(columns, rows)


@jax.jit
def _draw(keys: jax.Array, ensemble: Any) -> jax.Array:
    return jax.lax.map(partial(draw_ntk, ensemble=ensemble), keys, batch_size=4)


def finish(tables: dict[str, Table], name: str) -> None:
    """Print tables; write them to the folder behind `--to`, if there is one."""
    for table in tables.values():
        print(markdown(table))
    if "--to" in sys.argv:
        origin = f"CPU, {os.cpu_count()} cores"
        write(tables, Path(sys.argv[sys.argv.index("--to") + 1]), name, f"{name}.py", origin)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    if sys.argv[1:2] == ["law"]:
        print(json.dumps(law(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        finish({"times": times(), "sampling": sampling()}, "fluctuations")
