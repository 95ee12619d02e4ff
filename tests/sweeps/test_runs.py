"""A sweep computes what is missing, once, to the same bits, whatever happens to it."""

import json
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from small_sweep import CONFIG, ENVIRONMENT, NOISE, arrays_of, command

from ntk_eoc.sweeps import config as configs
from ntk_eoc.sweeps import experiment as experiments
from ntk_eoc.sweeps import grid, record_file
from ntk_eoc.sweeps.batches import map_batched
from ntk_eoc.sweeps.errors import DamagedError, UserError
from ntk_eoc.sweeps.records import Records, load
from ntk_eoc.sweeps.runner import Options, run
from ntk_eoc.sweeps.store import Store


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The folder of the small sweep, run undisturbed in this process."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    summary = run(Options(CONFIG, out))
    assert summary.counts == {"ok": 6}
    return out


def test_exact_records_hold_the_grid_in_order(whole):
    records, experiment = load(whole)
    assert experiment.name == "noise"
    assert [(r.cell.size, r.cell.first_seed, r.cell.seeds) for r in records] == [
        (size, first, seeds) for size in (2, 3, 5) for first, seeds in ((0, 4), (4, 2))
    ]
    assert records.values("size") == [2, 3, 5]
    assert records.missing == 0
    assert len(records.ok) == 6
    assert len(records.bad) == 0
    assert len(records.where(size=3)) == 2
    assert [(key, len(group)) for key, group in records.group("size")] == [
        ((2,), 2),
        ((3,), 2),
        ((5,), 2),
    ]
    assert records.where(size=5).stack("gram").shape == (6, 5, 5)
    with pytest.raises(ValueError, match="Did you mean 'size'"):
        records.where(sise=3)
    with pytest.raises(KeyError, match="must be one of gram, mean"):
        records.stack("gramm")


def test_exact_records_know_their_run(whole):
    record = load(whole)[0][0]
    assert record.status == "ok"
    assert record.meta["engine"]["jax"] == jax.__version__
    assert record.meta["engine"]["platform"] == "cpu"
    assert record.meta["engine"]["matmul_precision"] == "highest"
    assert record.meta["cell"]["dtype"] == "float32"
    assert record.meta["seconds"] > 0
    assert record.meta["machine"]["device"]
    assert len(record.meta["provenance"]["sha256"]) == 64
    assert record.arrays["mean"].dtype == np.float32


def test_exact_a_second_run_computes_nothing(whole):
    before = {path: path.stat().st_mtime_ns for path in (whole / "cells").iterdir()}
    summary = run(Options(CONFIG, whole))
    assert summary.before == 6
    assert not summary.counts
    assert {path: path.stat().st_mtime_ns for path in (whole / "cells").iterdir()} == before


def test_exact_draws_do_not_depend_on_the_split_into_cells(tmp_path):
    point = ("fixed.by=jax", "grid.size=[5]")
    run(Options(CONFIG, tmp_path / "one", overrides=point))
    run(Options(CONFIG, tmp_path / "other", overrides=(*point, "seeds_per_cell=3")))
    one, other = load(tmp_path / "one")[0], load(tmp_path / "other")[0]
    assert one.stack("mean").tobytes() == other.stack("mean").tobytes()
    assert one.stack("gram").tobytes() == other.stack("gram").tobytes()


def test_exact_padding_does_not_touch_the_results(key):
    keys = jax.random.split(key, 7)
    want = np.stack([jax.random.normal(one, (3,), "float64") for one in keys])
    got = map_batched(lambda k: {"z": jax.random.normal(k, (3,), "float64")}, keys, 4)
    np.testing.assert_array_equal(got["z"], want)
    with pytest.raises(ValueError, match="`batch` must be >= 1, got 0"):
        map_batched(lambda k: k, keys, 0)


def test_exact_adding_seeds_and_values_computes_only_what_is_missing(tmp_path):
    run(Options(CONFIG, tmp_path, overrides=("seeds=4", "grid.size=[2, 3]")))
    before = arrays_of(tmp_path)
    summary = run(Options(CONFIG, tmp_path, overrides=("seeds=8", "grid.size=[2, 3, 5]")))
    assert summary.before == 2
    assert summary.counts == {"ok": 4}
    after = arrays_of(tmp_path)
    assert {id_: after[id_] for id_ in before} == before


def test_exact_bad_cells_are_recorded_and_the_sweep_goes_on(tmp_path):
    values = 'grid.behaviour=["good", "nan", "memory", "raise"]'
    options = Options(CONFIG, tmp_path, overrides=("grid.size=[2]", values, "seeds=4"))
    summary = run(options)
    assert summary.counts == {"ok": 1, "non-finite": 1, "out-of-memory": 1, "failed": 1}
    records = load(tmp_path)[0]
    assert {r.cell.behaviour: r.status for r in records.bad} == {
        "nan": "non-finite",
        "memory": "out-of-memory",
        "raise": "failed",
    }
    messages = {r.status: r.meta["message"] for r in records.bad}
    assert messages["non-finite"] == "not finite: mean"
    assert messages["out-of-memory"] == "MemoryError: 16 TB asked for"
    assert messages["failed"] == "ArithmeticError: no such number"
    assert run(options).before == 4
    again = run(Options(CONFIG, tmp_path, overrides=options.overrides, retry=True))
    assert again.before == 2
    assert again.counts == {"out-of-memory": 1, "failed": 1}


def test_exact_dtypes_are_told_apart(tmp_path):
    run(Options(CONFIG, tmp_path, overrides=("grid.size=[2]",)))
    summary = run(Options(CONFIG, tmp_path, overrides=("grid.size=[2]", "dtype=float64")))
    assert summary.before == 0
    assert load(tmp_path)[0].stack("mean").dtype == np.float64


def test_exact_deterministic_experiments_have_one_cell_a_point(tmp_path):
    run(Options(CONFIG, tmp_path, overrides=("seeds=0",)))
    records = load(tmp_path)[0]
    assert [r.cell.seeds for r in records] == [0, 0, 0]
    np.testing.assert_array_equal(records.stack("mean"), np.float32([4, 6, 10]))


def test_exact_shards_partition_the_plan():
    config, experiment = configs.load(CONFIG), experiments.load(str(NOISE))
    planned = grid.plan(config, experiment, "noise.toml")
    parts = [grid.shard(planned, f"{k}/4") for k in (1, 2, 3, 4)]
    assert sorted(one.id for part in parts for one in part) == sorted(one.id for one in planned)
    costs = [one.cost for one in grid.shard(planned, None)]
    assert costs == sorted(costs, reverse=True)


def test_exact_more_grids_override_the_base(tmp_path):
    path = tmp_path / "more.toml"
    path.write_text(
        CONFIG.read_text().replace('"noise.py"', f'"{NOISE}"')
        + "\n[[also]]\nseeds = 2\ngrid = { size = [7, 2], scale = [3.0] }\n"
        + "[[also]]\nfixed = { size = 3 }\n"
    )
    planned = grid.plan(configs.load(path), experiments.load(str(NOISE)), "more.toml")
    found = [(p.cell.size, p.cell.scale, p.cell.first_seed, p.cell.seeds) for p in planned]
    base = [(size, 2.0, first, seeds) for size in (2, 3, 5) for first, seeds in ((0, 4), (4, 2))]
    assert found == [*base, (7, 3.0, 0, 2), (2, 3.0, 0, 2)]


def test_exact_a_killed_sweep_ends_with_the_same_records(whole, tmp_path):
    slow = (*("--set", "fixed.sleep=0.05"), *("--set", "seeds_per_cell=1"))
    run_it = command("run", CONFIG, "--out", tmp_path / "killed", *slow)
    with subprocess.Popen(run_it, env=ENVIRONMENT) as process:
        while len(Store(tmp_path / "killed").entries()) < 11:  # of 18
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = arrays_of(tmp_path / "killed")
    assert 11 <= len(before) < 18
    done = subprocess.run(run_it, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert f"18 cells, {len(before)} done before, now {18 - len(before)} ok" in done.stdout
    after = arrays_of(tmp_path / "killed")
    run(Options(CONFIG, tmp_path / "whole", overrides=("fixed.sleep=0.05", "seeds_per_cell=1")))
    assert after == arrays_of(tmp_path / "whole")


def test_exact_flipped_bytes_are_noticed(whole, tmp_path):
    path = next(iter(Store(whole).entries().values())).path
    content = path.read_bytes()
    copy = tmp_path / path.name
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        copy.write_bytes(damaged)
        with pytest.raises(DamagedError):
            record_file.read(copy)
    for length in (0, 10, len(content) - 1):
        copy.write_bytes(content[:length])
        with pytest.raises(DamagedError, match=r"cut short|checksum"):
            record_file.read(copy)
    renamed = tmp_path / f"{'0' * 20}.ok.npz"
    renamed.write_bytes(content)
    with pytest.raises(DamagedError, match="it holds the record"):
        record_file.read(renamed)


def test_exact_records_are_plain_npz(whole):
    path = next(iter(Store(whole).entries().values())).path
    with np.load(path) as file:
        assert set(file) == {"mean", "gram", "meta.json"}
        assert json.loads(file["meta.json"])["id"] == path.name.split(".")[0]


def test_exact_a_damaged_record_is_set_aside_and_computed_again(tmp_path):
    options = Options(CONFIG, tmp_path)
    run(options)
    before = arrays_of(tmp_path)
    path = sorted((tmp_path / "cells").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    records: Records = load(tmp_path)[0]
    assert (len(records), records.missing) == (5, 1)
    assert run(options).counts == {"ok": 1}
    assert arrays_of(tmp_path) == before
    assert len(list((tmp_path / "damaged").iterdir())) == 1


def test_exact_a_folder_belongs_to_one_experiment(whole, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(NOISE.read_text())
    config = tmp_path / "other.toml"
    config.write_text(CONFIG.read_text().replace("noise.py", "other.py"))
    with pytest.raises(UserError, match="which holds 'noise'"):
        run(Options(config, whole))


def test_exact_versions_are_told_apart_and_mixed_only_on_demand(tmp_path, monkeypatch):
    from ntk_eoc.sweeps import worker

    options = Options(CONFIG, tmp_path, overrides=("seeds=4",))
    run(options)
    older = worker.engine() | {"jax": "0.9.9"}
    with monkeypatch.context() as patch:
        patch.setattr(worker, "engine", lambda: older)
        with pytest.raises(UserError, match=r"results by jax 0\.9\.9, got .* by jax 0\.1"):
            run(Options(CONFIG, tmp_path, overrides=("seeds=8",)))
        assert len(Store(tmp_path).entries()) == 3
        mixed = run(Options(CONFIG, tmp_path, overrides=("seeds=8",), mix=True))
        assert (mixed.before, mixed.counts) == (3, {"ok": 3})
    records = load(tmp_path)[0]
    assert {record.meta["engine"]["jax"] for record in records} == {"0.9.9", jax.__version__}


def test_exact_records_copied_in_from_another_version_do_not_count(tmp_path, monkeypatch):
    from ntk_eoc.sweeps import worker

    one, other = tmp_path / "one", tmp_path / "other"
    run(Options(CONFIG, one, overrides=("seeds=4",)))
    with monkeypatch.context() as patch:
        patch.setattr(worker, "engine", lambda: {"jax": "0.9.9"})
        run(Options(CONFIG, other, overrides=("seeds=4",)))
    for path in (other / "cells").iterdir():
        path.replace(one / "cells" / path.name)
    assert (len(load(one)[0]), load(one)[0].missing) == (0, 3)
    assert run(Options(CONFIG, one, overrides=("seeds=4",))).counts == {"ok": 3}
    assert len(list((one / "aside").iterdir())) == 3


def test_exact_an_id_does_not_change_with_the_code():
    """A golden id: a store of last month must be found by today's code."""
    experiment = experiments.load(str(NOISE))
    cell = experiment.cell(size=2, scale=2.0, seeds=4, batch=3)
    assert grid.cell_id("noise", cell) == "7ea1fd7a0c10c045618b"
    words = jax.random.key_data(cell.key()).tolist()
    assert words == [3488971473, 570311467]
