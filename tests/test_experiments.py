"""Every experiment's small config runs from the command line to a figure."""

import subprocess
import sys
from pathlib import Path

import pytest

from ntk_eoc.report.tables import HEAD

ROOT = Path(__file__).parent.parent
SMALL = sorted((ROOT / "configs").glob("*_small.toml"))


def ntk_eoc(*arguments):
    command = [sys.executable, "-m", "ntk_eoc", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize("config", SMALL, ids=lambda path: path.stem)
def test_exact_small_config_runs_to_a_figure(config, tmp_path):
    ran = ntk_eoc("run", config, "--out", tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    drew = ntk_eoc("figures", tmp_path / "run")
    assert drew.returncode == 0, drew.stderr
    pictures = sorted((tmp_path / "run" / "figures").iterdir())
    assert {path.suffix for path in pictures} == {".png", ".pdf"}
    assert all(path.stat().st_size > 5000 for path in pictures)
    tables = list((tmp_path / "run" / "tables").glob("*.md"))
    assert tables
    assert all(HEAD.match(path.read_text()).group(1) == config.name for path in tables)
    told = ntk_eoc("status", tmp_path / "run")
    assert told.returncode == 0
    assert "ok" in told.stdout


def test_exact_every_config_has_a_small_twin():
    full = {path.stem for path in (ROOT / "configs").glob("*.toml")}
    assert full
    for name in full:
        assert name.endswith("_small") or f"{name}_small" in full
