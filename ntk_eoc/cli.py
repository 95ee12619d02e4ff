"""The command line. Bodies import what they need, so that `--help` is quick."""

import os
import time
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

import ntk_eoc
from ntk_eoc import terminal, user_code
from ntk_eoc.commands.explore import explore
from ntk_eoc.commands.new import new
from ntk_eoc.commands.page import page
from ntk_eoc.commands.start import Flag, check_threads, keep_compilations, numerical
from ntk_eoc.commands.widths import widths
from ntk_eoc.terminal import leave, say

app: App = App(
    name="ntk-eoc",
    help="Finite-width neural tangent kernels beside their limit, at the edge of chaos.",
    version=ntk_eoc.__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),  # no --no-retry, no --empty-set
)
app.register_install_completion_command()
app.command(explore)
app.command(new)
app.command(page)
app.command(widths)
Overrides = Annotated[
    tuple[str, ...], Parameter(name="--set", consume_multiple=True, show_default=False)
]
WATCH = 3.0  # seconds between two looks of `status --watch`


@app.command
def run(
    config: Path,
    *,
    out: Path | None = None,
    set_: Overrides = (),
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
    keep_compilations()
    check_threads(1 if cluster or scheduler else max(1, min(workers, 64)))
    _compute(
        figures,
        config=config,
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


def _compute(figures: bool, *, config: Path, **options: Any) -> None:
    from ntk_eoc.sweeps import runner, shipped, words

    asked = runner.Options(config=shipped.config(config), **options)
    try:
        summary = runner.run(asked)
    except KeyboardInterrupt:
        leave(130, f"stopped; every finished cell is kept. To go on: {asked.command()}")
    say(words.told(summary))
    if figures:
        draw(summary.folder)
    bad = words.bad(summary)
    if bad:
        leave(1, bad)


@app.command(name="figures")
def draw(dir: Path, *, out: Path | None = None, trust: Flag = False) -> None:
    """Draw the figures of a run, as PNG and PDF, and write its tables, as Markdown and CSV.

    Parameters
    ----------
    dir
        Folder of the run.
    out
        Folder of both [default: figures and tables, in the run's folder].
    trust
        Run the experiment's code, though it was never run on this account.
    """
    os.environ["MPLBACKEND"] = "agg"  # to files; a notebook's may not be there
    check_threads()
    from ntk_eoc.report import figures as report
    from ntk_eoc.sweeps import folder as folders
    from ntk_eoc.sweeps import words
    from ntk_eoc.sweeps.errors import UserError
    from ntk_eoc.sweeps.records import load

    records, experiment = load(dir, trust)
    if not records.ok:
        raise UserError(f"`dir` must hold at least one finished cell, got '{dir}' with none.")
    note, name = words.gaps(records), Path(folders.read(dir).config).stem
    try:
        with user_code.relative_to(experiment.base):
            paths = report.draw(experiment.draw, records, out or dir / "figures", name, note)
            tables = out or dir / "tables"
            paths += report.tabulate(experiment.tables, records, tables, name, note)
    except OSError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(
            f"`draw` of '{experiment.source}' must draw the records of '{dir}', but raised"
            f" {type(error).__name__}: {words.one_line(error)}{_line_of(error, experiment.source)}."
        ) from error
    for path in paths:
        say(str(path))


def _line_of(error: BaseException, source: Path) -> str:
    """Where in a file an error began."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == str(source) else line
        trace = trace.tb_next
    return f" (line {line})" if line else ""


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
    from ntk_eoc.sweeps.status import describe, finished

    say(describe(dir))
    while watch and not finished(dir):
        from rich.console import Console

        time.sleep(WATCH)
        Console().clear()  # does nothing where the output is no terminal
        say(describe(dir))


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
        say(f"{path}: {reason}")
    print(f"{count} records, {len(found)} damaged.")
    if found:
        leave(1, "the next run sets damaged records aside and computes them again.")


@app.command
def collect(dir: Path, *, to: Path, trust: Flag = False) -> None:
    """Write all arrays of a run to one netCDF file, and its scalars to a CSV table beside it.

    Parameters
    ----------
    dir
        Folder of the run.
    to
        File to write, .nc.
    trust
        Run the experiment's code, though it was never run on this account.
    """
    check_threads()
    from ntk_eoc.sweeps.collect import collect as collect_run

    for path in collect_run(dir, to, trust):
        say(str(path))


@app.command
def eoc(
    activation: str,
    *,
    sigma_b: float | None = None,
    q: float | None = None,
    out: Path = Path(),
) -> None:
    """Say where the edge of chaos of an activation is, its class and limits, and draw them.

    Parameters
    ----------
    activation
        A name, or FILE.py:NAME or package.module:NAME of your own.
    sigma_b
        Standard deviation of the biases of the point to show.
    q
        Fixed point of the variance map of the point to show, in place of sigma_b.
    out
        Folder of the figure.
    """
    os.environ["MPLBACKEND"] = "agg"
    with numerical():
        from ntk_eoc.report import eoc_card

        eoc_card.main(activation, sigma_b, q, out)


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
    say(listing.describe(dir or (own if own.is_dir() else shipped.home() / "experiments")))


def main() -> None:
    """Run the command line."""
    terminal.main(app)
