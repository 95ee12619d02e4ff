"""Values that depend on the parameters of a function alone, while it is evaluated step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

# Operations that give every element of a parameter one place, once.
LAYOUT = {"reshape", "transpose", "squeeze", "expand_dims", "convert_element_type", "copy", "rev"}

Make = Callable[[Sequence[Array]], Array]


class Moving(NamedTuple):
    """A value that depends on the input."""

    value: Array


@dataclass(frozen=True)
class View:
    """A function of parameters alone.

    Attributes:
        value: Its value.
        make: The function, of the list of all parameters.
        of: Which of them it depends on.
        steps: How one parameter's elements were moved, if that is all that happened; else None.
        scale: The number that they were multiplied by.
    """

    value: Any
    make: Make
    of: frozenset[int]
    steps: tuple[str, ...] | None
    scale: Any = 1.0


def constant(value: Any) -> View:
    """Return what depends on no parameter."""
    return View(value, lambda _: value, frozenset(), None)


def row(value: Any, i: int) -> Any:
    """Return element i of the first axis."""
    if isinstance(value, Moving):
        return Moving(value.value[i])
    if isinstance(value, View):
        make = value.make
        steps = None if value.steps is None else (*value.steps, f"row {i}")
        return View(value.value[i], lambda leaves: make(leaves)[i], value.of, steps, value.scale)
    return value[i]


def views_of(equation: Any, values: Sequence[Any]) -> list[View]:
    """Return the results of an operation on parameters and constants."""

    def make(which: int) -> Make:
        def made(leaves: Sequence[Array]) -> Array:
            plain = [v.make(leaves) if isinstance(v, View) else v for v in values]
            return evaluate(equation, plain)[which]

        return made

    found = evaluate(equation, [v.value if isinstance(v, View) else v for v in values])
    views = [v for v in values if isinstance(v, View)]
    of = frozenset().union(*(view.of for view in views))
    steps, scale = _moved(equation, values, views)
    return [View(value, make(i), of, steps, scale) for i, value in enumerate(found)]


def _moved(
    equation: Any, values: Sequence[Any], views: list[View]
) -> tuple[tuple[str, ...] | None, Any]:
    """The steps and the scale of a view of one parameter whose elements were only moved."""
    name, first = equation.primitive.name, views[0]
    if len(views) > 1 or first.steps is None:
        return None, 1.0
    if name in LAYOUT or (name == "broadcast_in_dim" and _size(equation) == first.value.size):
        return (*first.steps, f"{name} {equation.params}"), first.scale
    if name == "neg":
        return first.steps, -first.scale
    if name in ("mul", "div") and _size(equation) == first.value.size:
        number = values[1] if values[0] is first else values[0]
        if np.size(number) == 1 and (name == "mul" or values[0] is first):
            number = jnp.reshape(number, ())
            scale = first.scale * number if name == "mul" else first.scale / number
            return (*first.steps, f"{equation.outvars[0].aval.shape}"), scale
    return None, 1.0


def _size(equation: Any) -> int:
    return int(np.prod(equation.outvars[0].aval.shape))


def evaluate(equation: Any, values: Sequence[Any]) -> list[Any]:
    """Return the results of one operation on arrays."""
    inputs = [
        (atom, value)
        for atom, value in zip(equation.invars, values, strict=True)
        if not isinstance(atom, jex.Literal)
    ]
    # An atom may stand twice among the operands, and stand for two values when a view is remade.
    distinct = list({id(atom): (atom, value) for atom, value in inputs}.values())
    one = _program(equation, tuple(atom for atom, _ in distinct))
    return list(jex.jaxpr_as_fun(one)(*(value for _, value in distinct)))


def _program(equation: Any, inputs: tuple[Any, ...]) -> Any:
    traced = jax.make_jaxpr(lambda: None)().jaxpr
    jaxpr = traced.replace(
        invars=list(inputs), outvars=equation.outvars, eqns=[equation], effects=equation.effects
    )
    return jex.ClosedJaxpr(jaxpr, [])
