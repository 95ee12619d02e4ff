"""`ntk-eoc explore`: the page to play with, served on this machine."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def explore(
    *,
    port: int = 2718,
    headless: Annotated[bool, Parameter(show_default=False)] = False,
) -> None:
    """Serve a page with sliders: activation, depth and width to kernels, spectra and errors.

    Parameters
    ----------
    port
        Where to serve it on this machine; nothing leaves it.
    headless
        Do not open a browser.
    """
    from ntk_eoc.sweeps.engine import compilation_cache
    from ntk_eoc.sweeps.errors import UserError

    if importlib.util.find_spec("marimo") is None:
        raise UserError('`explore` needs marimo: pip install "ntk-eoc[explore]".')
    app = Path(__file__).parent.parent / "explore" / "app.py"
    command = [sys.executable, "-m", "marimo", "-q", "run", str(app), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-token", *["--headless"] * headless]
    environment = {**os.environ, "MPLBACKEND": "Agg", "MARIMO_SKIP_UPDATE_CHECK": "1"}
    environment.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache()))
    print(f"http://127.0.0.1:{port}", flush=True)
    os.execve(sys.executable, command, environment)  # one process: what ends it ends the page
