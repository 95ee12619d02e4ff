"""K(θ) of given weights: layerwise and by Jacobian, against the matrix products it cannot avoid.

Prints, for widths 2048³ in float32: seconds of the bare products (one with each weight forward, one
backward, two Gram products a layer), of `ntk_layerwise`, their ratio, the time of `ntk_structured`
of the same network over that of `ntk_layerwise`, and the temporary memory that the compiled
programs ask for, beside the size of one Jacobian. Medians over interleaved repeats.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from rich.console import Console
from rich.table import Table

import ntk_eoc as ne
from ntk_eoc.kernels import jacobian, layerwise

WIDTHS, D, REPEATS = (2048, 2048, 2048, 1), 2048, 9


def bare_products(weights: list[jax.Array], xs: list[jax.Array]) -> list[jax.Array]:
    """The products a layer-by-layer kernel needs, on ready-made operands xs [n, m_k]."""

    def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    hidden = range(len(weights) - 1)
    forward = [matmul(xs[i], weights[i].T) for i in hidden]
    backward = [matmul(xs[i + 1], weights[i]) for i in hidden if i > 0]
    grams = [matmul(xs[i], xs[i].T) for i in range(len(weights))]
    grams += [matmul(xs[i + 1], 2 * xs[i + 1].T) for i in hidden]  # not the same Gram again
    return forward + backward + grams


def medians(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, run in turn so that all see the same machine."""
    for function in functions.values():
        jax.block_until_ready(function())
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def main() -> None:
    """Print the table."""
    init = ne.edge_of_chaos(ne.activation("relu"))
    model = ne.MLP(init, D, WIDTHS, rngs=nnx.Rngs(0), dtype=jnp.float32)
    f, params = ne.functional(model)
    weights = [params["layers"][i]["weight"] for i in range(len(WIDTHS))]
    each = sum(w.nbytes for w in weights)
    table = Table(title=f"K(θ), widths {WIDTHS}, d = {D}, float32, {jax.devices()[0].device_kind}")
    for column in (
        "n", "bare products, s", "layerwise, s", "ratio", "structured/layerwise", "temporary MB",
        "Jacobian MB",
    ):  # fmt: skip
        table.add_column(column, justify="right")
    for n in (32, 128, 512):
        x = jax.random.normal(jax.random.key(n), (n, D), jnp.float32)
        xs = [jax.random.normal(jax.random.key(k), (n, w.shape[1])) for k, w in enumerate(weights)]
        bare = jax.jit(bare_products)
        taken = medians(
            {
                "bare": partial(bare, weights, xs),
                "layerwise": partial(ne.ntk_layerwise, init, params, x, x),
                "structured": partial(ne.ntk_structured, model, x, x),
            },
            REPEATS,
        )
        analysis: Any = layerwise._ntk_same.lower(init, params, x).compile().memory_analysis()
        temporary = analysis.temp_size_in_bytes
        table.add_row(
            str(n),
            f"{taken['bare']:.4f}",
            f"{taken['layerwise']:.4f}",
            f"{taken['layerwise'] / taken['bare']:.2f}",
            f"{taken['structured'] / taken['layerwise']:.2f}",
            f"{temporary / 1e6:.0f}",
            f"{n * each / 1e6:.0f}",
        )
    console = Console(width=110)
    console.print(table)

    n = 8
    x = jax.random.normal(jax.random.key(n), (n, D), jnp.float32)
    taken = medians(
        {
            "layerwise": lambda: ne.ntk_layerwise(init, params, x, x),
            "jacobian": lambda: ne.ntk_jacobian(f, params, x, x, memory=4 * n * each),
        },
        3,
    )
    console.print(
        f"n = {n}: layerwise {taken['layerwise']:.4f} s, ntk_jacobian {taken['jacobian']:.3f} s"
        f" ({taken['jacobian'] / taken['layerwise']:.0f} x) within its memory of"
        f" {4 * n * each / 1e6:.0f} MB; default memory {jacobian.DEFAULT_MEMORY / 1e6:.0f} MB."
    )


if __name__ == "__main__":
    main()
