"""K∞ as a Dask array: the numbers of `ntk_infinite`, and the same bits on any number of workers."""

import importlib
import os
import signal
import subprocess
import sys
import time

import dask
import numpy as np
import pytest

import ntk_eoc as ne

INITS = {
    "relu": ne.edge_of_chaos("relu"),
    "erf": ne.edge_of_chaos("erf", q=1.0),
    "tanh": ne.edge_of_chaos("tanh", q=1.0),
}


def points(n, d=7, dtype=np.float64):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((n, d)).astype(dtype)
    x[n // 2] = x[0]  # a duplicate and an opposite, in other tiles than their twins
    x[-1] = -x[1]
    return x


QUADRATURE = pytest.param("tanh", "float64", marks=pytest.mark.slow)  # compiles for seconds


@pytest.mark.parametrize(
    ("phi", "dtype"),
    [("relu", "float64"), ("relu", "float32"), ("erf", "float64"), QUADRATURE],
)
def test_agrees_with_the_kernel_in_one_piece(phi, dtype):
    x = points(23, dtype=dtype)
    if phi == "tanh":
        x = np.asarray(ne.normalise(x, INITS[phi]))
    init = INITS[phi]
    kernel = ne.dask_kernel(init, x, 3, chunks=9)
    assert kernel.shape == (23, 23)
    assert kernel.dtype == dtype
    assert kernel.chunks == ((9, 9, 5), (9, 9, 5))
    found = kernel.compute(scheduler="synchronous")
    assert found.dtype == dtype
    assert (found == found.T).all()
    close = 1e-11 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(found, ne.ntk_infinite(init, x, x, 3), rtol=close, atol=close)


def test_exact_bits_do_not_depend_on_who_computes():
    x = points(40)
    kernel = ne.dask_kernel(INITS["erf"], x, 4, chunks=12)
    one, threads = kernel.compute(scheduler="synchronous"), kernel.compute(scheduler="threads")
    assert one.tobytes() == threads.tobytes()
    # A tile is what its own two blocks give, whatever else was asked for.
    alone = kernel[12:24, 24:36].compute(scheduler="synchronous")
    assert alone.tobytes() == np.ascontiguousarray(one[12:24, 24:36]).tobytes()


def test_agrees_products_and_solutions_with_dense_algebra():
    x, v = points(30), np.linspace(-1, 1, 30)
    x[15], x[-1] = x[15] + 0.3, x[-1] + 0.3  # no duplicate: the matrix has an inverse
    kernel = ne.dask_kernel("relu", x, 2, chunks=10)
    dense = np.asarray(ne.ntk_infinite(INITS["relu"], x, x, 2))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_allclose((kernel @ v).compute(), dense @ v, rtol=1e-12, atol=1e-12)
        solved = dask.array.linalg.solve(kernel, dask.array.from_array(v, 10)).compute()
    np.testing.assert_allclose(dense @ solved, v, atol=1e-9)


def test_bad_input_is_refused():
    x = points(5)
    with pytest.raises(ValueError, match="`chunks` must be >= 1, got 0"):
        ne.dask_kernel("relu", x, 2, chunks=0)
    with pytest.raises(ValueError, match="`depth` must be >= 1, got 0"):
        ne.dask_kernel("relu", x, 0)
    with pytest.raises(ValueError, match="`x` must be without NaN"):
        ne.dask_kernel("relu", x * np.nan, 2)


def tiles_computed(monkeypatch):
    """A list that grows by one at each tile."""
    module, seen = importlib.import_module("ntk_eoc.kernels.dask_kernel"), []
    plain = module._tile

    def counted(*args):
        seen.append(args)
        return plain(*args)

    monkeypatch.setattr(module, "_tile", counted)
    return seen


@pytest.fixture
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.usefixtures("synchronous")
def test_exact_a_stored_kernel_is_gone_on_with(tmp_path, monkeypatch):
    pytest.importorskip("zarr")
    x, seen = points(23), tiles_computed(monkeypatch)
    kernel = ne.dask_kernel("relu", x, 3, chunks=9)
    dense, path = kernel.compute(), tmp_path / "kernel.zarr"
    seen.clear()
    stored = ne.store_kernel(kernel, path)
    assert len(seen) == 6  # each tile and its transpose from one computation
    assert stored[:].tobytes() == dense.tobytes()
    stored[9:18, :9] = np.nan
    stored[18:, 18:] = np.nan
    seen.clear()
    again = ne.store_kernel(ne.dask_kernel("relu", x, 3, chunks=9), path)
    assert len(seen) == 3  # the two that were missing, and the one that is compared
    assert again[:].tobytes() == dense.tobytes()
    plain = kernel.to_zarr(tmp_path / "plain.zarr", compute=True)
    assert (dask.array.from_zarr(tmp_path / "plain.zarr").compute() == dense).all(), plain


@pytest.mark.usefixtures("synchronous")
def test_bad_stores_are_refused(tmp_path):
    pytest.importorskip("zarr")
    x, path = points(23), tmp_path / "kernel.zarr"
    ne.store_kernel(ne.dask_kernel("relu", x, 3, chunks=9), path)
    with pytest.raises(ValueError, match=r"`path` must be an array of \(shape, chunks, dtype\)"):
        ne.store_kernel(ne.dask_kernel("relu", x, 3, chunks=8), path)
    with pytest.raises(ValueError, match="`path` must be an array of this kernel's tiles"):
        ne.store_kernel(ne.dask_kernel("relu", x, 4, chunks=9), path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a worker that is killed
def test_exact_bits_on_one_two_and_four_workers_one_of_them_killed():
    from distributed import Client, LocalCluster

    x = points(600)
    alone = ne.dask_kernel(INITS["erf"], x, 6, chunks=60).compute(scheduler="synchronous").tobytes()
    for workers in (1, 2, 4):
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=None
            ) as cluster,
            Client(cluster) as client,
        ):
            future = client.compute(ne.dask_kernel(INITS["erf"], x, 6, chunks=60))
            time.sleep(4)
            if workers > 1:  # the nanny starts another
                first = next(iter(client.run(os.getpid).values()))
                os.kill(first, signal.SIGKILL)
            assert future.result(timeout=200).tobytes() == alone, workers


STORE = """
import sys, numpy as np, dask, jax, ntk_eoc as ne
x = np.load(sys.argv[1])
with dask.config.set(scheduler="synchronous"):
    ne.store_kernel(ne.dask_kernel("relu", x, 6, chunks=60), sys.argv[2])
"""


@pytest.mark.slow
def test_exact_a_killed_run_loses_nothing_that_was_stored(tmp_path):
    zarr = pytest.importorskip("zarr")
    x, path = points(900), tmp_path / "kernel.zarr"
    np.save(tmp_path / "x.npy", x)
    process = subprocess.Popen([sys.executable, "-c", STORE, tmp_path / "x.npy", path])
    chunks = path / "c"
    while process.poll() is None and sum(1 for _ in chunks.glob("*/*")) < 40:
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = {file: file.stat().st_mtime_ns for file in chunks.glob("*/[0-9]*")}
    with dask.config.set(scheduler="synchronous"):
        kernel = ne.dask_kernel("relu", x, 6, chunks=60)
        assert 40 <= len(before) < 225
        ne.store_kernel(kernel, path)
        assert zarr.open_array(path)[:].tobytes() == kernel.compute().tobytes()
    kept = [file for file, when in before.items() if file.stat().st_mtime_ns == when]
    assert len(kept) == len(before)
