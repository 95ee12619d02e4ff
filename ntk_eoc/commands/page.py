"""`ntk-eoc page`: runs as one HTML file."""

import os
from pathlib import Path

from ntk_eoc.terminal import say


def page(*dirs: Path, to: Path, title: str | None = None) -> None:
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
    """
    from ntk_eoc.sweeps.engine import compilation_cache

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache()))
    import jax

    from ntk_eoc.report import page as pages

    jax.config.update("jax_enable_x64", True)
    say(str(pages.write(dirs, to, title or "")))
