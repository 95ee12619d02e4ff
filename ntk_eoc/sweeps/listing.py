"""The experiments of a folder and their configs, told without importing them."""

import ast
import tomllib
from pathlib import Path

from ntk_eoc.sweeps import shipped
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.files import read_file

UNREADABLE = (OSError, SyntaxError, ValueError, RecursionError, MemoryError)


def describe(folder: Path) -> str:
    """Return one paragraph an experiment: name, question, configs beside the folder.

    Configs that come with the package are called by their names, others by their paths.

    Raises:
        UserError: If the folder is not there.
    """
    if not folder.is_dir():
        raise UserError(f"`dir` must be a folder of experiments, got '{folder}'.")
    configs = _configs(folder.parent / "configs")
    known = shipped.configs()
    lines = []
    for path in sorted(folder.glob("*.py")):
        if path.stem.startswith(("_", ".")):
            continue
        lines.append(f"{path.stem}  {_question(path)}")
        for config, target in configs:
            if target == path.resolve():
                named = known.get(config.stem) == config.resolve()
                lines.append(f"    {config.stem if named else config}")
    return "\n".join(lines) or f"no experiments in '{folder}'"


def _question(path: Path) -> str:
    try:
        doc = ast.get_docstring(ast.parse(read_file(path)))
    except UNREADABLE as error:
        return f"(cannot be read: {error})"
    return (doc or "(no docstring)").split("\n\n")[0].replace("\n", " ")


def _configs(folder: Path) -> list[tuple[Path, Path]]:
    found = []
    for path in sorted(folder.glob("*.toml")):
        try:
            reference = tomllib.loads(read_file(path).decode()).get("experiment")
        except UNREADABLE:
            continue
        if isinstance(reference, str):
            target = reference if reference.endswith(".py") else reference.replace(".", "/") + ".py"
            base = path.parent if reference.endswith(".py") else folder.parent
            found.append((path, (base / target).resolve()))
    return found
