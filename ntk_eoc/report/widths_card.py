"""The card of `ntk-eoc widths`: how wide a network must be for an error, and what it costs."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ntk_eoc import data, layer_widths
from ntk_eoc.activations import activation
from ntk_eoc.checks import require
from ntk_eoc.eoc import Init, summarise
from ntk_eoc.finite_width.widths_for import (
    Choice,
    WidthsFor,
    kernel_norms,
    relative_to,
    widths_for,
)
from ntk_eoc.kernels.sampled import ntk_sampled

UNITS = {
    "neurons": "hidden neurons",
    "parameters": "parameters",
    "flops": "flops of a training step, per input",
}


class Question(NamedTuple):
    """What is asked: the arguments of `ntk-eoc widths`."""

    activation: str
    depth: int
    data: str
    n: int
    error: float
    probability: float
    budget: str = "neurons"
    norm: str = "operator"
    outputs: int = 1
    sigma_b: float | None = None
    q: float | None = None
    seed: int = 0


def point_of(question: Question) -> Init:
    """Return the point of the edge of chaos, as `ntk-eoc eoc` chooses it.

    Raises:
        ValueError: If there is none.
    """
    summary = summarise(activation(question.activation), question.sigma_b, question.q)
    if summary.point is None:
        raise ValueError(summary.why)
    return summary.point


def describe(question: Question, init: Init, found: WidthsFor) -> str:
    """Return the text of the card."""
    percent = f"{100 * found.probability:g} %"
    lines = [
        f"activation      {init.activation.name} at σ_w = {init.sigma_w:.6g}, "
        f"σ_b = {init.sigma_b:.6g}, q = {init.q:.6g}",
        f"inputs          {question.n} of {question.data}; l = {question.depth}, "
        f"{question.outputs} output{'s' * (question.outputs > 1)}",
        f"promise         {found.norm} norm of K(θ) − K∞ at most {found.error:g} of that of K∞, "
        f"for {percent} of networks",
    ]
    if question.depth == 1:
        return "\n".join([*lines, "widths          any: without a hidden layer K(θ) = K∞"])
    e = found.best.error
    shares = found.law.layers / np.array(found.widths[:-1])
    lines += [
        f"widths          {_listed(found.best)}",
        f"                {found.best.cost:,} {UNITS[found.budget]}, the least",
        f"predicted       {percent} within {e.value:.4g} [{e.low:.4g}, {e.high:.4g}], to leading "
        f"order in 1/m",
        f"from layers     {', '.join(f'{100 * s / shares.sum():.0f} %' for s in shares)} of the "
        f"mean square",
    ]
    for name, choice in found.schedules.items():
        ratio = choice.cost / found.best.cost
        lines.append(f"{layer_widths.WORDS[name]:<16}{_listed(choice)}: {ratio:.3g} times the cost")
    return "\n".join(lines)


def _listed(choice: Choice) -> str:
    hidden = [f"{m:,}" for m in choice.widths[:-1]]
    if len(hidden) > 8:
        hidden = [*hidden[:4], "…", *hidden[-3:]]
    return " ".join(hidden)


def keep_count(init: Init, x: Any, found: WidthsFor, networks: int, seed: int) -> int:
    """Return how many of freshly drawn networks keep to the error; the draws are exact in law."""
    draw = jax.jit(lambda key: ntk_sampled(key, init, x, found.widths))
    limit = found.law.limit
    scale = relative_to(limit, found.norm, found.widths[-1])
    kept = 0
    for key in jax.random.split(jax.random.key(seed), networks):
        gap = np.array(draw(key))
        for output in range(found.widths[-1]):
            gap[:, :, output, output] -= limit
        kept += bool(kernel_norms(gap[None], found.norm)[0] <= found.error * scale)
    return kept


def wilson(kept: int, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion, which holds near 0 and 1 too."""
    z2, p = 1.96**2 / count, kept / count
    reach = (z2 * (p * (1 - p) + z2 / 4)) ** 0.5
    return (p + z2 / 2 - reach) / (1 + z2), (p + z2 / 2 + reach) / (1 + z2)


def main(question: Question, networks: int = 0) -> WidthsFor:
    """Print the card; draw networks and say how many keep the promise, if told how many.

    Raises:
        ValueError: If the question has no answer; the message says what to do.
    """
    require(networks >= 0, "networks", ">= 0", networks)
    start = time.perf_counter()
    init = point_of(question)
    x = data.load(question.data, question.n, question.seed).x * init.q**0.5
    found = widths_for(
        init,
        x,
        question.depth,
        question.error,
        question.probability,
        question.budget,
        outputs=question.outputs,
        norm=question.norm,
        seed=question.seed,
    )
    print(describe(question, init, found))
    if networks:
        kept = keep_count(init, jnp.asarray(x), found, networks, question.seed)
        low, high = wilson(kept, networks)
        print(
            f"check           {kept} of {networks} networks kept it: {kept / networks:.4g} "
            f"[{low:.4g}, {high:.4g}]"
        )
    print(f"time            {time.perf_counter() - start:.1f} s")
    return found
