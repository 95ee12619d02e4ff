"""Every experiment's small config runs from the command line to a figure."""

import os
from pathlib import Path

import jax
import pytest

from ntk_eoc import cli
from ntk_eoc.report.tables import HEAD
from ntk_eoc.sweeps import engine

ROOT = Path(__file__).parent.parent
SMALL = sorted((ROOT / "configs").glob("*_small.toml"))


@pytest.fixture
def settings():
    """What the command line sets in JAX and in the environment, put back afterwards."""
    names = [name for name in (*engine.SETTINGS, "jax_platforms") if name in jax.config.values]
    held = {name: jax.config.values[name] for name in names}
    environment = dict(os.environ)
    yield
    for name, value in held.items():
        jax.config.update(name, value)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


def command(*arguments):
    """Run `ntk-eoc`, in this process: starting JAX anew takes longer than most small configs."""
    cli.app(
        [str(argument) for argument in arguments],
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
    )


@pytest.mark.filterwarnings("default")  # a warning is no failure there
@pytest.mark.parametrize("config", SMALL, ids=lambda path: path.stem)
def test_exact_small_config_runs_to_a_figure(config, tmp_path, monkeypatch, settings, capsys):
    monkeypatch.chdir(ROOT)
    command("run", config, "--out", tmp_path / "run")
    command("figures", tmp_path / "run")
    pictures = sorted((tmp_path / "run" / "figures").iterdir())
    assert {path.suffix for path in pictures} == {".png", ".pdf"}
    assert all(path.stat().st_size > 5000 for path in pictures)
    tables = list((tmp_path / "run" / "tables").glob("*.md"))
    assert tables
    assert all(HEAD.match(path.read_text()).group(1) == config.name for path in tables)
    capsys.readouterr()
    command("status", tmp_path / "run")
    assert "ok" in capsys.readouterr().out


def test_exact_every_config_has_a_small_twin():
    full = {path.stem for path in (ROOT / "configs").glob("*.toml")}
    assert full
    for name in full:
        assert name.endswith("_small") or f"{name}_small" in full
