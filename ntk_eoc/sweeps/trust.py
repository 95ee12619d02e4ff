"""Whose experiment a run's folder may have imported: drawing and collecting run its code.

A folder from elsewhere names any file it likes, for its experiment and in its cells. Imported
without asking are the experiments that come with the package, and what a `run` on this account has
named, known by its place or by its code; of others the user says so.
"""

import contextlib
import hashlib
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ntk_eoc import user_code
from ntk_eoc.sweeps import shipped
from ntk_eoc.sweeps.code import strings
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.user_code import provenance


def references(cells: Iterable[dict[str, Any]]) -> set[str]:
    """Return the code that cells name: activations and data sets of the user's own."""
    texts = {text for fields in cells for text in strings(fields)}
    return {text for text in texts if user_code.is_reference(text)}


def remember(reference: str, base: Path) -> None:
    """Note that the user has run this code; nothing where no note can be kept."""
    for mark in _marks(reference, base):
        with contextlib.suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def check(reference: str, base: Path, trust: bool) -> None:
    """Let the code that a run's folder names be imported, or refuse.

    Args:
        reference: Of an experiment, a .py file or `package.module`; in a cell, with `:NAME`.
        base: The folder that paths are relative to.
        trust: Whether the user lets it.

    Raises:
        UserError: If it neither comes with the package, nor was run here, nor is trusted now.
    """
    home = (shipped.home() / "experiments").resolve()
    if trust or (
        reference.endswith(".py") and Path(os.path.realpath(reference)).is_relative_to(home)
    ):
        return
    marks = _marks(reference, base)
    if marks and not any(mark.exists() for mark in marks):
        raise UserError(
            f"`dir` must be of code that was run on this account, got '{reference}', which would be"
            " run now: read it, then let it with --trust."
        )


def _marks(reference: str, base: Path) -> list[Path]:
    """Files whose presence tells that an experiment is known: by its place, and by its code."""
    if user_code.is_reference(reference):
        reference = reference.rpartition(":")[0]
    by_path = reference.endswith(".py")
    own = base / os.path.expanduser(reference) if by_path else None
    path = own or provenance.find(reference, base)
    if path is not None and not path.is_file():
        return []  # loading it says so
    if path is None and importlib.util.find_spec(reference.partition(".")[0]) is None:
        return []  # the same
    # An installed module is known by its name: not every one of them wants to be imported.
    told = [f"module {reference}" if path is None else str(path.resolve())]
    if path is not None:
        with contextlib.suppress(OSError, SyntaxError, ValueError):  # a project that has moved
            code = provenance.digest(path, module="" if by_path else reference)
            told.append(f"code {code}")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    known = Path(state) / "ntk_eoc" / "known"
    return [known / hashlib.sha256(word.encode()).hexdigest()[:32] for word in told]
