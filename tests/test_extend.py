"""What docs/extend.md shows is run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ntk_eoc import data

ROOT = Path(__file__).parent.parent
FILES = dict(
    re.findall(
        r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", (ROOT / "docs/extend.md").read_text(), re.S
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("extend")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def run(folder, *arguments):
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(folder),
                   "MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu"}  # fmt: skip
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip


def test_exact_every_file_is_short():
    assert set(FILES) == {
        "my_activation.py", "use_my_activation.py", "sign.py", "sign.toml", "my_data.py",
    }  # fmt: skip
    assert all(len(text.splitlines()) < 40 for text in FILES.values())


def test_exact_new_activation_gets_its_card(folder):
    ran = run(folder, "-m", "ntk_eoc", "eoc", "my_activation.py:bent", "--sigma-b", "0.2")
    assert ran.returncode == 0, ran.stderr
    assert "bent: kinked" in ran.stdout
    assert "3/4 I + 1/4" in ran.stdout
    assert (folder / "eoc_bent_sigma_b0.2.png").stat().st_size > 20_000


def test_exact_new_activation_in_python(folder):
    ran = run(folder, "use_my_activation.py")
    assert ran.returncode == 0, ran.stderr
    assert 0 < float(ran.stdout.split()[-1]) < 0.3


def test_exact_new_experiment(folder):
    for arguments in (("run", "sign.toml", "--out", "sign"), ("figures", "sign")):
        ran = run(folder, "-m", "ntk_eoc", *arguments)
        assert ran.returncode == 0, ran.stderr
    assert list((folder / "sign" / "figures").glob("*.png"))


def test_exact_new_data_set(folder):
    loaded = data.load(f"{folder / 'my_data.py'}:circle", 20)
    assert loaded.x.shape == (20, 8)
    assert loaded.y.shape == (20,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:f", "must be in a module that can be imported.*ModuleNotFoundError"),
        ("my_activation.py:bend", "Did you mean 'bent'"),
        ("geluu", "Did you mean 'gelu'"),
    ],
)
def test_exact_what_cannot_be_loaded_is_told(folder, name, message):
    ran = run(folder, "-m", "ntk_eoc", "eoc", name)
    assert ran.returncode == 2
    assert ran.stderr.count("\n") == 1
    assert re.search(message, ran.stderr), ran.stderr
