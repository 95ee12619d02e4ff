"""An experiment as a script: `python experiments/foo.py [CONFIG] [flags of run]`."""

import subprocess
import sys
from pathlib import Path


def main(file: str) -> None:
    """Run an experiment's config and draw its figures, as the command line does.

    Args:
        file: The experiment's `__file__`; its config is `../configs/<name>.toml` by default.
    """
    path = Path(file).resolve()
    arguments = sys.argv[1:]
    if arguments and not arguments[0].startswith("-"):
        config = Path(arguments.pop(0))
    else:
        config = path.parent.parent / "configs" / f"{path.stem}.toml"
    command = [sys.executable, "-m", "ntk_eoc", "run", str(config), "--figures", *arguments]
    sys.exit(subprocess.run(command, check=False).returncode)
