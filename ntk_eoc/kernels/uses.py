"""Where a function of one input uses its parameters: what a layer sees, and what comes out of it.

The function is traced once and evaluated operation by operation. A parameter, and whatever is made
of parameters and constants alone, is a `View`. Where one meets what depends on the input, in an
operation that is linear in it, there is a `Use`. A shift ε of the result of every use is an extra
argument, so that the derivative by ε is the cotangent of that use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jaxtyping import Array

from ntk_eoc.checks import require
from ntk_eoc.kernels.parameter_views import Make, Moving, View, constant, evaluate, row, views_of

# Operations inside of which the search goes on.
INLINED = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}
# Operations that are linear in one operand; a division only in the first.
LINEAR = {
    "dot_general", "conv_general_dilated", "add", "sub", "add_any", "mul", "div", "concatenate",
    "pad", "gather", "dynamic_slice", "select_n",
}  # fmt: skip


@dataclass(frozen=True)
class Use:
    """An operation on a view and what depends on the input.

    Attributes:
        equation: The operation.
        views: Its operands, in their places: None where one depends on the input.
        shape: Of its result.
        dtype: Of its result.
    """

    equation: Any
    views: tuple[View | None, ...]
    shape: tuple[int, ...]
    dtype: Any

    @property
    def of(self) -> frozenset[int]:
        """The parameters that it depends on."""
        return frozenset().union(*(view.of for view in self.views if view is not None))

    def apply(self, leaves: Sequence[Array], operands: Sequence[Array]) -> Array:
        """Return the result at other parameters."""
        moving = iter(operands)
        values = [next(moving) if view is None else view.make(leaves) for view in self.views]
        return evaluate(self.equation, values)[0]


class Walk:
    """One evaluation of a traced function, which notes its uses and their operands."""

    def __init__(self, names: Sequence[str], shifts: Sequence[Array] | None) -> None:
        self.names: Sequence[str] = names
        self.shifts: Sequence[Array] | None = shifts
        self.uses: list[Use] = []
        self.operands: list[tuple[Array, ...]] = []

    def run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Evaluate, with arguments that are `View`s, `Moving` or constants."""
        env = dict(zip(jaxpr.constvars, consts, strict=True))
        env |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, jex.Literal) else env[atom]

        for equation in jaxpr.eqns:
            found = self._step(equation, [read(atom) for atom in equation.invars])
            env |= dict(zip(equation.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _step(self, equation: Any, values: list[Any]) -> Sequence[Any]:
        views = [value for value in values if isinstance(value, View)]
        moving = any(isinstance(value, Moving) for value in values)
        if not views:
            found = evaluate(equation, [v.value if isinstance(v, Moving) else v for v in values])
            return [Moving(value) for value in found] if moving else found
        if equation.primitive.name in INLINED:
            inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
            consts = getattr(inner, "consts", ())
            return self.run(getattr(inner, "jaxpr", inner), consts, values)
        if equation.primitive.name == "scan":
            return self._unroll(equation, values)
        return [self._use(equation, values)] if moving else views_of(equation, values)

    def _unroll(self, equation: Any, values: list[Any]) -> Sequence[Any]:
        """A loop of known length, as one over layers whose parameters are stacked."""
        at = equation.params
        fixed, carried = at["num_consts"], at["num_consts"] + at["num_carry"]
        carry, stacked = values[fixed:carried], values[carried:]
        order = range(at["length"])
        rows: dict[int, list[Any]] = {}
        for i in reversed(order) if at["reverse"] else order:
            one = [*values[:fixed], *carry, *(row(value, i) for value in stacked)]
            found = self.run(at["jaxpr"].jaxpr, at["jaxpr"].consts, one)
            carry, rows[i] = found[: at["num_carry"]], found[at["num_carry"] :]
        columns = zip(*(rows[i] for i in order), strict=True)
        return [*carry, *map(self._stack, columns)]

    def _stack(self, rows: Sequence[Any]) -> Any:
        if any(isinstance(one, View) for one in rows):
            self._refuse(rows, "the stacked results of a loop")
        stacked = jnp.stack([one.value if isinstance(one, Moving) else one for one in rows])
        return Moving(stacked) if any(isinstance(one, Moving) for one in rows) else stacked

    def _use(self, equation: Any, values: list[Any]) -> Moving:
        name = equation.primitive.name
        places = [i for i, value in enumerate(values) if isinstance(value, View)]
        linear = name in LINEAR and (len(places) == 1 or name == "concatenate")
        if name in ("div", "gather", "dynamic_slice"):
            linear = linear and places == [0]
        if not linear or (name == "select_n" and places == [0]):
            self._refuse(values, f"`{name}`")
        views = tuple(
            None if isinstance(v, Moving) else v if isinstance(v, View) else constant(v)
            for v in values
        )
        out = evaluate(equation, [v.value if isinstance(v, View | Moving) else v for v in values])
        self.uses.append(Use(equation, views, out[0].shape, out[0].dtype))
        self.operands.append(tuple(v.value for v in values if isinstance(v, Moving)))
        if self.shifts is None:
            return Moving(out[0])
        return Moving(out[0] + self.shifts[len(self.uses) - 1])

    def _refuse(self, values: Sequence[Any], how: str) -> None:
        found = sorted({self.names[i] for v in values if isinstance(v, View) for i in v.of})
        allowed = "one whose parameters enter by products, convolutions and sums"
        named = " and ".join(f"`{name}`" for name in found)
        require(False, "model", f"{allowed} (`ntk_jacobian` takes any)", f"{named} in {how}")


class Traced(NamedTuple):
    """A function of parameters and one input, ready to be walked through.

    Attributes:
        jaxpr: The function of the flat parameters and the input.
        names: Of the parameters.
        shifts: Shape and dtype of the result of each use.
    """

    jaxpr: Any
    names: tuple[str, ...]
    shifts: tuple[jax.ShapeDtypeStruct, ...]


class Walked(NamedTuple):
    """One evaluation: outputs [k], the uses, and what depends on the input in each of them."""

    out: Array
    uses: list[Use]
    operands: list[tuple[Array, ...]]


def trace(f: Callable[[Any, Array], Array], params: Any, x: Any) -> Traced:
    """Find the uses of the parameters in f, a function of one input.

    Raises:
        ValueError: If one is used in an operation that is not linear in it; the message names it.
    """
    leaves, tree = jax.tree.flatten(params)
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    names = tuple(".".join(map(_word, path)) or "params" for path in paths)

    def flat(leaves: list[Array], x: Array) -> Array:
        return f(jax.tree.unflatten(tree, leaves), x).reshape(-1)  # a scalar is one output

    closed = jax.make_jaxpr(flat)(leaves, x)
    found: list[jax.ShapeDtypeStruct] = []

    def once(leaves: list[Array], x: Array) -> Array:
        walked = walk(Traced(closed, names, ()), leaves, x, None)
        found.extend(jax.ShapeDtypeStruct(use.shape, use.dtype) for use in walked.uses)
        return walked.out

    jax.eval_shape(once, leaves, x)
    return Traced(closed, names, tuple(found))


def walk(
    traced: Traced, leaves: Sequence[Array], x: Array, shifts: Sequence[Array] | None
) -> Walked:
    """Evaluate at one input, the result of every use shifted."""
    going = Walk(traced.names, shifts)
    views = [View(leaf, _leaf(i), frozenset({i}), ()) for i, leaf in enumerate(leaves)]
    (out,) = going.run(traced.jaxpr.jaxpr, traced.jaxpr.consts, [*views, Moving(x)])
    if isinstance(out, View):
        going._refuse([out], "an output that does not depend on the input")
    return Walked(jnp.asarray(getattr(out, "value", out)), going.uses, going.operands)


def _leaf(i: int) -> Make:
    return lambda leaves: leaves[i]


def _word(key: Any) -> str:
    """One step of a parameter's path: the key of a dict, the index of a list, a field."""
    found = [getattr(key, word) for word in ("key", "idx", "name") if hasattr(key, word)]
    return str(found[0] if found else key)
