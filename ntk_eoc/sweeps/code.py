"""Which code a record is by: the experiment's, the user's files its cell names, this package's."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntk_eoc import user_code
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.user_code import provenance

REACHED = ("measure", "Cell")  # from where the experiment's code is followed


@dataclass(frozen=True)
class Code:
    """The code that a run's records are by.

    Attributes:
        experiment: Hash of what `measure` and `Cell` reach in the experiment and its helpers.
        package: Hash of the part of ntk_eoc that can change a number.
        files: Of each activation, data set or file of the user's that a cell names, its hash.
        stamp: Of the package's files as `package` was read: while it stays, so does the hash.
    """

    experiment: str
    package: str
    files: dict[str, str]
    stamp: str = ""

    def of(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the code of one cell, as its record keeps it."""
        texts = strings(fields) if self.files else ()
        named = {text: self.files[text] for text in texts if text in self.files}
        return {"experiment": self.experiment, "package": self.package, "files": named}


def code_of(reference: str, base: Path, cells: Iterable[dict[str, Any]]) -> Code:
    """Read the code of an experiment and of what its cells name, running nothing.

    Args:
        reference: A .py file or `package.module`.
        base: The folder that paths are relative to.
        cells: The cells' fields.

    Raises:
        UserError: If a file cannot be read.
    """
    try:
        with user_code.relative_to(base):
            texts = {text for fields in cells for text in strings(fields)}
            found = {text: user_code.fingerprint(text) for text in sorted(texts)}
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"a file must be readable: {' '.join(str(error).split())}.") from None
    files = {text: digest for text, digest in found.items() if digest is not None}
    stamp = provenance.package_stamp()
    return Code(experiment_of(reference, base), provenance.package_digest(), files, stamp)


def experiment_of(reference: str, base: Path) -> str:
    """Return the hash of all that an experiment's `measure` and `Cell` reach.

    Raises:
        UserError: If a file of it cannot be read.
    """
    try:
        with user_code.relative_to(base):
            path = user_code.find_file(reference, "experiment")
            if path is None:
                return "installed"
            name = "" if reference.endswith(".py") else reference
            return provenance.digest(path, REACHED, name, base if name else None)
    except (OSError, SyntaxError, ValueError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"`experiment` must be readable, got '{reference}': {told}") from None


def difference(held: dict[str, Any] | None, wanted: dict[str, Any]) -> str:
    """Say in a few words by which other code a record is; "" if it is by the code wanted."""
    if held is None:
        return "unknown code"
    if held == wanted:
        return ""
    if held.get("experiment") != wanted["experiment"]:
        return "other code of the experiment"
    if held.get("package") != wanted["package"]:
        return "other code of ntk_eoc"
    before = held.get("files", {})
    changed = [t for t in {**before, **wanted["files"]} if before.get(t) != wanted["files"].get(t)]
    return f"another {', '.join(repr(text) for text in sorted(changed))}"


def strings(value: Any) -> Iterator[str]:
    """Iterate over the strings in plain JSON data, keys apart."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from strings(one)
