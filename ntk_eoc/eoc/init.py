"""`Init`: an activation with the scales of the weights and biases of an MLP."""

from dataclasses import dataclass

import jax

from ntk_eoc.activations import AbsLinear, Activation
from ntk_eoc.checks import require, require_number


@jax.tree_util.register_static
@dataclass(frozen=True)
class Init:
    """The initialisation of an MLP: z = σ_w W φ(z)/√m + σ_b β after a plain first layer.

    It may be built by hand, off the edge of chaos too.

    Attributes:
        activation: φ.
        sigma_w: σ_w > 0, standard deviation of √m times a weight, layers 2 … l.
        sigma_b: σ_b >= 0, standard deviation of a bias, layers 2 … l (0: no biases).
        q: ‖x‖²/d of the inputs that it is meant for: the fixed point of the variance map.
    """

    activation: Activation
    sigma_w: float
    sigma_b: float = 0.0
    q: float = 1.0

    def __post_init__(self) -> None:
        require(
            isinstance(self.activation, Activation),
            "activation",
            "an Activation (see ntk_eoc.activation)",
            self.activation,
        )
        for name in ("sigma_w", "q"):
            value = require_number(name, getattr(self, name))
            require(value > 0, name, "> 0", value)
            object.__setattr__(self, name, value)
        object.__setattr__(self, "sigma_b", require_number("sigma_b", self.sigma_b, least=0.0))


def scale_invariant(init: Init) -> AbsLinear | None:
    """Return φ if it is a s + b|s| and there are no biases, so that K∞ is a function of the angle.

    Its constants then hold at every norm and layer. None of any other initialisation.
    """
    act = init.activation
    return act if isinstance(act, AbsLinear) and init.sigma_b == 0 else None
