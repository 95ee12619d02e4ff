"""One program for networks of any widths and depth: what is compiled, and what is data.

A layer is a sum over independent neurons, drawn in blocks of one shape; how many blocks there are
is known at run time only, as is the number of layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, ArrayLike, Float, UInt32, UInt64

from ntk_eoc.activations import Activation
from ntk_eoc.checks import require, require_count, require_widths
from ntk_eoc.eoc import Init, at_edge
from ntk_eoc.kernels.counter_normals import Key, fold, normals

MEMORY = 2**28
# Gaussians in a block, and neurons at least. Each of the dozens of operations on a block costs some
# microseconds to start, so that shorter blocks take up to three times as long; longer ones are
# mostly filling where a layer has few neurons, and on a CPU leave the cache.
BLOCK = {"cpu": 2**13}
SHORTEST = 32
LONG_BLOCK = 2**20
# Up to this many hidden layers share one program, unless their n × n matrices are large.
LAYERS = 32
STATE = 2**18
# Networks of a batch that are drawn at a time; an accelerator takes all of them.
LANES = {"cpu": 128}
LARGEST_WIDTH = 2**31  # neurons are counted in 32 bits
# Streams of a layer: its neurons, the bias coordinate of its outputs, redrawn projections.
NEURONS, BIAS, FRESH = range(3)
STREAMS = 3

Visit = Callable[[Array, Array], Any]


class Plan(NamedTuple):
    """The static part of a run: what a program is compiled for, beside the shape of x."""

    activation: Activation
    k: int
    copies: int  # back-propagated signals: 1 for K alone, 0 for the forward pass alone
    memory: int
    dtype: Any


class Network(NamedTuple):
    """The part that is data. The widths past the last hidden layer are not looked at.

    Counts have no sign, so that XLA need not look whether an index is negative.
    """

    widths: UInt32[Array, "capacity"]
    hidden: UInt32[Array, ""]  # l − 1
    sigma_w: Float[Array, ""]
    sigma_b: Float[Array, ""]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("x", "network"),
    meta_fields=("plan", "linear"),
)
@dataclass(frozen=True)
class Ensemble:
    """Fresh networks on given inputs, as an argument of a compiled program: only `plan` and
    `linear` are compiled in, so that ensembles of other widths and depth meet the same program.
    """

    x: Float[Array, "n d"]
    network: Network
    plan: Plan
    linear: bool  # no hidden layer


class Run(NamedTuple):
    """A network being drawn: what every visit to a layer needs."""

    plan: Plan
    network: Network
    keys: UInt64[Array, "streams capacity"]
    scales: Float[Array, "capacity"]  # σ_w/√m
    batch: int  # networks drawn side by side

    def key(self, h: Array, stream: int) -> Key:
        """Return the key of a stream of hidden layer h."""
        return self.keys[stream, h]


def start_run(plan: Plan, batch: int, key: Key, network: Network) -> Run:
    """Return a run of a key, with what each of its layers needs."""

    def tables() -> tuple[Array, Array]:
        layers, m = jnp.arange(network.widths.shape[0]), network.widths.astype(jnp.float64)
        keys = fold(key, layers[None, :], jnp.arange(STREAMS)[:, None])
        return keys, (network.sigma_w / jnp.sqrt(m)).astype(plan.dtype)

    keys, scales = kept(network.hidden > 0, tables)
    return Run(plan, network, keys, scales, batch)


def kept(true: Array, make: Callable[[], Any]) -> Any:
    """Return make(), in memory; `true` is so, unknown to the compiler.

    XLA computes a value that several loops and kernels use in each of them anew, and compiles it as
    often: on a CPU in spite of a barrier, but not the result of a conditional.
    """
    if jax.default_backend() != "cpu":
        return lax.optimization_barrier(make())
    return lax.cond(true, make, lambda: _zeros(make))


def _zeros(make: Callable[..., Any], *args: Any) -> Any:
    """Return 0 in place of what `make` returns."""
    shapes = jax.eval_shape(make, *args)
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


class Ensembles(NamedTuple):
    """Fresh networks for one sampler, made of what its callers give it: checked, and told apart
    into what is compiled and what is data.

    Attributes:
        sampler: Its name, for messages.
        copies: Back-propagated signals; with 0 the outputs are not looked at.
    """

    sampler: str
    copies: int

    def __call__(
        self,
        init: Init | Activation | str,
        x: Float[ArrayLike, "n d"],
        widths: Sequence[int],
        *,
        memory: int = MEMORY,
        dtype: Any = None,
    ) -> Ensemble:
        """Return what the sampler draws from; arguments and errors are those of `ntk_sampled`."""
        require_float64(self.sampler)
        init, x = at_edge(init), jnp.asarray(x)
        require(np.ndim(widths) == 1, "widths", "a sequence (m_1, …, m_l) of integers", widths)
        require(x.ndim == 2 and min(x.shape) >= 1, "x", "[n, d] with n, d >= 1", x.shape)
        dtype = jnp.dtype(x.dtype if dtype is None else dtype)
        require(dtype.name in ("float32", "float64"), "dtype", "float32 or float64", dtype.name)
        if self.copies == 0 and len(widths):
            widths = (*widths[:-1], 1)
        sizes = require_widths(widths)
        for i, m in enumerate(sizes):
            require(m <= LARGEST_WIDTH, f"widths[{i}]", f"<= {LARGEST_WIDTH}", m)
        memory = require_count("memory", memory)
        plan = Plan(init.activation, sizes[-1], self.copies, memory, dtype)
        n, hidden = x.shape[0], len(sizes) - 1
        least = _fixed_bytes(n, plan, hidden) + _neuron_bytes(n, plan)
        require(memory >= least, "memory", f">= {least} bytes (n = {n}, k = {plan.k})", memory)
        padded = np.ones(_capacity(n, plan, hidden), np.uint32)
        padded[:hidden] = sizes[:-1]
        scales = np.float64(init.sigma_w), np.float64(init.sigma_b)
        network: list[Any] = [padded, np.uint32(hidden), *scales]
        return Ensemble(x, Network(*network), plan, hidden == 0)


def require_float64(caller: str) -> None:
    """Raise unless JAX's float64 is on; turning it on is the application's business."""
    if jax.dtypes.canonicalize_dtype("float64") != jnp.float64:
        raise RuntimeError(
            f"`{caller}` needs float64 for its n × n algebra: call "
            'jax.config.update("jax_enable_x64", True) first. The draws may still be float32.'
        )


def columns(n: int, plan: Plan) -> int:
    """Return q, the number of back-propagated signals of all copies, inputs and outputs."""
    return plan.copies * n * plan.k


def _layer_bytes(n: int, plan: Plan) -> int:
    """Bytes of what the forward pass leaves of a layer."""
    return 8 * (3 * n * n + n * columns(n, plan) if plan.copies else n * n)


def _fixed_bytes(n: int, plan: Plan, hidden: int) -> int:
    """Bytes of the matrices that live through the run, and of one elimination and of the sums."""
    return hidden * _layer_bytes(n, plan) + 8 * (4 * n * n + 8 * columns(n, plan) ** 2)


def _neuron_bytes(n: int, plan: Plan) -> int:
    """Bytes of random bits, draws and the arrays made of them, two of these in float64."""
    q = columns(n, plan)
    return plan.dtype.itemsize * (3 * (n + q) + 3 * n + 2 * q) + 8 * (n + q)


def _capacity(n: int, plan: Plan, hidden: int) -> int:
    """Layers for which a program has room: few different numbers, so that there are few programs.

    A power of two, at least 32 where that costs little memory; the exact number where rounding up
    would cost much.
    """
    layer = _layer_bytes(n, plan)
    least = max(1, min(LAYERS, STATE // layer))
    power = 1 << (max(hidden, least) - 1).bit_length()
    return power if power * layer <= plan.memory // 8 else max(hidden, 1)


def block_size(rows: int, n: int, plan: Plan, batch: int) -> int:
    """Neurons in a block, of `rows` Gaussians each, where `batch` networks are drawn side by side.

    They share the cache and the memory. No block is so short that its n × n sums cost more than its
    neurons.
    """
    room = (plan.memory - _fixed_bytes(n, plan, 0)) // 2 // _neuron_bytes(n, plan)
    length = BLOCK.get(jax.default_backend(), LONG_BLOCK) // (rows * batch)
    return min(max(length, SHORTEST, rows // 2), max(room, 1))


def over_blocks(
    run: Run, h: Array, n: int, rows: int, visit: Visit, wanted: Array | bool = True
) -> Any:
    """Sum visit(draws [rows, b], real [1, b]) over blocks of the neurons of hidden layer h.

    `real` tells the neurons of the layer from those that only fill its last block. If the sum is
    not wanted, it is 0, and no block is visited.
    """
    m, key = jnp.where(wanted, run.network.widths[h], 0), run.key(h, NEURONS)
    size = block_size(rows, n, run.plan, run.batch)
    none, blocks = jnp.zeros_like(m), (m + (size - 1)) // size

    def block(i: Array) -> Any:
        draws = kept(i < blocks, lambda: normals(key, rows, i * size, size, run.plan.dtype))
        return visit(draws, (i * size + jnp.arange(size, dtype=i.dtype) < m)[None, :])

    def step(i: Array, total: Any) -> Any:
        return jax.tree.map(jnp.add, total, block(i))

    return lax.fori_loop(none, blocks, step, _zeros(block, none))


def knowing_its_batch(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return run(1, …) which under `vmap` becomes the `vmap` of run(s, …), s networks at a time.

    On a CPU a large batch goes through in turns, whose arrays fit the cache.
    """
    alone = custom_vmap(partial(run, 1))

    @alone.def_vmap
    def _(batch: int, batched: Any, *args: Any) -> tuple[Any, Any]:
        leaves, tree = jax.tree.flatten(args)
        mapped = jax.tree.leaves(batched)
        lanes = min(batch, LANES.get(jax.default_backend(), batch))
        turns = -(-batch // lanes)
        # Lanes first: a batch that is sharded over devices stays so.
        order = (jnp.arange(lanes * turns) % batch).reshape(lanes, turns)

        def turn(index: Array) -> Any:
            mine = [leaf[index] if m else leaf for leaf, m in zip(leaves, mapped, strict=True)]
            axes = jax.tree.unflatten(tree, [0 if m else None for m in mapped])
            return jax.vmap(partial(run, lanes), axes)(*jax.tree.unflatten(tree, mine))

        def flat(out: Array) -> Array:
            return out.swapaxes(0, 1).reshape(lanes * turns, *out.shape[2:])[:batch]

        out = jax.tree.map(flat, lax.map(turn, order.T))
        return out, jax.tree.map(lambda _: True, out)

    return alone
