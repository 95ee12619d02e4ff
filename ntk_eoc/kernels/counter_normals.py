"""Gaussians by counter: number (row, neuron) of a stream is a function of its key and of these two.

What is drawn does not depend on how much of it is drawn at a time, so that a second pass over a
layer finds the same neurons in blocks of any size. The generator is Threefry-2x32 with 20 rounds
(Salmon, Moraes, Dror & Shaw, SC 2011), the one behind `jax.random`.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt32, UInt64

Key = UInt64[Array, ""]  # the two words of a key, the first in the upper half
Words = tuple[UInt32[Array, ""], UInt32[Array, ""]]  # the same by themselves
Pair = tuple[UInt32[Array, "*shape"], UInt32[Array, "*shape"]]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry(key: Words, count: Pair) -> Pair:
    """Encrypt two 32-bit words under a key of two words.

    `jax.random` runs the same rounds as a loop over arrays in memory; unrolled, they stay in
    registers together with what is made of the result, which is twice as fast on a CPU.
    """
    schedule = (*key, key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    a, b = count[0] + schedule[0], count[1] + schedule[1]
    for group in range(5):
        for bits in _ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << jnp.uint32(bits)) | (b >> jnp.uint32(32 - bits)))
        a = a + schedule[(group + 1) % 3]
        b = b + schedule[(group + 2) % 3] + jnp.uint32(group + 1)
    return a, b


def _pack(words: Pair) -> UInt64[Array, "*shape"]:
    return words[0].astype(jnp.uint64) << jnp.uint64(32) | words[1].astype(jnp.uint64)


def _words(key: Key) -> Words:
    return (key >> jnp.uint64(32)).astype(jnp.uint32), key.astype(jnp.uint32)


def stream_key(key: Array) -> Key:
    """Two words from a JAX key of any kind."""
    words = jax.random.bits(key, (2,), jnp.uint32)
    return _pack((words[0], words[1]))


@jax.jit
def fold(key: Key, first: Array | int, second: Array | int = 0) -> UInt64[Array, "*streams"]:
    """Derive the key of stream (first, second), or of several at once."""
    count = jnp.broadcast_arrays(jnp.asarray(first, jnp.uint32), jnp.asarray(second, jnp.uint32))
    return _pack(threefry(_words(key), (count[0], count[1])))


@partial(jax.jit, static_argnums=(1, 3, 4))
def normals(
    key: Key, rows: int, first: Array | int, count: int, dtype: Any
) -> Float[Array, "rows count"]:
    """Draw standard normals: row r of the neurons first, …, first + count − 1.

    In float32 one encryption gives the rows 2p and 2p + 1, each from 24 of its bits; in float64 it
    gives one row, from 53 bits.
    """
    double = jnp.dtype(dtype) == jnp.float64
    pairs = rows if double else -(-rows // 2)
    shape = (pairs, count)
    neurons = jnp.asarray(first, jnp.uint32) + lax.broadcasted_iota(jnp.uint32, shape, 1)
    a, b = threefry(_words(key), (neurons, lax.broadcasted_iota(jnp.uint32, shape, 0)))
    if double:
        return _normal(_uniform64(a, b))
    return _normal(_uniform32(jnp.stack([a, b], axis=1).reshape(2 * pairs, count)[:rows]))


def _normal(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return jnp.asarray(np.sqrt(2), u.dtype) * lax.erf_inv(u)


def _uniform32(bits: UInt32[Array, "*shape"]) -> Float[Array, "*shape"]:
    """(i + ½) 2⁻²³ for the signed 24-bit integer i: exact, symmetric, never 0 or ±1."""
    i = lax.bitcast_convert_type(bits, jnp.int32) >> jnp.int32(8)
    return (i.astype(jnp.float32) + jnp.float32(0.5)) * jnp.float32(2.0**-23)


def _uniform64(
    high: UInt32[Array, "*shape"], low: UInt32[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """(i + ½) 2⁻⁵² for the signed 53-bit integer i: exact, symmetric, never 0 or ±1."""
    i = lax.bitcast_convert_type(high, jnp.int32).astype(jnp.float64)
    rest = lax.bitcast_convert_type(low >> jnp.uint32(11), jnp.int32).astype(jnp.float64)
    return (i + (rest + 0.5) * 2.0**-21) * 2.0**-31
