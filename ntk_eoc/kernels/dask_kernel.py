"""K∞ as a Dask array of tiles: on this machine's cores, or on a cluster's workers."""

from os import PathLike
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jaxtyping import ArrayLike, Num

from ntk_eoc.checks import require, require_count
from ntk_eoc.eoc import Init, at_edge
from ntk_eoc.kernels.infinite import Edge, ntk_infinite
from ntk_eoc.kernels.matrix import paired

if TYPE_CHECKING:
    from dask.array import Array as DaskArray


def _tile(init: Init, depth: int, rows: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
    """K∞ of two blocks of inputs, or of one block with itself; where the tile is computed."""
    # A worker's JAX stands as it started, in 32 bits; the inputs alone say what is asked for.
    with jax.enable_x64(True):
        other = rows if columns is None else columns
        kernel = np.asarray(ntk_infinite(init, rows, other, depth))
    if columns is not None:
        return kernel
    lower = np.tril(kernel)  # symmetric to the last bit, whatever order the sums had
    return lower + np.tril(lower, -1).T


def dask_kernel(
    init: Edge, x: Num[ArrayLike, "n d"], depth: int, *, chunks: int = 4096
) -> "DaskArray":
    """Return K∞(X, X) as a Dask array, [n, n], of tiles that nobody has computed yet.

    Dask computes them where its scheduler says: on threads, or on the workers of a
    `distributed.Client`; again, if a worker dies. A tile depends on its two blocks of inputs alone,
    so that its bits are the same for any number of workers with the same processors. The tiles
    above the diagonal are the transposes of those below.

    What Dask does with arrays works: `K @ v`, `K.to_zarr(path)` (needs zarr), `da.linalg.solve`.
    `store_kernel` stores it so that it can be gone on with. For products on one machine
    `kernel_operator` is faster: it forgets each tile at once.

    Args:
        init: Initialisation, or an activation or its name for its edge of chaos; it has to pickle
            where workers are other processes.
        x: Inputs.
        depth: Number l of weight layers.
        chunks: Rows and columns of a tile. A worker needs about 1 GiB and the memory of twenty
            tiles (`benchmarks/products.py workers`).

    Returns:
        An array of x's dtype, as `ntk_infinite` gives it, in chunks of `chunks` × `chunks`.

    Raises:
        ValueError: If depth < 1, chunks < 1, `x` is not [n, d] or holds NaN.
        ModuleNotFoundError: If Dask is not installed (the extra `cluster`).
        ActivationError: When a tile is computed, if φ cannot be integrated well enough.
    """
    try:
        import dask
        import dask.array as da
    except ImportError:
        raise ModuleNotFoundError(
            "`dask_kernel` needs Dask: pip install 'ntk-eoc[cluster]'."
        ) from None
    init, depth, size = (
        at_edge(init),
        require_count("depth", depth),
        require_count("chunks", chunks),
    )
    with jax.enable_x64(True):
        points = np.asarray(paired(x, x)[0])
    require(not bool(np.isnan(points).any()), "x", "without NaN", "NaN")
    blocks = [points[start : start + size] for start in range(0, len(points), size)]
    # Each block travels once, and the activation too.
    shipped = [dask.delayed(block) for block in blocks]
    tile = dask.delayed(_tile)
    common = dask.delayed(init, traverse=False)

    def below(i: int, j: int) -> Any:
        shape = (len(blocks[i]), len(blocks[j]))
        value = tile(common, depth, shipped[i], None if i == j else shipped[j])
        return da.from_delayed(value, shape, points.dtype)

    lower = [[below(i, j) for j in range(i + 1)] for i in range(len(blocks))]
    count = range(len(blocks))
    return da.block([[lower[i][j] if j <= i else lower[j][i].T for j in count] for i in count])


def store_kernel(kernel: "DaskArray", path: str | PathLike[str]) -> Any:
    """Compute the tiles of a `dask_kernel` into a Zarr array; of one begun, only those missing.

    A tile is written whole or not at all, as soon as it is computed, and is NaN until then: after a
    kill at any moment the same call goes on. One tile that is there is computed again and has to be
    the same to the last bit: another kernel, or another kind of machine, is refused.

    Args:
        kernel: Of `dask_kernel`.
        path: A folder that all workers see under this name.

    Returns:
        The `zarr.Array`, in the chunks of the kernel's tiles.

    Raises:
        ValueError: If the array at `path` is of another kernel, tile size or kind of machine.
        ModuleNotFoundError: If Zarr is not installed (the extra `zarr`).
    """
    try:
        import zarr
    except ImportError:
        raise ModuleNotFoundError(
            "`store_kernel` needs Zarr: pip install 'ntk-eoc[zarr]'."
        ) from None
    import dask.array as da
    from dask.array.core import slices_from_chunks

    kind = kernel.shape, kernel.chunksize, kernel.dtype
    options: Any = dict(zip(("shape", "chunks", "dtype"), kind, strict=True))
    stored: Any = zarr.open_array(path, mode="a", fill_value=np.nan, **options)
    found = stored.shape, stored.chunks, stored.dtype
    require(found == kind, "path", f"an array of (shape, chunks, dtype) {kind}", found)
    tiles = list(zip(np.ndindex(*kernel.numblocks), slices_from_chunks(kernel.chunks), strict=True))
    empty = [bool(np.isnan(stored[place]).any()) for _, place in tiles]
    if not all(empty):
        index, place = tiles[empty.index(False)]
        again = kernel.blocks[index].compute()
        same = again.tobytes() == stored[place].tobytes()
        require(same, "path", "an array of this kernel's tiles", "others")
    missing = [tile for tile, is_empty in zip(tiles, empty, strict=True) if is_empty]
    if missing:
        sources, places = [kernel.blocks[index] for index, _ in missing], [p for _, p in missing]
        da.store(sources, [stored] * len(missing), regions=places, lock=False)
    return stored
