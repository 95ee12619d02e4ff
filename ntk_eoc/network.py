"""The network: an MLP in the NTK parametrisation.

It comes as a Flax NNX module (`MLP`) and as a pure function of its parameters (`mlp`).

The only module that imports Flax; everything else sees `f(params, x)` or plain arrays.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.lax import Precision
from jaxtyping import Array, ArrayLike, Float, Num

from ntk_eoc.checks import require, require_count, require_widths
from ntk_eoc.eoc import Init
from ntk_eoc.kernels.jacobian import DEFAULT_MEMORY
from ntk_eoc.kernels.structured import structured

Params = dict[str, Any]


def _linear(
    weight: Float[ArrayLike, "m d"],
    bias: Float[ArrayLike, "m"] | None,
    scale: float,
    sigma_b: float,
    x: Float[Array, "... d"],
) -> Float[Array, "... m"]:
    """Return z = scale · W x/√d + σ_b β."""
    weight = jnp.asarray(weight)  # parameters may be NumPy arrays
    x = x.astype(weight.dtype)
    scale = scale / weight.shape[1] ** 0.5
    z = scale * jnp.matmul(x, weight.T, precision=Precision.HIGHEST)
    # Explicitly, for jax_numpy_rank_promotion="raise".
    return z if bias is None else z + jnp.broadcast_to(sigma_b * jnp.asarray(bias), z.shape)


class ScaledLinear(nnx.Module):
    """One layer in the NTK parametrisation, z = scale · W x/√m_in + σ_b β.

    Args:
        weight: W.
        bias: β, or None for a layer without.
        scale: σ_w, or 1 in the first layer.
        sigma_b: σ_b.
    """

    def __init__(
        self,
        weight: Float[Array, "m d"],
        bias: Float[Array, "m"] | None,
        scale: float,
        sigma_b: float,
    ) -> None:
        self.scale: float = scale
        self.sigma_b: float = sigma_b
        self.weight: nnx.Param[Array] = nnx.Param(weight)
        self.bias: nnx.Param[Array] | None = None if bias is None else nnx.Param(bias)

    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... m"]:
        """Return z of inputs x."""
        bias = None if self.bias is None else self.bias[...]
        return _linear(self.weight[...], bias, self.scale, self.sigma_b, x)


def _normal_arrays(key: Array, shapes: Sequence[tuple[int, ...]], dtype: Any) -> list[Array]:
    """Independent N(0, 1) arrays, cut from one draw: one per array compiles ten times longer."""
    sizes = [math.prod(shape) for shape in shapes]
    flat = jax.random.normal(key, (sum(sizes),), dtype)
    ends = list(itertools.accumulate(sizes))
    return [
        flat[end - size : end].reshape(shape)
        for end, size, shape in zip(ends, sizes, shapes, strict=True)
    ]


class MLP(nnx.Module):
    """An MLP of i.i.d. N(0, 1) weights and biases, at the scales of `init`.

    z_1 = W_1 x/√m_0 and z_k = σ_w W_k φ(z_{k−1})/√m_{k−1} + σ_b β_k for k > 1.

    Args:
        init: Activation and scales; `edge_of_chaos(activation)` puts it at the edge.
        d: Number m_0 of inputs.
        widths: (m_1, …, m_l), outputs last; see `widths`.
        rngs: Flax's random streams; `params` is used.
        dtype: Of weights and arithmetic; JAX's default float unless given.
    """

    def __init__(
        self,
        init: Init,
        d: int,
        widths: Sequence[int],
        *,
        rngs: nnx.Rngs,
        dtype: Any = None,
    ) -> None:
        sizes = (require_count("d", d), *require_widths(widths))
        weights = [(m_out, m_in) for m_in, m_out in itertools.pairwise(sizes)]
        biases = [(m,) for m in sizes[2:]] if init.sigma_b else []
        dtype = jnp.zeros((), dtype).dtype
        arrays = _normal_arrays(rngs.params(), [*weights, *biases], dtype)
        depth = len(weights)
        self.init = init
        self.layers: nnx.List[ScaledLinear] = nnx.List(
            ScaledLinear(
                arrays[k],
                arrays[depth + k - 1] if init.sigma_b and k > 0 else None,
                init.sigma_w if k > 0 else 1.0,
                init.sigma_b,
            )
            for k in range(depth)
        )

    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... k"]:
        """Return z_l of inputs x."""
        for layer in self.layers[:-1]:
            x = self.init.activation(layer(x))
        return self.layers[-1](x)


def _apply(graph: Any, rest: Any, params: Params, x: Float[Array, "... d"]) -> Array:
    return nnx.merge(graph, nnx.restore_int_paths(params), rest)(x)


def _training_parts(module: nnx.Module) -> list[str]:
    """The kinds of parts that draw or remember something at every call: those not in `eval`."""
    flags = {"deterministic": False, "use_running_average": False}
    return sorted(
        {
            type(part).__name__
            for _, part in nnx.iter_graph(module)
            if isinstance(part, nnx.Module)
            and any(getattr(part, flag, None) is value for flag, value in flags.items())
        }
    )


def functional(
    module: nnx.Module,
) -> tuple[Callable[[Params, Float[Array, "d"]], Float[Array, "k"]], Params]:
    """Split a Flax module into a pure f(params, x) and its parameters, a tree of plain arrays.

    For an `MLP`, `params["layers"][i]` holds the arrays "weight" (m_{i+1}, m_i) and, with
    σ_b > 0 and i >= 1, "bias" (m_{i+1},). What else a module holds, such as the statistics of a
    BatchNorm, stays as it is.

    Raises:
        ValueError: If a part such as BatchNorm or Dropout is in training: call `module.eval()`.
    """
    training = _training_parts(module)
    require(
        not training,
        "module",
        "a function of its parameters and x alone (call `module.eval()` first)",
        f"one with {', '.join(training)} in training",
    )
    graph = nnx.graphdef(module)
    state, rest = nnx.state(module, nnx.Param, ...)
    f = partial(_apply, graph, rest) if jax.tree.leaves(rest) else _module_function(graph)
    return f, nnx.to_pure_dict(state)


@cache
def _module_function(graph: Any) -> Callable[[Params, Array], Array]:
    """The function of a module that holds parameters alone: modules alike share it."""
    return partial(_apply, graph, nnx.State({}))


def ntk_structured(
    model: nnx.Module,
    x1: Num[ArrayLike, "n1 *d"],
    x2: Num[ArrayLike, "n2 *d"],
    *,
    memory: int = DEFAULT_MEMORY,
) -> Float[Array, "n1 n2 k k"]:
    """Return K(θ) of a Flax model of linear layers at about the cost of `ntk_layerwise`.

    Every `nnx.Linear` and `nnx.Conv`, residual, shared or stacked in a loop, adds two Gram products
    (`kernels.structured`, which takes any f(params, x)). Scales and biases, as those of LayerNorm
    and of BatchNorm in `eval`, are taken too.

    Args:
        model: A module of one input -> [k] or a scalar, in `eval` (see `functional`). Modules of
            equal structure share what was compiled, unless they hold more than parameters.
        x1: Inputs, [n1, d], or images [n1, height, width, channels], or of any shape [n1, …].
        x2: Inputs of the same shape but for their number.
        memory: Bytes that what is kept of the inputs may take at a time.

    Returns:
        K(θ), equal to `ntk_jacobian(*functional(model), x1, x2)`.

    Raises:
        ValueError: If a parameter enters by anything but products, convolutions, sums and scalings;
            the message names it, and `ntk_jacobian` takes the model. If a part is in training, the
            inputs do not fit together, or the memory does not hold two of them.

    Source: `docs/theory.md` §3.2.
    """
    return structured(*functional(model), x1, x2, memory=memory)


def mlp(init: Init) -> Callable[[Params, Float[Array, "d"]], Float[Array, "k"]]:
    """Return the pure f(params, x) of an `MLP` at the scales of `init`, for any widths and depth.

    Equal `init` give the same function, so that what was compiled for it is shared. Draw its
    parameters with `draw_params`.
    """
    return _function(init)


@cache
def _function(init: Init) -> Callable[[Params, Array], Array]:
    return partial(_forward, init)


def _forward(init: Init, params: Params, x: Float[Array, "... d"]) -> Float[Array, "... k"]:
    layers = [params["layers"][i] for i in range(len(params["layers"]))]
    z = _linear(layers[0]["weight"], None, 1.0, 0.0, x)
    for layer in layers[1:]:
        x = init.activation(z)
        z = _linear(layer["weight"], layer.get("bias"), init.sigma_w, init.sigma_b, x)
    return z


def draw_params(key: Array, init: Init, d: int, widths: Sequence[int], dtype: Any = None) -> Params:
    """Draw the parameters of a fresh network, i.i.d. N(0, 1) weights and biases.

    They are those of `MLP(init, d, widths, rngs=nnx.Rngs(params=key), dtype=dtype)`, in the tree
    that `functional` gives. Pure in `key`, so that `jax.vmap` draws many networks.
    """
    return functional(MLP(init, d, widths, rngs=nnx.Rngs(params=key), dtype=dtype))[1]
