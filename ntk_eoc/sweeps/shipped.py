"""The experiments and configs that come with the package, which are called by name."""

import difflib
from pathlib import Path

from ntk_eoc.sweeps.errors import UserError

PACKAGE = Path(__file__).resolve().parent.parent


def home() -> Path:
    """Return the folder that holds `experiments/`, `configs/` and `docs/`.

    In a wheel they lie inside the package, in a checkout beside it.
    """
    inside = PACKAGE / "_shipped"
    return inside if inside.is_dir() else PACKAGE.parent


def configs() -> dict[str, Path]:
    """Return the configs that come with the package, by name."""
    return {path.stem: path for path in sorted((home() / "configs").glob("*.toml"))}


def word(config: Path) -> str:
    """Return what to type for a config: its path, or the name of one that lies in the package."""
    return config.stem if config.is_relative_to(PACKAGE) else str(config)


def base(config: Path) -> Path:
    """Return the folder that paths in a config are relative to.

    That is the config's own, but the present one for a config inside an installed package: it names
    no file of the user's, and those that `--set` puts into it lie where the user is.
    """
    path = config.resolve()
    return Path.cwd() if path.is_relative_to(PACKAGE) else path.parent


def experiment(name: str) -> Path | None:
    """Return the experiment of a name; None if no such experiment comes with the package."""
    path = home() / "experiments" / f"{name}.py"
    return path if name.isidentifier() and not name.startswith("_") and path.is_file() else None


def config(asked: Path) -> Path:
    """Return the config that a word on the command line means: a file, or one that is shipped.

    Raises:
        UserError: If it is a bare name that no shipped config has.
    """
    if asked.exists() or asked.suffix or asked.parent != Path():
        return asked
    known = configs()
    if asked.name in known:
        return known[asked.name]
    near = difflib.get_close_matches(asked.name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UserError(
        "`config` must be an existing file or a name that `ntk-eoc list` shows,"
        f" got {asked.name!r}.{hint}"
    )
