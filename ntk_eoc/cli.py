"""The command line. Bodies import what they need, so that `--help` is quick."""

import logging
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from cyclopts import App, CycloptsError, Parameter

import ntk_eoc
from ntk_eoc import user_code
from ntk_eoc.commands.new import new
from ntk_eoc.commands.page import page

if TYPE_CHECKING:
    from ntk_eoc.sweeps.records import Records
    from ntk_eoc.sweeps.runner import Summary

app = App(
    name="ntk-eoc",
    help="Finite-width neural tangent kernels beside their limit, at the edge of chaos.",
    version=ntk_eoc.__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),  # no --no-retry, no --empty-set
)
app.register_install_completion_command()
app.command(new)
app.command(page)
Flag = Annotated[bool, Parameter(show_default=False)]
WATCH = 3.0  # seconds between two looks of `status --watch`
log = logging.getLogger("ntk_eoc")


@app.command
def run(
    config: Path,
    *,
    out: Path | None = None,
    set_: Annotated[
        tuple[str, ...], Parameter(name="--set", consume_multiple=True, show_default=False)
    ] = (),
    workers: int = 1,
    shard: str | None = None,
    retry: Flag = False,
    mix: Flag = False,
    device: Literal["cpu", "gpu"] | None = None,
    memory: float | None = None,
    cluster: Literal["local", "slurm"] | None = None,
    scheduler: str | None = None,
    figures: Flag = False,
) -> None:
    """Compute what is missing of a config's sweep; run it again to go on.

    Parameters
    ----------
    config
        TOML file of the sweep, or a name that `list` shows.
    out
        Folder of the results [default: out/<name of the config>].
    set_
        Override, as seeds=5 or grid.m=[16,32]; may be repeated.
    workers
        Processes that compute; 1 computes in this one.
    shard
        Only the part k/n of the cells, as 2/8, for job arrays.
    retry
        Compute cells again that failed or ran out of memory.
    mix
        Let results by other code, versions or platforms in the folder count.
    device
        Where to compute [default: what JAX prefers].
    memory
        GiB that the batches under way may need together [default: 80 % of the machine's].
    cluster
        Start that many workers with Dask, here or as Slurm jobs.
    scheduler
        Use the workers of the Dask scheduler at this address.
    figures
        Draw the figures at the end.
    """
    from ntk_eoc.sweeps.engine import compilation_cache

    # Before JAX is imported, here and in the workers, which inherit it.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache()))
    from ntk_eoc.sweeps import shipped
    from ntk_eoc.sweeps.runner import Options
    from ntk_eoc.sweeps.runner import run as run_sweep

    options = Options(
        config=shipped.config(config),
        out=out,
        overrides=set_,
        workers=workers,
        shard=shard,
        retry=retry,
        mix=mix,
        device=device,
        memory=None if memory is None else memory * 2**30,
        cluster=cluster,
        scheduler=scheduler,
    )
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        summary = run_sweep(options)
    except KeyboardInterrupt:
        _exit(130, f"stopped; every finished cell is kept. To go on: {options.command()}")
    finally:
        signal.signal(signal.SIGTERM, before)
    print(_told(summary))
    if figures:
        draw(summary.folder)
    if summary.counts["failed"]:
        _exit(1, f"{summary.counts['failed']} cells failed: ntk-eoc status {summary.folder}")


@app.command(name="figures")
def draw(dir: Path) -> None:
    """Draw the figures of a run, as PNG and PDF, and write its tables, as Markdown and CSV.

    Parameters
    ----------
    dir
        Folder of the run.
    """
    from ntk_eoc.report import figures as report
    from ntk_eoc.sweeps import folder as folders
    from ntk_eoc.sweeps.errors import UserError
    from ntk_eoc.sweeps.records import load

    records, experiment = load(dir)
    if not records.ok:
        raise UserError(f"`dir` must hold at least one finished cell, got '{dir}' with none.")
    note = _gaps(records)
    name = Path(folders.read(dir).config).stem
    with user_code.relative_to(experiment.base):
        drawn = report.draw(experiment.draw, records, dir / "figures", name, note)
        told = report.tabulate(experiment.tables, records, dir / "tables", name, note)
    for path in (*drawn, *told):
        print(path)


def _gaps(records: "Records") -> str:
    """What a figure says of the cells it does not show, and of those by other code."""
    counts = Counter(record.status for record in records.bad)
    counts.update({"missing": records.missing})
    told = [f"{count} {status}" for status, count in counts.items() if count]
    told += [records.mixture] if records.mixture else []
    return f"of {len(records) + records.missing} cells: {', '.join(told)}" if told else ""


@app.command
def status(dir: Path, *, watch: Flag = False) -> None:
    """Say what of a run is done, what failed and why, what is missing, and the time left.

    Parameters
    ----------
    dir
        Folder of the run.
    watch
        Say it again every few seconds until nothing is missing.
    """
    from rich.console import Console

    from ntk_eoc.sweeps.status import describe, finished

    console = Console()
    print(describe(dir))
    while watch and not finished(dir):
        time.sleep(WATCH)
        console.clear()  # does nothing where the output is no terminal
        print(describe(dir), flush=True)


@app.command
def verify(dir: Path) -> None:
    """Check every record of a run to the last byte; exit with 1 if one is damaged.

    Parameters
    ----------
    dir
        Folder of the run.
    """
    from ntk_eoc.sweeps.status import damaged

    count, found = damaged(dir)
    for path, reason in found:
        print(f"{path}: {reason}")
    print(f"{count} records, {len(found)} damaged.")
    if found:
        _exit(1, "the next run sets damaged records aside and computes them again.")


@app.command
def collect(dir: Path, *, to: Path) -> None:
    """Write all arrays of a run to one netCDF file, and its scalars to a CSV table beside it.

    Parameters
    ----------
    dir
        Folder of the run.
    to
        File to write, .nc.
    """
    from ntk_eoc.sweeps.collect import collect as collect_run

    for path in collect_run(dir, to):
        print(path)


@app.command
def eoc(activation: str, *, sigma_b: float | None = None, out: Path = Path()) -> None:
    """Say where the edge of chaos of an activation is, its class and limits, and draw them.

    Parameters
    ----------
    activation
        A name, or module:function, or path/to/file.py:function, of your own.
    sigma_b
        Standard deviation of the biases of the point to show.
    out
        Folder of the figure.
    """
    from ntk_eoc.sweeps.engine import compilation_cache
    from ntk_eoc.sweeps.errors import UserError

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache()))
    import jax

    from ntk_eoc.report import eoc_card

    jax.config.update("jax_enable_x64", True)
    try:
        eoc_card.main(activation, sigma_b, out)
    except (ValueError, TypeError) as error:
        raise UserError(" ".join(str(error).split())) from error


@app.command(name="list")
def list_(dir: Path | None = None) -> None:
    """List experiments with their questions and configs.

    Parameters
    ----------
    dir
        Folder of the experiments [default: experiments, or what comes with the package].
    """
    from ntk_eoc.sweeps import listing, shipped

    own = Path("experiments")
    print(listing.describe(dir or (own if own.is_dir() else shipped.home() / "experiments")))


def main() -> None:
    """Run the command line: exit code 2 and one line for what the user can put right."""
    if not log.handlers:
        handler = _Stderr()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
    try:
        app(sys.argv[1:], exit_on_error=False, print_error=False)
    except CycloptsError as error:
        _exit(2, f"error: {_one_line(error)}")
    except KeyboardInterrupt:
        _exit(130, "stopped.")
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _exit_for(error)


def _exit_for(error: Exception) -> NoReturn:
    from ntk_eoc.sweeps.errors import StoppedError, UserError

    if isinstance(error, UserError):
        _exit(2, "\n".join(f"error: {line}" for line in str(error).splitlines()))
    if isinstance(error, StoppedError):
        _exit(1, f"stopped: {error}")
    raise error


def _exit(code: int, line: str) -> NoReturn:
    print(line, file=sys.stderr)
    sys.exit(code)


def _one_line(error: CycloptsError) -> str:
    return " ".join(str(error).split())


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the present `sys.stderr`, which a progress bar replaces while it runs."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


def _told(summary: "Summary") -> str:
    counts = ", ".join(f"{n} {status}" for status, n in sorted(summary.counts.items()))
    return (
        f"{summary.folder}: {summary.planned} cells, {summary.before} done before,"
        f" now {counts or 'nothing to do'}."
    )
