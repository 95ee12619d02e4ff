"""`ntk_sampled` against the Gaussians it cannot avoid drawing, and against drawing the weights.

Prints (1) widths whose weights would fill terabytes, each in a process of its own, with its peak
memory; (2) draws at equal widths, n = 32, float32: seconds of `ntk_sampled`, of drawing the same
number of Gaussians with `jax.random.normal`, of drawing the weights and `ntk_layerwise`, and the
ratios; (3) the cost against width, points, depth and outputs, with slopes. Medians over interleaved
repeats. `--quick` leaves out the widths above 2048.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import ntk_eoc as ne
from ntk_eoc.network import draw_params

D, DRAWS, REPEATS = 64, 10, 5
INIT = ne.edge_of_chaos(ne.activation("relu"))


def gaussians(n: int, widths: Sequence[int]) -> int:
    """How many Gaussians a draw needs: n a neuron forward; n k a neuron backward, k at the top."""
    *hidden, k = widths
    return sum(n * m for m in hidden) + sum(n * k * m for m in hidden[:-1]) + k * hidden[-1]


def points(n: int) -> jax.Array:
    """Inputs in float32."""
    return jax.random.normal(jax.random.key(1), (n, D), jnp.float32)


def seconds_of(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds of each, [repeats], called in turns, once before to compile."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, f in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(f())
            if repeat:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(of: np.ndarray, to: np.ndarray) -> float:
    """Median of the ratios within a turn, which a busy neighbour disturbs less than a ratio."""
    return float(np.median(of / to))


def contenders(n: int, widths: Sequence[int], draws: int, weights: bool) -> dict[str, Any]:
    """The sampler, its Gaussians alone, and the weights with the layerwise kernel."""
    x, keys = points(n), jax.random.split(jax.random.key(0), draws)
    count = gaussians(n, widths) * draws
    sampled = jax.jit(lambda keys: jax.lax.map(lambda k: ne.ntk_sampled(k, INIT, x, widths), keys))
    alone = jax.jit(lambda key: jax.random.normal(key, (count,), jnp.float32))
    direct = jax.jit(
        lambda key: ne.ntk_layerwise(INIT, draw_params(key, INIT, D, widths, jnp.float32), x, x)
    )
    functions: dict[str, Any] = {"sampled": lambda: sampled(keys), "alone": lambda: alone(keys[0])}
    if weights:
        # One at a time: all the weights at once would not fit.
        functions["weights"] = lambda: [jax.block_until_ready(direct(key)) for key in keys]
    return functions


def equal_widths(console: Console, sizes: Sequence[int]) -> None:
    """Table 2."""
    table = Table(title="draws of one turn, n = 32, three hidden layers, float32")
    heads = ("m (draws)", "sampled", "draws alone", "ratio", "weights + layerwise", "times slower")
    for column in heads:
        table.add_column(column, justify="right")
    for m in sizes:
        # The largest weights take minutes: two draws stand for ten.
        draws = DRAWS if m <= 2048 else 2
        found = seconds_of(contenders(32, (m, m, m, 1), draws, True), REPEATS)
        table.add_row(
            f"{m} ({draws})",
            f"{np.median(found['sampled']):.4f} s",
            f"{np.median(found['alone']):.4f} s",
            f"{ratio(found['sampled'], found['alone']):.2f}",
            f"{np.median(found['weights']):.3f} s",
            f"{ratio(found['weights'], found['sampled']):.1f}",
        )
    console.print(table)


def giant(n: int, widths: Sequence[int]) -> dict[str, float]:
    """Seconds of one draw, of its Gaussians drawn a block at a time, and the peak memory."""
    x, key = points(n), jax.random.key(0)
    sampled = jax.jit(lambda key: ne.ntk_sampled(key, INIT, x, widths))
    block = 2**22
    blocks = -(-gaussians(n, widths) // block)

    def one(total: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        draws = jax.random.normal(jax.random.fold_in(key, i), (block,), jnp.float32)
        return total + draws[0] + draws[-1], None

    # In blocks, so that the yardstick has no memory of its own, and summed, so that it is not idle.
    alone = jax.jit(lambda key: jax.lax.scan(one, jnp.zeros(()), jnp.arange(blocks))[0])
    jax.block_until_ready(sampled(key))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = seconds_of({"sampled": lambda: sampled(key), "alone": lambda: alone(key)}, 3)
    return {
        "sampled": float(np.median(found["sampled"])),
        "alone": float(np.median(found["alone"])),
        "ratio": ratio(found["sampled"], found["alone"]),
        "peak": peak,
    }


def giants(console: Console) -> None:
    """Table 1, a process a row."""
    table = Table(title="one draw where the weights would fill terabytes, float32")
    for column in ("widths", "n", "weights", "sampled", "draws alone", "ratio", "peak memory"):
        table.add_column(column, justify="right")
    for n, widths in ((32, (100_000, 400_000, 900_000, 1)), (8, (100_000_000, 1))):
        command = [sys.executable, __file__, "--giant", json.dumps([n, widths])]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        weights = sum(a * b for a, b in zip((D, *widths), widths, strict=False))
        table.add_row(
            str(widths),
            str(n),
            f"{weights:.1e}",
            f"{found['sampled']:.2f} s",
            f"{found['alone']:.2f} s",
            f"{found['ratio']:.2f}",
            f"{found['peak']:.2f} GiB",
        )
    console.print(table)


def scaling(console: Console) -> None:
    """Table 3: seconds and slopes, one quantity varied at a time."""
    table = Table(title="cost of one draw; base m = 20,000, n = 16, l = 3, k = 1")
    for column in ("varied", "values", "milliseconds", "slope"):
        table.add_column(column)
    base = {"m": 20_000, "n": 16, "l": 3, "k": 1}
    for name, values in {
        "m": (20_000, 80_000, 320_000),
        "n": (16, 32, 64),
        "l": (3, 5, 9),
        "k": (1, 2, 4),
    }.items():
        seconds = []
        for value in values:
            s = {**base, name: value}
            x, widths = points(s["n"]), (*(s["m"],) * (s["l"] - 1), s["k"])
            f = jax.jit(lambda key, x=x, widths=widths: ne.ntk_sampled(key, INIT, x, widths))
            turns = seconds_of({"": lambda f=f: f(jax.random.key(0))}, 7)[""]  # type: ignore[misc]
            seconds.append(np.median(turns))
        slope = np.polyfit(np.log(values), np.log(seconds), 1)[0]
        times = ", ".join(f"{1e3 * s:.1f}" for s in seconds)
        table.add_row(name, ", ".join(map(str, values)), times, f"{slope:.2f}")
    console.print(table)


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    if "--giant" in sys.argv:
        print(json.dumps(giant(*json.loads(sys.argv[-1]))))
        return
    console = Console()
    giants(console)  # first: the peak memory of a child starts at the size of its parent
    equal_widths(console, (512, 2048) if "--quick" in sys.argv else (512, 2048, 4096, 8192))
    scaling(console)


if __name__ == "__main__":
    main()
