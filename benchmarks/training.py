"""Training: what predictions cost at n = 4,000, and what of the loop is not matrix products.

Prints two tables. Seconds of each part of a prediction at n = 4,000, on the clock and of processor
time (all cores; on a busy machine only the second says much). Seconds of a training step of the
loop (twenty in one compiled call, divided by their number, observations left out) beside the bare
products it cannot avoid: forward, back to the inputs of every layer but the first, and one a
weight's gradient. Medians over interleaved repeats.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import lax
from rich.console import Console
from rich.table import Table

import ntk_eoc as ne
from ntk_eoc.training.modes import descent, eigenmodes, largest_stable_step
from ntk_eoc.training.predictions import ensemble_variance_test, predict_test, predict_train
from ntk_eoc.training.trainer import Problem, advance, begin, log_marks, squared_error

N, N_TEST, DEPTH = 4000, 500, 4
D, WIDTHS, STEPS, REPEATS = 784, (1024, 1024, 1024, 10), 20, 5


def seconds(
    function: Callable[[], Any], clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    """Seconds of one call by a clock, and its value."""
    start = clock()
    value = jax.block_until_ready(function())
    return clock() - start, value


def predictions(console: Console) -> None:
    """Print the seconds of every part of a prediction."""
    init = ne.edge_of_chaos(ne.activation("relu"))
    x = jnp.asarray(ne.data.load("sphere:64", N + N_TEST).x, jnp.float32)
    y = np.sign(np.random.default_rng(0).standard_normal((N, 10)))
    zeros = np.zeros_like(y), np.zeros((N_TEST, 10))
    table = Table(title=f"Predictions, n = {N}, {N_TEST} test points, 10 outputs")
    table.add_column("part")
    table.add_column("s", justify="right")
    table.add_column("s of all cores", justify="right")
    times = []

    def row(name: str, function: Callable[[], Any]) -> Any:
        used, (taken, value) = seconds(lambda: seconds(function), time.process_time)
        times.append((taken, used))
        table.add_row(name, f"{taken:.1f}", f"{used:.1f}")
        return value

    kernel, nngp = row(
        "K∞ and its covariance",
        lambda: (ne.ntk_infinite(init, x, x[:N], DEPTH), ne.nngp_infinite(init, x, x[:N], DEPTH)),
    )
    kernel, nngp = (np.asarray(a, np.float64) for a in (kernel, nngp))
    modes = row("eigendecomposition", lambda: eigenmodes((kernel[:N] + kernel[:N].T) / 2 / N))
    rate, cross = 0.5 * largest_stable_step(modes, 0.9), kernel[N:] / N
    rule = descent(rate, log_marks(10_000, 63), 0.9)
    row("training points, 64 times", lambda: predict_train(modes, rule, y, zeros[0]))
    row("test points, 64 times", lambda: predict_test(modes, rule, cross, y, *zeros))
    few, own = descent(rate, [10, 100, 1000], 0.9), np.ones(N_TEST)
    row(
        "variance of test points, 3 times",
        lambda: ensemble_variance_test(modes, few, cross, nngp[:N], nngp[N:], own),
    )
    table.add_row("all", *(f"{sum(column):.1f}" for column in zip(*times, strict=True)))
    console.print(table)


def bare_products(weights: list[jax.Array], xs: list[jax.Array]) -> list[jax.Array]:
    """The products of one step, on ready-made operands xs [n, m_k]."""

    def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)

    layers = range(len(weights))
    forward = [matmul(xs[i], weights[i].T) for i in layers]
    backward = [matmul(xs[i + 1], weights[i]) for i in layers if i > 0]
    return forward + backward + [matmul(xs[i + 1].T, xs[i]) for i in layers]


def see_nothing(at: Any) -> jax.Array:
    """Observe no part of the parameters."""
    return jnp.zeros(())


def repeated(call: Callable[[], Any]) -> list[Any]:
    """As many calls as the loop has steps."""
    return [call() for _ in range(STEPS)]


def loop(console: Console) -> None:
    """Print a step of the loop beside its bare products."""
    init = ne.edge_of_chaos(ne.activation("relu"))
    f, params = ne.functional(ne.MLP(init, D, WIDTHS, rngs=nnx.Rngs(0), dtype=jnp.float32))
    weights = [params["layers"][i]["weight"] for i in range(len(WIDTHS))]
    title = f"One step, widths {WIDTHS}, d = {D}, float32, {jax.devices()[0].device_kind}"
    table = Table(title=title)
    for column in ("n", "bare products, s", "step, s", "products' share"):
        table.add_column(column, justify="right")
    for n in (128, 512, 1024):
        sizes = (D, *WIDTHS)
        draws = jax.random.normal(jax.random.key(n), (n, sum(sizes)), jnp.float32)
        xs = jnp.split(draws, np.cumsum(sizes)[:-1].tolist(), axis=1)
        problem = Problem(f, xs[0], xs[-1], squared_error, optax.sgd(0.01))
        state = begin(problem, params, see_nothing)
        run = jax.jit(partial(advance, problem, see_nothing, jax.random.key(0)))
        bare = jax.jit(bare_products)
        spans = jnp.asarray([[0, STEPS]])
        calls = {
            "bare": partial(repeated, partial(bare, weights, xs)),
            "step": partial(run, state, spans),
        }
        taken: dict[str, list[float]] = {name: [] for name in calls}
        for repeat in range(REPEATS + 1):
            for name, call in calls.items():
                once = seconds(call)[0] / STEPS
                if repeat:  # the first compiles
                    taken[name].append(once)
        medians = {name: statistics.median(values) for name, values in taken.items()}
        share = medians["bare"] / medians["step"]
        table.add_row(str(n), f"{medians['bare']:.4f}", f"{medians['step']:.4f}", f"{share:.0%}")
    console.print(table)


def main() -> None:
    """Print both tables."""
    console = Console()
    predictions(console)
    loop(console)


if __name__ == "__main__":
    main()
