"""A downloaded folder's code runs when the user lets it, and not before."""

import pytest
from small_sweep import CONFIG, NOISE, written

from ntk_eoc.sweeps import trust
from ntk_eoc.sweeps.collect import collect
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.records import load
from ntk_eoc.sweeps.runner import Options, run


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """A run's folder with its experiment, on an account that never ran it."""
    (tmp_path / "noise.py").write_text(NOISE.read_text())
    (tmp_path / "noise.toml").write_text(CONFIG.read_text())
    run(Options(tmp_path / "noise.toml", tmp_path / "out"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    mark = tmp_path / "imported"
    with (tmp_path / "noise.py").open("a") as file:
        file.write(f"\nPath({str(mark)!r}).touch()\n")
    return tmp_path / "out", mark


@pytest.mark.parametrize("how", [load, lambda out: collect(out, out / "a.nc")])
def test_exact_a_strangers_code_is_not_imported(downloaded, how):
    out, mark = downloaded
    with pytest.raises(UserError, match=r"run on this account, got '.*noise.py'.* --trust"):
        how(out)
    assert not mark.exists()
    assert len(load(out, trust=True)[0]) == 6
    assert mark.exists()
    with pytest.raises(UserError, match="--trust"):  # once is not for ever
        load(out)


def test_exact_what_was_run_here_is_known(downloaded, tmp_path):
    out, mark = downloaded
    run(Options(tmp_path / "noise.toml", tmp_path / "other", overrides=("seeds=1",)))
    assert load(out)[0].missing == 0
    mark.unlink()  # its name stands in the code, and so its content counts
    renamed = (tmp_path / "noise.py").rename(tmp_path / "other.py")
    trust.check(str(renamed), tmp_path, trust=False)  # the same code in another place
    renamed.write_text(renamed.read_text() + "\n\nprint('more')\n")
    with pytest.raises(UserError, match="--trust"):
        trust.check(str(renamed), tmp_path, trust=False)


def test_exact_figures_ask_and_status_runs_nothing(downloaded):
    import bad_input

    out, mark = downloaded
    code, errors = bad_input.call("figures", str(out))
    assert (code, errors.count("\n")) == (2, 1)
    assert "--trust" in errors
    assert bad_input.call("status", str(out))[0] == 0
    assert bad_input.call("verify", str(out))[0] == 0
    assert not mark.exists()
    assert bad_input.call("figures", str(out), "--trust")[0] == 0


def test_exact_modules_are_known_by_their_file_or_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mine.py").touch()
    for name in ("mine", "antigravity", "json.tool"):
        with pytest.raises(UserError, match=f"got '{name}'"):
            trust.check(name, tmp_path, trust=False)
        trust.remember(name, tmp_path)
        trust.check(name, tmp_path, trust=False)
    from ntk_eoc.sweeps import shipped

    ours = next((shipped.home() / "experiments").glob("[a-z]*.py"))
    trust.check(str(ours), tmp_path, trust=False)


NAMED = ["evil.py:f", "evil:f"]  # by a cell


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("how", [load, lambda out: collect(out, out / "a.nc")])
def test_exact_code_that_a_cell_names_is_not_imported(tmp_path, monkeypatch, named, how):
    """Though the experiment is known, its `Cell` or its `draw` would load an activation."""
    mark = tmp_path / "imported"
    (tmp_path / "evil.py").write_text("def f(s):\n    return s\n")
    look = (
        "@pydantic.field_validator('by')\ndef look(cls, by):\n    ne.activation(by)\n    return by"
    )
    more = "import ntk_eoc as ne, pydantic"
    config = written(
        tmp_path, "return {'x': 1.0}", f"by: str\n{look}", config=f'[fixed]\nby = "{named}"'
    )
    (tmp_path / "own.py").write_text(f"{more}\n{(tmp_path / 'own.py').read_text()}")
    run(Options(config, tmp_path / "out"))
    assert len(load(tmp_path / "out")[0]) == 1  # what was run here is known
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    trust.remember(str(tmp_path / "own.py"), tmp_path)
    with (tmp_path / "evil.py").open("a") as file:
        file.write(f"\n\nfrom pathlib import Path\nPath({str(mark)!r}).touch()\n")
    (tmp_path / "out" / "run.json").write_text(
        (tmp_path / "out" / "run.json").read_text().replace('"mix": false', '"mix": true')
    )
    with pytest.raises(UserError, match=f"run on this account, got '{named}'.* --trust"):
        how(tmp_path / "out")
    assert not mark.exists()
    assert len(load(tmp_path / "out", trust=True)[0]) == 1
    assert mark.exists()


def test_exact_words_that_name_no_code_need_no_trust(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    words = ["sphere:64", "angle:45", "npz:d.npz", "no_such_module_anywhere:f", "relu", "a:b:c"]
    for named in trust.references([{"a": words, "b": {"c": words}}]):
        trust.check(named, tmp_path, trust=False)
    with pytest.raises(UserError, match="got 'antigravity:fly'"):
        trust.check("antigravity:fly", tmp_path, trust=False)
