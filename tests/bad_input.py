"""Over a hundred inputs that are wrong, and what the command line says to each.

`python tests/bad_input.py` writes `docs/bad_input.md`; `tests/test_bad_input.py` checks that it
is what the command line says today.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

HERE = Path(__file__).parent
NOISE = HERE / "experiments_for_tests" / "noise.py"
EXPERIMENTS = HERE.parent / "experiments"
SOURCES = (
    NOISE,
    EXPERIMENTS / "concentration.py",
    EXPERIMENTS / "tail.py",
    EXPERIMENTS / "_fresh.py",
    EXPERIMENTS / "_cells.py",
    EXPERIMENTS / "real_data.py",
    EXPERIMENTS / "_trained.py",
)
PAGE = HERE.parent / "docs" / "bad_input.md"

GOOD = """\
experiment = "noise.py"
seeds = 4

[grid]
size = [2, 3]

[fixed]
scale = 2.0
"""
REAL = """\
experiment = "concentration.py"
seeds = 2
batch = 2

[grid]
m = [8]

[fixed]
activation = "relu"
data = "sphere:4"
n = 3
depth = 2
"""
TRAINING = """\
experiment = "real_data.py"
seeds = 2

[grid]
way = ["trained"]

[fixed]
activation = "relu"
data = "digits"
n = 6
n_test = 2
m = 4
depth = 2
steps = 3
minibatch = 2
"""
EXPERIMENT = "from ntk_eoc.sweeps import config\n"
CELL = EXPERIMENT + "class Cell(config.Cell):\n    i: int = 1\n"
MEASURE = "def measure(cell):\n    return {'x': 0.0}\n"
DRAW = "def draw(records):\n    pass\n"
# Activations of a user's own, by what is wrong with them; each is a function f of its own file.
UNFIT = {
    "NaN on one side": "return jnp.sqrt(s)",
    "NaN near a point only": "return jnp.where(jnp.abs(s) < 1e-3, jnp.nan, s**2)",
    "a pole": "return 1 / s",
    "not vectorised": "return s if s > 0 else 0.0",
    "the functions of math": "import math; return math.tanh(s)",
    "a sum over the array": "return jnp.sum(s)",
    "values that depend on one another": "return s - jnp.mean(s)",
    "two arguments": "return s\nf = lambda s, t: s + t",
    "constant": "return 0 * s + 2",
    "constant as far as one looks": "return jnp.maximum(s - 40, 0)",
    "growth without moments": "return jnp.exp(1e5 * s**2)",
    "a step": "return jnp.sign(s)",
    "linear": "return 2 * s",
    "affine": "return 2 * s + 1",
    "a kink that was not declared": "return jnp.tanh(s) + jnp.abs(s - 0.5)",
    "not a function": "return s\nf = 3.0",
}


@dataclass(frozen=True)
class Case:
    """One wrong input: what it is, how to make it in an empty folder, the words after `ntk-eoc`."""

    what: str
    make: Callable[[Path], object]
    words: tuple[str, ...]


def edited(old: str, new: str, text: str = GOOD) -> Callable[[Path], object]:
    assert old in text
    return lambda folder: (folder / "c.toml").write_text(text.replace(old, new))


def added(line: str, text: str = GOOD) -> Callable[[Path], object]:
    return edited("seeds", f"{line}\nseeds", text)


def config_cases() -> Iterator[Case]:
    """The config's text."""
    run = ("run", "c.toml", "--out", "out")
    yield Case("no such config", lambda folder: None, run)
    yield Case("a name that is nearly right", edited("x", "x"), ("run", "d.toml", "--out", "out"))
    yield Case("a folder for a config", lambda f: (f / "c.toml").mkdir(), run)
    yield Case("not TOML", lambda f: (f / "c.toml").write_text("seeds = = 4"), run)
    yield Case("not text", lambda f: (f / "c.toml").write_bytes(b"\xff\xfe\x00"), run)
    yield Case("an empty config", lambda f: (f / "c.toml").write_text(""), run)
    yield Case("an unknown key", added("sedes = 3"), run)
    yield Case("an unknown field in the grid", edited("size =", "sise ="), run)
    yield Case("an unknown field, fixed", edited("scale =", "skale ="), run)
    yield Case("a missing field", edited("size =", "shape ="), run)
    yield Case("a string for a number", edited("seeds = 4", 'seeds = "4"'), run)
    yield Case("a fraction of a seed", edited("seeds = 4", "seeds = 1.5"), run)
    yield Case("true for a number", edited("seeds = 4", "seeds = true"), run)
    yield Case("negative seeds", edited("seeds = 4", "seeds = -4"), run)
    yield Case("cells without seeds", added("seeds_per_cell = 0"), run)
    yield Case("empty batches", added("batch = 0"), run)
    yield Case("a negative root seed", added("root_seed = -1"), run)
    yield Case("an unknown dtype", added('dtype = "float16"'), run)
    yield Case("a nearly right dtype", added('dtype = "flaot64"'), run)
    yield Case("a number for the title", added("title = 3"), run)
    yield Case("a negative size", edited("[2, 3]", "[2, -3]"), run)
    yield Case("a string for a size", edited("[2, 3]", '[2, "3"]'), run)
    yield Case("zero where it must be positive", edited("2.0", "0.0"), run)
    yield Case("infinity", edited("2.0", "inf"), run)
    yield Case("not a number", edited("2.0", "nan"), run)
    yield Case("a date", edited("2.0", "2026-11-22"), run)
    yield Case("a scalar in the grid", edited("[2, 3]", "2"), run)
    yield Case("an empty list in the grid", edited("[2, 3]", "[]"), run)
    yield Case("a value twice", edited("[2, 3]", "[2, 3, 2]"), run)
    yield Case("a field in grid and fixed", edited("scale = 2.0", "size = 2"), run)
    yield Case("seeds among the fixed", edited("scale = 2.0", "first_seed = 2"), run)
    yield Case("a list for a table", edited("[grid]\nsize = [2, 3]", "grid = [2, 3]"), run)
    yield Case("an unknown key in also", edited("[fixed]", "[[also]]\nfixd = {}\n[fixed]"), run)
    yield Case(
        "a point twice with other batches",
        edited("[fixed]", "[[also]]\nbatch = 2\ngrid = { size = [3] }\n[fixed]"),
        run,
    )


def experiment_cases() -> Iterator[Case]:
    """The experiment that the config names."""
    run = ("run", "c.toml", "--out", "out")

    def with_file(text: str) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            (folder / "mine.py").write_text(text)
            edited("noise.py", "mine.py")(folder)

        return make

    yield Case("no experiment", edited('experiment = "noise.py"\n', ""), run)
    yield Case("an empty experiment", edited('"noise.py"', '""'), run)
    yield Case("a missing file", edited("noise.py", "nose.py"), run)
    yield Case("neither file nor module", edited("noise.py", "../noise"), run)
    yield Case("an unknown module", edited("noise.py", "no_such.module"), run)
    yield Case("a syntax error", with_file("def measure(:\n"), run)
    yield Case("a failing import", with_file("import no_such_module\n"), run)
    yield Case("no Cell", with_file(EXPERIMENT + MEASURE + DRAW), run)
    yield Case("a Cell of its own", with_file("class Cell:\n    pass\n" + MEASURE + DRAW), run)
    yield Case("no measure", with_file(CELL + DRAW), run)
    yield Case("no draw", with_file(CELL + MEASURE), run)
    costly = "def cost(cell):\n    return -1.0\n"

    def negative_cost(folder: Path) -> None:
        (folder / "mine.py").write_text(CELL + MEASURE + DRAW + costly)
        (folder / "c.toml").write_text('experiment = "mine.py"\n')

    yield Case("a negative cost", negative_cost, run)


def flag_cases() -> Iterator[Case]:
    """The words on the command line."""
    good = edited("x", "x")

    def run(*words: str) -> tuple[str, ...]:
        return ("run", "c.toml", "--out", "out", *words)

    yield Case("an unknown command", good, ("rum", "c.toml"))
    yield Case("no config", good, ("run",))
    yield Case("an unknown flag", good, run("--worker", "2"))
    yield Case("a flag without its value", good, run("--workers"))
    yield Case("a word for a number", good, run("--workers", "two"))
    yield Case("no workers", good, run("--workers", "0"))
    yield Case("an unknown device", good, run("--device", "tpu"))
    yield Case("an unknown cluster", good, run("--cluster", "pbs"))
    yield Case("cluster and scheduler", good, run("--cluster", "local", "--scheduler", "tcp://x:1"))
    yield Case("no memory", good, run("--memory", "0"))
    yield Case("a shard that is none", good, run("--shard", "3"))
    yield Case("a shard past the last", good, run("--shard", "4/3"))
    yield Case("an override without value", good, run("--set", "seeds"))
    yield Case("an override of nothing", good, run("--set", "=3"))
    yield Case("an override below a number", good, run("--set", "seeds.m=3"))
    yield Case("an override of an unknown key", good, run("--set", "grid.sise=[3]"))
    yield Case("an override of the wrong type", good, run("--set", "seeds=many"))
    yield Case("a scalar into the grid", good, run("--set", "grid.size=3"))


def folder_cases() -> Iterator[Case]:
    """Folders to write to and to read from."""

    def file_in_the_way(folder: Path) -> None:
        edited("x", "x")(folder)
        (folder / "out").write_text("")

    def of_another(folder: Path) -> None:
        edited("x", "x")(folder)
        shutil.copy(NOISE, folder / "other.py")
        (folder / "o.toml").write_text(GOOD.replace("noise.py", "other.py"))
        silently("run", "o.toml", "--out", "out")

    def damaged_run(folder: Path) -> None:
        (folder / "out").mkdir()
        (folder / "out" / "run.json").write_text("{")

    def without_records(folder: Path) -> None:
        edited("x", "x")(folder)
        silently("run", "c.toml", "--out", "out", "--set", 'fixed.behaviour="raise"')

    def with_records(folder: Path) -> None:
        edited("x", "x")(folder)
        silently("run", "c.toml", "--out", "out")

    run = ("run", "c.toml", "--out", "out")
    yield Case("a file where the folder should be", file_in_the_way, run)
    yield Case("a file above the folder", file_in_the_way, (*run[:-1], "out/deeper"))
    yield Case("a folder that cannot be made", edited("x", "x"), (*run[:-1], "/proc/no/such"))
    yield Case("another experiment's folder", of_another, run)
    for command in ("status", "figures", "verify"):
        yield Case(f"{command} of no folder", lambda folder: None, (command, "out"))
    yield Case("status of any folder", lambda f: (f / "out").mkdir(), ("status", "out"))
    yield Case("status of a damaged run", damaged_run, ("status", "out"))
    yield Case("figures without a finished cell", without_records, ("figures", "out"))
    yield Case("collect to another format", with_records, ("collect", "out", "--to", "a.zarr"))
    yield Case("collect to nowhere", with_records, ("collect", "out", "--to", "no/a.nc"))
    yield Case("list of no folder", lambda folder: None, ("list", "out"))
    yield Case("a name that no config has", lambda f: None, ("run", "concentratoin"))
    yield Case("a page of no folder", lambda f: None, ("page", "out", "--to", "a.html"))
    yield Case("a page of nothing", lambda f: None, ("page", "--to", "a.html"))
    yield Case("a page in another format", with_records, ("page", "out", "--to", "a.pdf"))
    yield Case("a page to nowhere", with_records, ("page", "out", "--to", "no/a.html"))
    yield Case("a new file over an old one", edited("x", "x"), ("new", "activation", "c"))
    yield Case("a new file of no Python name", lambda f: None, ("new", "data", "my-data"))
    yield Case("a new file that hides a module", lambda f: None, ("new", "data", "jax"))
    yield Case("a new file of another kind", lambda f: None, ("new", "dataset", "mine"))
    yield Case("a new file to nowhere", lambda f: None, ("new", "data", "points", "--to", "no"))


def data_cases() -> Iterator[Case]:
    """Names and data files of a real experiment's cells."""
    run = ("run", "c.toml", "--out", "out")

    def with_data(**arrays: np.ndarray) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            np.savez(folder / "d.npz", **arrays)
            edited("sphere:4", "npz:d.npz", REAL)(folder)

        return make

    def malformed(folder: Path) -> None:
        (folder / "d.npz").write_bytes(b"PK no archive")
        edited("sphere:4", "npz:d.npz", REAL)(folder)

    rows = np.arange(12.0).reshape(4, 3) + 1
    yield Case("a negative width", edited("[8]", "[-8]", REAL), run)
    yield Case("depth 0", edited("depth = 2", "depth = 0", REAL), run)
    yield Case("an unknown activation", edited("relu", "rellu", REAL), run)
    yield Case(
        "an unknown schedule", edited("depth = 2", 'depth = 2\nschedule = "quartic"', REAL), run
    )
    yield Case("an unknown data set", edited("sphere:4", "spere", REAL), run)
    yield Case("a missing data file", edited("sphere:4", "npz:none.npz", REAL), run)
    yield Case("a malformed data file", malformed, run)
    yield Case("no array x in the data", with_data(inputs=rows), run)
    yield Case("NaN in the data", with_data(x=np.where(rows == 5, np.nan, rows)), run)
    yield Case("a row of zeros in the data", with_data(x=rows * [[1], [0], [1], [1]]), run)
    yield Case("fewer rows than asked for", with_data(x=rows[:2]), run)


def activation_cases() -> Iterator[Case]:
    """Activations of one's own."""
    run = ("eoc", "mine.py:f")

    def with_file(text: str) -> Callable[[Path], object]:
        return lambda folder: (folder / "mine.py").write_text(text)

    for what, body in UNFIT.items():
        yield Case(what, with_file(f"import jax.numpy as jnp\ndef f(s): {body}\n"), run)
    yield Case("a file that raises", with_file("raise RuntimeError('no\\nluck')\n"), run)
    yield Case("a file that leaves", with_file("import sys\nsys.exit(3)\n"), run)
    yield Case("a file with a syntax error", with_file("def f(s:\n"), run)
    yield Case("a file that imports what is not there", with_file("import nowhere_at_all\n"), run)
    yield Case("a function that is not there", with_file("def tanh(s): return s\n"), run)
    yield Case("no file", lambda folder: None, run)
    yield Case("no module", lambda folder: None, ("eoc", "nowhere_at_all:f"))
    yield Case("no module before the colon", lambda folder: None, ("eoc", ":f"))
    yield Case("no such name", lambda folder: None, ("eoc", "tahn"))
    sweep = ("run", "c.toml", "--out", "out")
    yield Case("one of one's own in a sweep", edited("relu", "mine.py:f", REAL), sweep)
    yield Case("one without an edge in a sweep", edited("relu", "softplus", REAL), sweep)
    of_the_bound = REAL.replace("concentration", "tail")
    yield Case("a smooth one for the bound", edited("relu", "erf", of_the_bound), sweep)
    yield Case("a linear one for the bound", edited("relu", "identity", of_the_bound), sweep)


def training_cases() -> Iterator[Case]:
    """Labels and learning rates."""
    run = ("run", "c.toml", "--out", "out")

    def with_labels(y: np.ndarray) -> Callable[[Path], object]:
        def make(folder: Path) -> None:
            x = np.random.default_rng(0).standard_normal((8, 3))
            np.savez(folder / "d.npz", x=x, y=y)
            edited("digits", "npz:d.npz", TRAINING)(folder)

        return make

    yield Case("data without labels", edited("digits", "sphere:4", TRAINING), run)
    yield Case("labels that do not match the inputs", with_labels(np.arange(7)), run)
    yield Case("labels of one class only", with_labels(np.full(8, 3)), run)
    yield Case("a learning rate of 0", edited("steps = 3", "steps = 3\nstep = 0.0", TRAINING), run)
    yield Case("a momentum of 1", edited("steps = 3", "steps = 3\nmomentum = 1.0", TRAINING), run)
    yield Case(
        "mini-batches of more points than there are",
        edited("minibatch = 2", "minibatch = 7", TRAINING),
        run,
    )
    yield Case("training for no step", edited("steps = 3", "steps = 0", TRAINING), run)


def python_cases() -> dict[str, Callable[[], object]]:
    """What functions of `ntk_eoc.training` are given."""
    import jax.numpy as jnp
    import optax

    from ntk_eoc.training.modes import descent, eigenmodes
    from ntk_eoc.training.predictions import predict_train, ridgeless, steps_to_loss
    from ntk_eoc.training.trainer import Problem, log_marks, spans_to, squared_error
    from ntk_eoc.training.watch import class_targets

    modes, y = eigenmodes(np.diag([1.0, 2.0])), np.array([1.0, -1.0])
    x = jnp.ones((3, 2))

    def trained_on(targets: np.ndarray) -> Problem:
        return Problem(lambda p, x: x @ p, x, jnp.asarray(targets), squared_error, optax.sgd(0.1))

    return {
        "labels that do not match the inputs": lambda: class_targets(np.arange(4), 3),
        "labels of one class only": lambda: class_targets(np.array([7, 7, 7]), 3),
        "no labels": lambda: class_targets(None, 3),
        "targets that do not match the inputs": lambda: trained_on(np.ones((2, 1))),
        "targets without an axis of outputs": lambda: trained_on(np.ones(3)),
        "targets that do not match the kernel": lambda: predict_train(
            modes, descent(0.1, [1]), np.ones(3), np.zeros(3)
        ),
        "a learning rate of 0": lambda: predict_train(modes, descent(0.0, [1]), y, 0 * y),
        "a learning rate above the limit": lambda: predict_train(
            modes, descent(1.5, [1]), y, 0 * y
        ),
        "how soon, above the limit": lambda: steps_to_loss(modes, 1.5, y, 0 * y, 0.01),
        "a momentum of 1": lambda: descent(0.1, [1], 1.0),
        "half a step": lambda: descent(0.1, np.array([0.5])),
        "marks out of order": lambda: spans_to(np.array([3, 1])),
        "no marks": lambda: log_marks(10, 0),
        "a singular kernel": lambda: ridgeless(eigenmodes(np.ones((2, 2))), np.ones((1, 2)), y),
        "a kernel that is not positive": lambda: eigenmodes(np.diag([1.0, -0.5])),
        "a kernel that is not symmetric": lambda: eigenmodes(np.array([[1.0, 0.5], [0.0, 1.0]])),
        "a kernel [n, n, k, k] for a matrix": lambda: eigenmodes(np.ones((2, 2, 1, 1))),
        "NaN in the kernel": lambda: eigenmodes(np.diag([1.0, np.nan])),
    }


def cases() -> list[Case]:
    """All of them."""
    return [
        *config_cases(),
        *experiment_cases(),
        *flag_cases(),
        *folder_cases(),
        *data_cases(),
        *activation_cases(),
        *training_cases(),
    ]


def call(*words: str) -> tuple[int, str]:
    """Run the command line in this process; its exit code and standard error."""
    from ntk_eoc import cli

    errors = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["ntk-eoc", *words]),
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue()
    return 0, errors.getvalue()


def silently(*words: str) -> None:
    """Run a command line that prepares a case."""
    call(*words)


def observe(case: Case, folder: Path) -> tuple[int, str, bool]:
    """Make a case in an empty folder; exit code, message, whether something was written."""
    for source in SOURCES:
        shutil.copy(source, folder / source.name)
    with contextlib.chdir(folder):
        case.make(folder)
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        code, errors = call(*case.words)
        ours = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if "__pycache__" not in p.parts}
        written = {path for path, time in ours.items() if before.get(path) != time}
    message = errors.replace(f"{os.path.realpath(folder)}/", "").replace(f"{folder}/", "")
    return code, message.strip(), bool(written - {folder})


def observe_all() -> dict[str, tuple[int, str, bool]]:
    """Every case's outcome by what it is."""
    seen = {}
    for case in cases():
        with tempfile.TemporaryDirectory() as name:
            seen[case.what] = observe(case, Path(name))
    return seen


def observe_python() -> dict[str, str]:
    """What each of `python_cases` raises or warns: the kind and the message."""
    told = {}
    for what, wrong in python_cases().items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                wrong()
            except (TypeError, ValueError) as error:
                told[what] = f"{type(error).__name__}: {error}"
            else:
                told[what] = "; ".join(f"{w.category.__name__}: {w.message}" for w in caught)
    return told


def page(seen: dict[str, tuple[int, str, bool]], told: dict[str, str]) -> str:
    """The text of `docs/bad_input.md`."""
    lines = [
        "# What is said to bad input",
        "",
        "On the command line each of these ends with exit code 2, one line an error, and nothing",
        "written; the last table is of calls from Python.",
        "This page is made by `python tests/bad_input.py`; a test runs every case and compares.",
    ]
    groups = (
        config_cases,
        experiment_cases,
        flag_cases,
        folder_cases,
        data_cases,
        activation_cases,
        training_cases,
    )
    for group in groups:
        title = (group.__doc__ or "").rstrip(".")
        lines += ["", f"## {title}", "", "| input | message |", "|---|---|"]
        for case in group():
            said = seen[case.what][1].replace("|", "\\|").replace("\n", "<br>")
            lines.append(f"| {case.what} | {said} |")
    title = (python_cases.__doc__ or "").rstrip(".")
    lines += ["", f"## {title}", "", "| input | message |", "|---|---|"]
    lines += [
        f"| {what} | {message.replace('|', chr(92) + '|')} |" for what, message in told.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(observe_all(), observe_python()), encoding="utf-8")
    print(f"{PAGE}: {len(cases()) + len(python_cases())} inputs")
