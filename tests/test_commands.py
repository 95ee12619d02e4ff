"""What the command line says of itself, and the files it writes to start from."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from ntk_eoc import cli
from ntk_eoc.sweeps import config, experiment, grid, shipped, starting

ROOT = Path(__file__).parent.parent
COMMANDS = (
    "run", "figures", "status", "verify", "collect", "page", "new", "list", "eoc", "widths",
    "explore",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_exact_help_without_artefacts(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.app([command, "--help"])
    told = capsys.readouterr().out
    for artefact in ("--empty", "--no-", "()", "[default: False]", "None"):
        assert artefact not in told, artefact


def shown():
    """The commands that the pages show: indented, in a comment of a script, or in backticks."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in [*pages, *(ROOT / "tutorials").glob("*.py")]:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        lines = re.findall(r"^(?: {4}|# )(?:srun \S*/)?ntk-eoc (.*)", text, re.MULTILINE)
        spans = re.findall(r"`ntk-eoc\s([^`]*)`", text)
        yield from ((page.name, " ".join(words.split())) for words in lines + spans)


def test_exact_the_commands_that_the_pages_show_are_commands():
    parsed = 0
    for page, words in shown():
        for one in words.split(" · "):
            name, *rest = one.split()
            flags = set(re.findall(r"--[a-z][a-z-]*", one))
            if name in COMMANDS:
                known = cli.app[name].assemble_argument_collection()
                assert flags <= {flag for found in known for flag in found.names}, f"{page}: {one}"
            else:
                assert one == "--install-completion", page
        if rest and not re.search(r" \[|[|…·]|NAME|DIR\b", words):  # else a synopsis
            cli.app.parse_args(shlex.split(words), exit_on_error=False, print_error=False)
            parsed += 1
        for path in re.findall(r"\bconfigs/(?!NAME)\w+\.toml", words):
            assert (ROOT / path).exists(), page
    assert parsed > 20


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_exact_completion_for_every_shell(shell):
    script = cli.app.generate_completion(shell=shell)
    assert "collect" in script
    assert "--workers" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("kind", ["experiment", "activation", "data"])
def test_exact_new_files_are_configs_of_cells(kind, tmp_path):
    name = f"my_{kind}"
    paths = starting.write(kind, name, tmp_path)
    assert [path.name for path in paths] == [f"{name}.py", f"{name}.toml", f"{name}_small.toml"]
    sizes = []
    for path in paths[1:]:
        wanted = config.load(path)
        loaded = experiment.load(experiment.resolve(wanted.experiment, path), tmp_path)
        sizes.append(sum(one.cost for one in grid.plan(wanted, loaded, str(path))))
        keys = tomllib.loads(path.read_text())
        assert {"experiment", "title", "seeds", "grid", "fixed"} <= set(keys)
    assert sizes[1] < sizes[0] / 3


def test_exact_shipped_configs_are_called_by_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert shipped.config(Path("concentration_small")) == shipped.configs()["concentration_small"]
    (tmp_path / "concentration").mkdir()
    assert shipped.config(Path("concentration")) == Path("concentration")
    assert shipped.config(Path("bias.toml")) == Path("bias.toml")
    assert shipped.experiment("concentration") == shipped.home() / "experiments/concentration.py"
    assert shipped.experiment("_fresh") is None
    assert shipped.experiment("my.module") is None


def test_exact_paths_in_a_config_are_relative_to_it_or_to_where_one_is(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path / "site-packages" / "ntk_eoc")
    assert shipped.base(Path("mine/my.toml")) == tmp_path / "mine"
    inside = tmp_path / "site-packages" / "ntk_eoc" / "_shipped" / "configs" / "bias.toml"
    assert shipped.base(inside) == tmp_path
