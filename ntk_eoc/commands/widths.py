"""`ntk-eoc widths`: the widths that an error needs."""

from typing import Annotated, Literal

from cyclopts import Parameter

from ntk_eoc.commands.start import Flag, Whole, numerical


def widths(
    activation: str,
    *,
    depth: Whole = 4,
    data: str = "sphere:32",
    n: Whole = 12,
    within: Annotated[float, Parameter(name="--error")] = 0.05,
    probability: float = 0.99,
    budget: Literal["neurons", "parameters", "flops"] = "neurons",
    norm: Literal["operator", "frobenius", "largest"] = "operator",
    outputs: Whole = 1,
    sigma_b: float | None = None,
    q: float | None = None,
    seed: Whole = 0,
    check: Flag = False,
    networks: Whole = 200,
) -> None:
    """Say how wide a network must be for its kernel to be within an error of the limit.

    Parameters
    ----------
    activation
        A name, or module:function, or path/to/file.py:function, of your own; at the edge of chaos.
    depth
        Number of weight layers.
    data
        A data set, as in a config: sphere:64, digits, mnist5k, npz:PATH.
    n
        Number of points.
    within
        Largest distance of K from its limit, relative to that of the limit.
    probability
        Share of the networks that keep to it.
    budget
        What is to be least.
    norm
        Of the distance.
    outputs
        Number of outputs.
    sigma_b
        Standard deviation of the biases of the point of the edge, as of `eoc`.
    q
        Fixed point of the variance map of that point, in place of sigma_b.
    seed
        Of the data and the draws.
    check
        Draw networks and say how many keep the promise.
    networks
        How many --check draws.
    """
    with numerical():
        from ntk_eoc.checks import require_count
        from ntk_eoc.report import widths_card

        require_count("networks", networks)
        question = widths_card.Question(
            activation, depth, data, n, within, probability, budget, norm, outputs, sigma_b, q, seed
        )
        widths_card.main(question, networks if check else 0)
