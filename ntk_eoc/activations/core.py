"""`Activation`, and the scale-invariant family.

The activations with φ(c s) = c φ(s) for c > 0 are those of the form φ(s) = a s + b|s|. Their
constants Δ_φ and κ_φ decide the theory of [C] and [S] (`docs/theory.md` §1).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ntk_eoc.activations import duals
from ntk_eoc.activations.duals import ClosedForm, Dual
from ntk_eoc.checks import require, require_number

Elementwise = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    """An activation φ, elementwise, with the points where it is not smooth.

    Attributes:
        name: The name by which figures and records call it.
        fn: φ, an elementwise JAX function of any shape.
        kinks: Every s at which φ is not smooth (a jump of φ' or of a higher derivative).
        derivative: φ', elementwise; by `jax.grad` where it is not given.
        dual: (q₁, q₂, δ) -> E[φ(√q₁ u) φ(√q₂ v)] for standard normal u, v of correlation 1 − δ,
            elementwise. Where it is not given, the integral is computed by quadrature.
        dual_prime: The same for φ'.
    """

    name: str
    fn: Elementwise = field(repr=False)
    kinks: tuple[float, ...] = ()
    derivative: Elementwise | None = field(default=None, repr=False)
    dual: Dual | None = field(default=None, repr=False)
    dual_prime: Dual | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and self.name != "", "name", "a word", self.name)
        require(callable(self.fn), "fn", "a function of an array", self.fn)
        require(isinstance(self.kinks, (tuple, list)), "kinks", "a tuple, as (0.0,)", self.kinks)
        kinks = tuple(sorted(require_number("kinks", c) for c in self.kinks))
        object.__setattr__(self, "kinks", kinks)

    def __call__(self, s: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """φ(s), elementwise."""
        return self.fn(jnp.asarray(s))

    def prime(self, s: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
        """φ'(s), elementwise."""
        s = jnp.asarray(s)
        if self.derivative is not None:
            return self.derivative(s)
        # One jvp with a tangent of ones is φ' of every element at once: φ is elementwise.
        return jax.jvp(self.fn, (s,), (jnp.ones_like(s),))[1]

    # What more is known of a class of activations, and replaced there; nothing is of a plain one.

    @property
    def second_moment(self) -> float | None:
        """E[φ(√q z)²]/q = E[φ'(√q z)²] where φ is known to be scale-invariant, else None."""
        return None

    @property
    def constants(self) -> Mapping[str, float]:
        """The constants of the theory that are known of φ, by their letters."""
        return {}

    @property
    def closed_form(self) -> ClosedForm | None:
        """Both duals, or None where one of them needs quadrature."""
        if self.dual is None or self.dual_prime is None:
            return None
        known = duals.TURNS.get(self.dual), duals.LINES.get(self.dual)
        return ClosedForm(self.dual, self.dual_prime, *known)

    def parallel(self, w2: float, b2: float, q1: Array, q2: Array) -> Array:
        """√(Σ₁Σ₂)(1 − ρ') that a layer Σ = w2 E[φ²] + b2 makes of angle 0; φ has a `dual`."""
        assert self.dual is not None
        return duals.parallel(self.dual, w2, b2, q1, q2)


@dataclass(frozen=True)
class AbsLinear(Activation):
    """φ(s) = a s + b|s|, the scale-invariant activations. Build it with `abs_linear(a, b)`.

    Attributes:
        a: Slope of the odd part.
        b: Slope of the even part, |s|.
    """

    a: float = 1.0
    b: float = 0.0

    @cached_property
    def second_moment(self) -> float:
        """E[φ(z)²] = E[φ'(z)²] = a² + b², z standard normal."""
        return self.a**2 + self.b**2

    @cached_property
    def delta(self) -> float:
        """Δ_φ = b²/(a² + b²) in [0, 1]; 0 identity, ½ ReLU, 1 absolute value ([C], [S])."""
        return self.b**2 / self.second_moment

    @cached_property
    def kappa(self) -> float:
        """κ_φ = (|a| + |b|)/√(a² + b²) in [1, √2]: the Lipschitz constant at the EOC ([C])."""
        return (abs(self.a) + abs(self.b)) / math.sqrt(self.second_moment)

    @cached_property
    def closed_form(self) -> ClosedForm:
        """Both duals, and how they turn."""
        assert self.dual is not None
        assert self.dual_prime is not None
        turn = partial(duals.abs_linear_turn, self.a, self.b)
        return ClosedForm(self.dual, self.dual_prime, turn, self.a)

    @property
    def constants(self) -> Mapping[str, float]:
        """Δ and κ."""
        return {"Δ": self.delta, "κ": self.kappa}

    def parallel(self, w2: float, b2: float, q1: Array, q2: Array) -> Array:
        """√(Σ₁Σ₂)(1 − ρ') that a layer with biases makes of angle 0, to the last digits."""
        return duals.abs_linear_parallel(w2 * self.second_moment, b2, q1, q2)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its slopes: equal ones are one object, wherever they are read."""
        return abs_linear, (self.a, self.b, self.name)


def _abs_linear(a: float, b: float, s: Array) -> Array:
    return a * s + b * jnp.abs(s)


def _abs_linear_prime(a: float, b: float, s: Array) -> Array:
    # The right derivative at 0, so that two equal inputs always see the same slope.
    return jnp.where(s >= 0, jnp.asarray(a + b, s.dtype), jnp.asarray(a - b, s.dtype))


@cache
def _named_abs_linear(name: str, a: float, b: float) -> AbsLinear:
    return AbsLinear(
        name=name,
        fn=partial(_abs_linear, a, b),
        kinks=(0.0,) if b != 0 else (),
        derivative=partial(_abs_linear_prime, a, b),
        dual=partial(duals.abs_linear, a, b),
        dual_prime=partial(duals.abs_linear_prime, a, b),
        a=a,
        b=b,
    )


def abs_linear(a: float, b: float, name: str | None = None) -> AbsLinear:
    """Build φ(s) = a s + b|s|.

    Args:
        a: Slope of s.
        b: Slope of |s|.
        name: How records call it; "abs_linear(a, b)" unless given.

    Returns:
        The activation, with `.delta` and `.kappa`. Equal arguments give the same object, so that
        compiled functions are shared.

    Raises:
        ValueError: If a slope is not finite or both are zero.
    """
    a, b = require_number("a", a), require_number("b", b)
    require(a != 0 or b != 0, "a, b", "not both zero", (a, b))
    return _named_abs_linear(name or f"abs_linear({a:g}, {b:g})", a, b)
