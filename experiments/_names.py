"""Names that the cells of several experiments take, checked where a config enters; their words."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator

import ntk_eoc as ne
from ntk_eoc.checks import unknown_name
from ntk_eoc.spectra import two_layer

WORDS = {
    "relu": "ReLU",
    "abs": "absolute value",
    "quadratic": "$s^2$",
    "digits": "whitened digits",
    "identity": "1",
    "two_valued": "½, 3/2",
    "uniform": "U[½, 3/2]",
    "rademacher": "±1",
}
"""What figures call them, where that is not their name."""


def accepted_by(make: Callable[[str], Any]) -> AfterValidator:
    """A name that `make` takes; what it raises is the message."""

    def check(name: str) -> str:
        make(name)
        return name

    return AfterValidator(check)


def one_of(field: str, known: Iterable[str]) -> AfterValidator:
    """A name out of a table."""
    known = list(known)

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(unknown_name(field, name, known))
        return name

    return AfterValidator(check)


Activation = Annotated[str, accepted_by(ne.activation)]
OutputWeights = Annotated[str, one_of("output_weights", two_layer.WEIGHTS)]
INPUTS = (*two_layer.ENTRIES, "digits")
Inputs = Annotated[str, one_of("inputs", INPUTS)]
