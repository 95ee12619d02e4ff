"""The one door for a user's own code: `FILE.py:NAME` and `package.module:NAME`.

Activations, data sets and experiments (a module without `:NAME`) are found here, whether a config
names them, a flag or a call in Python. Paths are relative to a base folder: the config's in a
sweep, else the working directory. What changed on disk since it was loaded is loaded again.
"""

import difflib
import hashlib
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

from ntk_eoc.checks import unknown_name
from ntk_eoc.user_code import provenance
from ntk_eoc.user_code.statements import LONGEST_PATH

_BASE: ContextVar[Path | None] = ContextVar("base", default=None)
_LOCK = RLock()  # two threads of a Dask worker may ask for the same file
_BEGIN = time.time()


@dataclass(frozen=True)
class _Loaded:
    """A module, and the bytes of its file and of the user's files that it imports."""

    module: ModuleType
    files: dict[Path, bytes]


_LOADED: dict[str, _Loaded] = {}
_OWN: dict[str, Path] = {}  # modules of the user's own that this door imports, by name
_MADE: set[str] = set()  # those of them that it has imported


@contextmanager
def relative_to(folder: Path) -> Iterator[None]:
    """Find files relative to `folder` within the block, and end it in the present folder.

    The user's code may go to another one: what follows is to find its relative paths again.
    """
    token = _BASE.set(folder)
    here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
    try:
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        _BASE.reset(token)


def base() -> Path:
    """Return the folder that paths are relative to: the config's in a sweep, else the present."""
    return _BASE.get() or Path.cwd()


def is_reference(name: str) -> bool:
    """Say whether a name has the form `FILE.py:NAME` or `package.module:NAME`."""
    where, colon, attribute = name.rpartition(":")
    return bool(colon) and attribute.isidentifier() and _is_module(where)


def load(reference: str, what: str) -> Any:
    """Return the thing a reference names.

    Args:
        reference: `FILE.py:NAME` or `package.module:NAME`.
        what: What it is to be, for the message: "activation", "data".

    Raises:
        ValueError: In one line: no such file, name or module; or what the file raised.
    """
    where, _, attribute = reference.rpartition(":")
    if not is_reference(reference):
        raise ValueError(
            f"`{what}` must be like FILE.py:NAME or package.module:NAME, got {reference!r}."
        )
    found = module(where, what)
    if not hasattr(found, attribute):
        known = [
            name
            for name, thing in vars(found).items()
            if not (name.startswith("_") or isinstance(thing, ModuleType))
        ]
        raise ValueError(f"{where}: {unknown_name(what, attribute, known)}")
    return getattr(found, attribute)


def module(where: str, what: str, fresh: bool = False) -> ModuleType:
    """Return the module of a file, or of a dotted name, as it is on disk now.

    Args:
        where: `FILE.py`, relative to `base()`, or `package.module`.
        what: As in `load`.
        fresh: Run it again even if nothing changed, so that nothing it remembers is left.

    Raises:
        ValueError: As of `load`.
    """
    path = find_file(where, what)
    by_path = where.endswith(".py")
    name = f"ntk_eoc_user_code.{_named(path)}" if by_path else where
    with _LOCK:
        own = _own_modules(path, "" if by_path else where)
        files = {file: file.read_bytes() for file in {*own.values(), path} if file}
        held = _LOADED.get(name)
        if fresh or held is None or held.files != files:
            _forget(own)
            _OWN.update(own)
            _LOADED[name] = _Loaded(_import(name, path if by_path else None, where, what), files)
        return _LOADED[name].module


def fingerprint(text: str) -> str | None:
    """Return the SHA-256 of what a string names: code or a file of the user's; else None.

    Of `FILE.py:NAME` and `package.module:NAME` it is the code that NAME reaches; of a path, also
    after a word and a colon as in `npz:PATH`, the file's bytes.

    Raises:
        ValueError, OSError, SyntaxError: If the code cannot be read.
    """
    if not (0 < len(text) <= LONGEST_PATH and text.isprintable()):
        return None
    where, _, attribute = text.rpartition(":")
    if is_reference(text):
        if where.endswith(".py"):
            file = _place(where)
            return provenance.digest(file, (attribute,)) if provenance.is_file(file) else None
        own = provenance.find(where, base())
        return provenance.digest(own, (attribute,), where, base()) if own else None
    for path in (text, text.partition(":")[2]):
        file = _place(path)
        if path and provenance.is_file(file):
            return provenance.file_digest(file)
    return None


def _place(text: str) -> Path:
    """A path relative to `base()`; of a home that nobody has, as it stands."""
    return base() / os.path.expanduser(text)


def _own_modules(path: Path | None, name: str) -> dict[str, Path]:
    if path is None:
        return {}
    try:
        return provenance.imported(path, name, base() if name else None)
    except (OSError, SyntaxError, ValueError):  # the import itself says what is wrong
        return {}


def find_file(where: str, what: str) -> Path | None:
    """Return the file of a module of the user's own; None of an installed one.

    Raises:
        ValueError: If there is no such file, or `where` is neither a file nor a module's name.
    """
    if not where.endswith(".py"):
        if not _is_module(where):
            raise ValueError(f"`{what}` must be a .py file or package.module, got {where!r}.")
        return provenance.find(where, base())
    path = Path(os.path.realpath(_place(where)))  # `resolve` raises on a loop of links
    if not path.is_file():
        near = _nearest(path)
        raise ValueError(
            f"`{what}` must be in an existing file, got {where!r} ('{path}')."
            + (f" Did you mean {near!r}?" if near else "")
        )
    return path


def _import(name: str, path: Path | None, where: str, what: str) -> ModuleType:
    home = str(path.parent if path else base())
    sys.path.insert(0, home)
    try:
        return importlib.import_module(name) if path is None else _run(name, path)
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        absent = isinstance(error, ModuleNotFoundError) and where.startswith(str(error.name))
        advice = ": give the path of its file, or go to the folder that holds it" if absent else ""
        raise ValueError(
            f"`{what}` must be in a module that can be imported, but {where!r} raised"
            f" {type(error).__name__}: {told}{advice}."
        ) from error
    finally:
        sys.path.remove(home)
        if home not in sys.path:
            sys.path.append(home)  # for what a function imports later


def _run(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = made  # where pydantic looks for what annotations name
    try:
        spec.loader.exec_module(made)
    except BaseException:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise
    return made


class _Source(SourceFileLoader):
    """Compiles the text as it is: kept bytecode is told apart by the second and the size only."""

    def get_code(self, fullname: str) -> CodeType:
        _MADE.add(fullname)
        return self.source_to_code(Path(self.path).read_bytes(), self.path)


class _Finder(MetaPathFinder):
    """Finds the user's own modules where the reading of their files found them."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return the spec of a module of the user's own; None of any other."""
        file = _OWN.get(fullname)
        if file is None or not file.is_file():
            return None
        inner = [str(file.parent)] if file.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname,
            file,
            loader=_Source(fullname, str(file)),
            submodule_search_locations=inner,
        )


sys.meta_path.insert(0, _Finder())


def _forget(own: dict[str, Path]) -> None:
    """Drop what this door made of the user's modules, so that they are made anew.

    What others imported is taken to be current, unless one of the files was written since then.
    """
    written = any(file.stat().st_mtime >= _BEGIN for file in own.values())
    for name, file in own.items():
        known = sys.modules.get(name)
        if known is None or getattr(known.__spec__, "_initializing", False):
            continue
        same = Path(getattr(known, "__file__", None) or "/").resolve() == file
        if name in _MADE or written or not same:
            del sys.modules[name]
            _MADE.discard(name)


def _named(path: Path | None) -> str:
    """A name for the module of a file, another for each path."""
    assert path is not None
    return f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"


def _is_module(where: str) -> bool:
    return where.endswith(".py") or all(part.isidentifier() for part in where.split("."))


def _nearest(path: Path) -> str:
    try:
        names = [file.name for file in path.parent.glob("*.py")]
    except OSError:
        return ""
    return next(iter(difflib.get_close_matches(path.name, names, n=1)), "")
