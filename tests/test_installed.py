"""What a user gets: the sdist and the wheel, installed into an environment without the checkout."""

import os
import site
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONFIGS = {path.stem for path in (ROOT / "configs").glob("*.toml")}
EXPERIMENTS = {path.stem for path in (ROOT / "experiments").glob("[a-z]*.py")}


def built(folder, target):
    """Build from the sdist's own files, as a packager does."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    for target in ("sdist", "wheel"):
        built(folder, target)
    return folder


@pytest.fixture(scope="module")
def command(dist, tmp_path_factory):
    """`ntk-eoc` of an environment that has the wheel, and this one's libraries but not ntk_eoc."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    # Of the files .pth of a folder that is on the path by a .pth itself nothing is read: an
    # editable ntk_eoc of this environment is not seen.
    (Path(own) / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    (wheel,) = dist.glob("*.whl")
    install = ["--python", python, "install", "--no-deps", "--no-index", "-q", wheel]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, timeout=120)
    return home / "bin" / "ntk-eoc"


@pytest.fixture
def ntk_eoc(command, tmp_path):
    """Run `ntk-eoc` in an empty folder; what it prints."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    environment |= {key: value for key, value in os.environ.items() if key.startswith("JAX_")}

    def run(*words):
        ran = subprocess.run(
            [command, *map(str, words)], cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=280,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def test_exact_the_sdist_has_what_run_and_test_need(dist):
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    needed = {"Makefile", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"}
    needed |= {"configs/concentration.toml", "experiments/concentration.py", "tests/conftest.py"}
    assert needed <= names
    assert not {name for name in names if name.startswith(("out/", ".venv"))}


def test_exact_an_installed_package_knows_its_experiments(ntk_eoc, command, tmp_path):
    listed = ntk_eoc("list")
    words = set(listed.split())
    assert words >= EXPERIMENTS | CONFIGS
    # -I: nothing but what is installed, whatever PYTHONPATH says here.
    where = [command.parent / "python", "-I", "-c", "import ntk_eoc; print(ntk_eoc.__file__)"]
    place = subprocess.run(where, capture_output=True, text=True, cwd=tmp_path)
    assert place.stdout.startswith(str(command.parent.parent))


@pytest.mark.slow
def test_exact_everything_works_from_an_empty_folder(ntk_eoc, tmp_path):
    assert "16 ok" in ntk_eoc("run", "concentration_small")
    assert "now nothing to do" in ntk_eoc("run", "concentration_small")
    run = tmp_path / "out" / "concentration_small"
    ntk_eoc("figures", run)
    assert list((run / "figures").glob("*.png"))
    ntk_eoc("page", "out", "--to", "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "Verdict of the full config" in page
    ntk_eoc("eoc", "gelu")
    assert (tmp_path / "eoc_gelu.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["experiment", "activation", "data"])
def test_exact_a_new_file_runs_as_it_was_written(ntk_eoc, tmp_path, kind):
    ntk_eoc("new", kind, "mine")
    told = ntk_eoc("run", "mine_small.toml", "--figures")
    assert "ok" in told
    assert "failed" not in told
    assert list((tmp_path / "out" / "mine_small" / "figures").glob("*.png"))


@pytest.mark.slow
def test_exact_an_experiment_of_the_package_takes_a_function_of_ones_own(ntk_eoc, tmp_path):
    ntk_eoc("new", "activation", "mine")
    own = ("--set", 'grid.activation=["mine.py:mine"]', "--set", "fixed.sigma_b=0.2")
    assert "3 ok" in ntk_eoc("run", "activations_small", *own)
    assert "nothing to do" in ntk_eoc("run", "activations_small", *own)
    assert "widths  " in ntk_eoc("widths", "mine.py:mine", "--sigma-b", "0.2")
    ntk_eoc("page", "out", "--to", "report.html")
    assert "mine.py:mine" in (tmp_path / "report.html").read_text()
