"""`ntk-eoc page`: runs as one HTML file."""

import os
from pathlib import Path

from ntk_eoc.commands.start import Flag, check_threads, keep_compilations
from ntk_eoc.terminal import say


def page(*dirs: Path, to: Path, title: str | None = None, trust: Flag = False) -> None:
    """Write one HTML file of runs: figures, tables, verdicts, configs, where the numbers are from.

    It opens anywhere, needs no network and no other file.

    Parameters
    ----------
    dirs
        Folders of runs, or folders that hold such folders, as out.
    to
        File to write, .html.
    title
        Of the page [default: the run's, or how many there are].
    trust
        Run the code of experiments, though they were never run on this account.
    """
    os.environ["MPLBACKEND"] = "agg"  # to files; a notebook's may not be there
    keep_compilations()
    check_threads()
    import jax

    from ntk_eoc.report import html_page

    jax.config.update("jax_enable_x64", True)
    say(str(html_page.write(dirs, to, title or "", trust)))
