"""`ntk-eoc new`: files to start from."""

from pathlib import Path
from typing import Literal

from ntk_eoc.terminal import say


def new(kind: Literal["experiment", "activation", "data"], name: str, *, to: Path = Path()) -> None:
    """Write a commented file to start from, and a config of it with a small twin.

    Parameters
    ----------
    kind
        What to write.
    name
        Of the files, and of the function in them.
    to
        Folder of the files.
    """
    from ntk_eoc.sweeps import starting

    for path in starting.write(kind, name, to):
        say(str(path))
    say(f"next: ntk-eoc run {to / f'{name}_small.toml'} --figures")
