"""However a sweep is spread out, its arrays are the same bit for bit."""

import os
import subprocess

import pytest
from small_sweep import CONFIG, ENVIRONMENT, arrays_of, command

from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run

# 3 batches of 2 a cell: of the 4 simulated devices 3 are used; the last batch is padded.
VALUES = ("fixed.by=jax", "grid.size=[24]", "seeds=10", "seeds_per_cell=5", "batch=2")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "out"
    assert run(Options(CONFIG, out, VALUES)).counts == {"ok": 2}
    return arrays_of(out)


@pytest.mark.filterwarnings("ignore:unclosed")
def test_exact_two_workers(alone, tmp_path):
    assert run(Options(CONFIG, tmp_path, VALUES, workers=2)).counts == {"ok": 2}
    assert arrays_of(tmp_path) == alone


def test_exact_shards(alone, tmp_path):
    for part in ("1/3", "2/3", "3/3"):
        run(Options(CONFIG, tmp_path, VALUES, shard=part))
    assert arrays_of(tmp_path) == alone


def test_exact_four_simulated_devices(alone, tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    environment = ENVIRONMENT | {"XLA_FLAGS": flags}
    sets = [word for value in VALUES for word in ("--set", value)]
    subprocess.run(
        command("run", CONFIG, "--out", tmp_path, *sets),
        env=environment,
        capture_output=True,
        check=True,
    )
    assert arrays_of(tmp_path) == alone
    assert {record.meta["machine"]["devices"] for record in load(tmp_path)[0]} == {4}


@pytest.mark.filterwarnings("ignore")  # of Dask's own, on closing
def test_exact_a_local_dask_cluster(alone, tmp_path):
    pytest.importorskip("distributed")
    before = dict(os.environ)
    assert run(Options(CONFIG, tmp_path, VALUES, workers=2, cluster="local")).counts == {"ok": 2}
    assert arrays_of(tmp_path) == alone
    assert dict(os.environ) == before  # what is left behind would make this another engine
    assert run(Options(CONFIG, tmp_path, VALUES)).before == 2  # nor were the workers another
