"""Files to start from: an experiment, an activation or a data set of one's own, with a config."""

import importlib.util
import keyword
import string
import sys
from importlib.resources import files
from pathlib import Path

from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.files import write_whole


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Write NAME.py, NAME.toml and NAME_small.toml, commented, and return their paths.

    Args:
        kind: "experiment", "activation" or "data".
        name: Of the files, and of the function in them.
        folder: Where to.

    Raises:
        UserError: If the name is no new name for a module, or a file cannot be written.
    """
    _check(name)
    texts = {folder / f"{name}.py": _text(f"{kind}.py", name)}
    texts |= {
        folder / f"{name}{end}.toml": _text(f"{kind}{end}.toml", name) for end in ("", "_small")
    }
    for path in texts:
        if path.exists():
            raise UserError(f"`name` must be a new name, got {name!r}: '{path}' is there already.")
    try:
        for path, text in texts.items():
            write_whole(path, text.encode())
    except OSError as error:
        for path in texts:  # none of them was there before
            path.unlink(missing_ok=True)
        raise UserError(
            f"`to` must be a folder that can be written to, got '{folder}' ({error.strerror})."
        ) from None
    return list(texts)


def _check(name: str) -> None:
    """A Python name that hides no module: `jax.py` in a folder is what `import jax` finds there."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(f"`name` must be a Python name like my_ramp, got {name!r}.")
    known = name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None
    if known and not Path(f"{name}.py").exists():
        raise UserError(f"`name` must not be that of an installed module, got {name!r}.")


def _text(file: str, name: str) -> str:
    template = files("ntk_eoc.sweeps.starting").joinpath(f"{file}.txt").read_text(encoding="utf-8")
    return string.Template(template).substitute(name=name)
