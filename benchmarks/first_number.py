"""What the first draw of `ntk_sampled` costs: seconds of CPU, compilation included, in a process.

Prints (1) first and second calls at depths 2, 4, 8, 16, 32 in turn, widths k² m, n = 16, float32;
(2) the whole CPU time of a sweep of 6 widths by 6 depths, one draw a cell.
"""

import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

import ntk_eoc as ne

N, D, M = 16, 64, 8
INIT = ne.edge_of_chaos(ne.activation("relu"))


def draw(m: int, depth: int) -> float:
    """CPU seconds of one draw at widths k² m."""
    x = jax.random.normal(jax.random.key(1), (N, D), jnp.float32)
    start = time.process_time()
    widths = ne.widths("quadratic", m=m, depth=depth)
    jax.block_until_ready(ne.ntk_sampled(jax.random.key(0), INIT, x, widths))
    return time.process_time() - start


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    jax.block_until_ready(jax.random.normal(jax.random.key(1), (N, D), jnp.float32))
    table = Table(title=f"CPU seconds of a draw, n = {N}, widths k² m, m = {M}, float32")
    for column in ("depth", "first call", "second call"):
        table.add_column(column, justify="right")
    for depth in (2, 4, 8, 16, 32):
        table.add_row(str(depth), *(f"{draw(M, depth):.3f}" for _ in range(2)))
    jax.clear_caches()
    start = time.process_time()
    for m in (2, 4, 8, 16, 32, 64):
        for depth in (2, 3, 4, 6, 8, 12):
            draw(m, depth)
    console = Console()
    console.print(table)
    console.print(f"6 widths by 6 depths: {time.process_time() - start:.1f} s of CPU")


if __name__ == "__main__":
    main()
