"""`ntk-eoc explore`: the page to play with, served on this machine."""

import importlib.util
import os
import sys
from pathlib import Path

from ntk_eoc.commands.start import Flag, keep_compilations
from ntk_eoc.terminal import say


def explore(
    *,
    port: int = 2718,
    headless: Flag = False,
) -> None:
    """Serve a page with sliders: activation, depth and width to kernels, spectra and errors.

    Parameters
    ----------
    port
        Where to serve it on this machine; nothing leaves it.
    headless
        Do not open a browser.
    """
    from ntk_eoc.sweeps.errors import UserError

    if importlib.util.find_spec("marimo") is None:
        raise UserError('`explore` needs marimo: pip install "ntk-eoc[explore]".')
    app = Path(__file__).parent.parent / "explore" / "app.py"
    command = [sys.executable, "-m", "marimo", "-q", "run", str(app), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--no-token", *["--headless"] * headless]
    keep_compilations()
    environment = {**os.environ, "MPLBACKEND": "Agg", "MARIMO_SKIP_UPDATE_CHECK": "1"}
    say(f"http://127.0.0.1:{port}")
    os.execve(sys.executable, command, environment)  # one process: what ends it ends the page
