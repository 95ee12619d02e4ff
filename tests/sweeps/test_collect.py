"""All records in one file: every axis named, every number kept, or one line that says why not."""

import json

import numpy as np
import pytest
from small_sweep import CONFIG, NOISE, written

from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run


def test_exact_collect_labels_every_axis(tmp_path):
    import csv

    xr = pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    out = tmp_path / "out"
    values = ("grid.scale=[1.0, 0.5]", "fixed.by=numpy", "grid.size=[3, 2]")
    text = CONFIG.read_text().replace('"noise.py"', f'"{NOISE}"').replace("scale = 2.0", "")
    (tmp_path / "noise.toml").write_text(text)
    run(Options(tmp_path / "noise.toml", out, overrides=values))
    gone = load(out)[0].where(size=3, scale=0.5)[1]
    (out / "cells" / f"{gone.meta['id']}.ok.npz").unlink()
    netcdf, table = collect(out, tmp_path / "noise.nc")
    with xr.open_dataset(netcdf) as data:
        assert data["gram"].dims == ("size", "scale", "seed", "row", "column")
        assert data["mean"].attrs["units"] == "1"
        assert list(data["size"].values) == [2, 3]
        assert list(data["scale"].values) == [0.5, 1.0]
        assert data.attrs["cells_missing"] == 1
        assert json.loads(data.attrs["config"])["seeds"] == 6
        for (size, scale), group in load(out)[0].group("size", "scale"):
            here = data.sel(size=size, scale=scale)
            count = len(group.stack("mean"))
            np.testing.assert_array_equal(here["mean"][:count], group.stack("mean"))
            np.testing.assert_array_equal(here["gram"][:count, :size, :size], group.stack("gram"))
            assert np.isnan(here["mean"][count:]).all()
            assert np.isnan(here["gram"][:, size:]).all()
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 22
    assert list(rows[0]) == ["size", "scale", "seed", "status", "mean"]


def test_exact_collect_of_a_sparse_grid_lists_points(tmp_path):
    xr = pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    text = CONFIG.read_text().replace('"noise.py"', f'"{NOISE}"').replace("[2, 3, 5]", "[1]")
    more = "".join(
        f"\n[[also]]\ngrid = {{ size = [{i}] }}\nfixed = {{ scale = {float(i)} }}\n"
        for i in range(3, 9)
    )
    (tmp_path / "noise.toml").write_text(text + more)
    run(Options(tmp_path / "noise.toml", tmp_path / "out", overrides=("seeds=0",)))
    with xr.open_dataset(collect(tmp_path / "out", tmp_path / "noise.nc")[0]) as data:
        assert data["mean"].dims == ("point",)
        np.testing.assert_array_equal(data["mean"], data["size"] * data["scale"])


CLASHES = {  # names of arrays that the file has for something else
    "what the file tells": ("return {'status': 1.0, 'seconds': 2.0}", "seconds, status"),
    "a field that varies": ("return {'i': 1.0}", "i"),
    "the seeds": ("return {'seed': 1.0}", "seed"),
    "an axis of another": ("return {'x': np.eye(2), 'x_0': np.eye(3)}", "x_0"),
}


@pytest.mark.parametrize("what", CLASHES)
def test_exact_names_of_the_file_are_refused(tmp_path, what):
    pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    body, names = CLASHES[what]
    run(Options(written(tmp_path, body), tmp_path / "out"))
    with pytest.raises(UserError, match=f"other names than .* fields, got {names}\\."):
        collect(tmp_path / "out", tmp_path / "a.nc")
    assert not (tmp_path / "a.nc").exists()


def test_exact_two_axes_have_two_names(tmp_path):
    pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    config = written(tmp_path, "return {'x': np.eye(2)}", more="AXES = {'x': ['a', 'a']}")
    run(Options(config, tmp_path / "out"))
    with pytest.raises(UserError, match=r"must be 2 names of axes, all different, .* got \['a'"):
        collect(tmp_path / "out", tmp_path / "a.nc")


def test_exact_what_does_not_fit_is_refused_by_its_size(tmp_path, monkeypatch):
    """A few large arrays among small ones: the file holds each as large as the largest."""
    pytest.importorskip("xarray")
    from ntk_eoc.sweeps import collect

    run(Options(written(tmp_path, "return {'x': np.zeros(1 + 1000 * cell.i)}"), tmp_path / "out"))
    monkeypatch.setattr(collect, "host_memory", lambda: 2.0**13)
    with pytest.raises(UserError, match="must be of arrays that fit .* 7.63e-06 GiB, got 1.68e-05"):
        collect.collect(tmp_path / "out", tmp_path / "a.nc")


def test_exact_fields_of_any_kind_are_grouped_and_collected(tmp_path):
    xr = pytest.importorskip("xarray")
    from ntk_eoc.sweeps.collect import collect

    fields = "o: dict[str, float] = {}\nm: list[list[int]] = []\ns: set[int] = set()"
    grid = "[grid]\no = [{a = 1.0}, {a = 2.0}]\nm = [[[1, 2]], [[3], [4]]]\ns = [[1], [2, 3]]"
    run(Options(written(tmp_path, "return {'x': 1.0}", fields, config=grid), tmp_path / "out"))
    records = load(tmp_path / "out")[0]
    assert [len(group) for _, group in records.group("o", "m", "s")] == [1] * 8
    assert len(records.where(o={"a": 1.0}, m=[[3], [4]])) == 2
    with xr.open_dataset(collect(tmp_path / "out", tmp_path / "a.nc")[0]) as data:
        assert data["x"].shape == (2, 2, 2)
