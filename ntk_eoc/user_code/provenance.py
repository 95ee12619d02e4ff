"""What code a result rests on: a hash of all that a definition reaches in the user's own files.

Files are read, never run. A statement at the top of a module counts once a name that it binds is
reached; it leads on to the names that it uses, into other files by way of imports. Docstrings,
comments and white space do not count, nor what is not reached. Installed packages end the walk.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import sys
import sysconfig
import time
import uuid
from collections.abc import Iterable
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path

from ntk_eoc.user_code import statements
from ntk_eoc.user_code.statements import ALL, Statement

PACKAGE = Path(__file__).resolve().parent.parent
STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
OUTSIDE = frozenset(  # what changes no number, and experiments that come along
    ("report", "explore", "commands", "_shipped", "cli.py", "terminal.py", "__main__.py")
)
SETTLED = 10.0  # seconds after which a file that is written again has another time for certain
COMPUTING = {  # of `sweeps`, whose other modules move records about
    "batches.py": ("map_batched",),
    "engine.py": ("set_up_jax",),
    "config.py": ("Cell",),
}


def digest(
    path: Path, names: Iterable[str] = (ALL,), module: str = "", home: Path | None = None
) -> str:
    """Return the SHA-256 of all that the names of a Python file reach, in it and beyond.

    Args:
        path: The file.
        names: Its definitions to begin with; the whole file by default.
        module: The dotted name that it is imported by, if it is.
        home: The folder that is searched first for what it imports; its own by default.

    Raises:
        OSError, SyntaxError, ValueError: If the file or one that it imports cannot be read.
    """
    walk = _Walk(path.resolve(), module, home)
    walk.reach(names)
    return walk.digest()


def imported(path: Path, module: str = "", home: Path | None = None) -> dict[str, Path]:
    """Return the user's own modules that a file imports, by name, with those that they import."""
    walk = _Walk(path.resolve(), module, home)
    walk.reach((ALL,))
    return {name: file for file, name in walk.modules.items() if name}


def package_digest() -> str:
    """Return the SHA-256 of the part of this package that can change a number."""
    return _package_digest(package_stamp())


def package_stamp() -> str:
    """Return a word that changes when a file of the same part is written."""
    return _stamp(package_files())[0]


def _stamp(files: list[Path]) -> tuple[str, float]:
    """That word, and when one of the files was last written."""
    stats = [(path, path.stat()) for path in files]
    told = [(str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in stats]
    last = max(max(s.st_mtime, s.st_ctime) for _, s in stats)
    return hashlib.sha256(repr(told).encode()).hexdigest(), last


@lru_cache(maxsize=4)
def _package_digest(stamp: str) -> str:
    """Kept with its stamp in the user's cache, as the files take half a second to parse."""
    here = hashlib.sha256(f"{PACKAGE}\0{sys.version}".encode()).hexdigest()[:20]
    kept = cache() / f"package-{here}"
    with contextlib.suppress(OSError, ValueError):
        held = re.fullmatch(f"{stamp} ([0-9a-f]{{64}})", kept.read_text(encoding="ascii"))
        if held:
            return held[1]
    found = _parse_package()
    again, last = _stamp(package_files())
    if again == stamp and time.time() - last > SETTLED:
        with contextlib.suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.with_name(f"{kept.name}.{uuid.uuid4().hex}")
            temporary.write_text(f"{stamp} {found}", encoding="ascii")
            temporary.replace(kept)
    return found


def cache() -> Path:
    """Return the folder of what may be lost at any time."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ntk_eoc"


def _parse_package() -> str:
    told = hashlib.sha256()
    for path in package_files():
        names = COMPUTING.get(path.name) if path.parent.name == "sweeps" else None
        found = digest(path, names) if names else statements.text(path)
        told.update(f"{path.relative_to(PACKAGE).as_posix()}\0{found}\0".encode())
    return told.hexdigest()


def package_files() -> list[Path]:
    """Return the files of this package that can change a number."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room, *rest = path.relative_to(PACKAGE).parts
        moves = room == "sweeps" and rest[0] not in COMPUTING
        if not moves and room not in OUTSIDE:
            found.append(path)
    return found


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(module: str, home: Path) -> Path | None:
    """Return the file of a module of the user's own, importing nothing; None if it is no such.

    Args:
        module: Its dotted name.
        home: The folder that is searched before `sys.path`.
    """
    path = _find_any(module, home)
    return path if path is not None and path.suffix == ".py" else None


def _find_any(module: str, home: Path) -> Path | None:
    """The same, of a compiled module too."""
    top, *inner = module.split(".")
    if top in sys.stdlib_module_names:
        return None
    spec = PathFinder.find_spec(top, [str(home), *sys.path])
    if spec is None:
        try:  # an editable install is found in its own way
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError, AttributeError):
            return None
    name = top
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        name = f"{name}.{part}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations)
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    path = Path(spec.origin).resolve()
    outside = _is_installed(path) and path.parent != home
    return None if outside else path


def _is_installed(path: Path) -> bool:
    inside = path.is_relative_to(PACKAGE) or path.is_relative_to(STANDARD)
    return inside or bool({"site-packages", "dist-packages"} & set(path.parts))


class _Walk:
    """The statements reached so far, by file."""

    def __init__(self, path: Path, module: str, home: Path | None) -> None:
        self._first = path
        self._home = home or path.parent
        self.modules: dict[Path, str] = {path: module}
        """File → the name it is imported by; "" if it is not."""
        self._reached: dict[Path, set[int]] = {path: set()}
        self._asked: set[tuple[Path, str, str]] = set()
        self._waiting: list[tuple[Path, str, frozenset[str]]] = []
        self._compiled: set[Path] = set()
        self._enter_parent(module)

    def digest(self) -> str:
        told = hashlib.sha256()
        for path, name in sorted(self.modules.items(), key=lambda item: item[1]):
            found = statements.of(path)
            for index in sorted(self._reached[path]):
                told.update(f"{name}\0{found[index].text}\0".encode())
                for text in sorted(found[index].files):
                    if is_file(path.parent / text):
                        held = file_digest(path.parent / text)
                        told.update(f"{text}\0{held}\0".encode())
            if any(found[index].dynamic for index in self._reached[path]):
                for near in sorted(path.parent.glob("*.py")):
                    told.update(f"{near.name}\0{file_digest(near)}\0".encode())
        for path in sorted(self._compiled):
            told.update(f"{path.name}\0{file_digest(path)}\0".encode())
        return told.hexdigest()

    def reach(self, names: Iterable[str]) -> None:
        """Take in the first file's names, what counts always, and all that they lead to."""
        self._waiting += [(self._first, name, frozenset()) for name in names]
        while self._waiting:
            path, name, attributes = self._waiting.pop()
            for index, statement in enumerate(statements.of(path)):
                if not statement.binds or name == ALL or name in statement.binds:
                    self._take(path, index, statement, attributes)

    def _take(
        self, path: Path, index: int, statement: Statement, attributes: frozenset[str]
    ) -> None:
        if statement.imports:
            module, name = statement.imports
            whole = not attributes or (name is None and "." in module)  # `import a.b` binds a
            self._follow(path, module, name, frozenset({ALL}) if whole else attributes)
        if index in self._reached[path]:
            return
        self._reached[path].add(index)
        for module, name in statement.inner:
            self._follow(path, module, name, frozenset({ALL}))
        for name, used in statement.uses.items():
            self._ask(path, name, used)
        if statement.dynamic:
            self._ask(path, ALL, frozenset())

    def _ask(self, path: Path, name: str, attributes: frozenset[str]) -> None:
        fresh = {a for a in attributes or {""} if (path, name, a) not in self._asked}
        if fresh:
            self._asked |= {(path, name, attribute) for attribute in fresh}
            self._waiting.append((path, name, frozenset(fresh - {""})))

    def _follow(self, path: Path, module: str, name: str | None, used: frozenset[str]) -> None:
        """Reach what an import names: a definition of a module, or a module."""
        full = self._absolute(path, module)
        if name not in (None, ALL) and self._enter(f"{full}.{name}", used):
            self._enter(full, frozenset({""}))
            return
        self._enter(full, used if name is None else frozenset({name}))

    def _enter(self, module: str, names: frozenset[str]) -> bool:
        found = _find_any(module, self._home)
        if found is None:
            return False
        if found.suffix != ".py":
            self._compiled.add(found)
            return True
        self.modules.setdefault(found, module)
        self._reached.setdefault(found, set())
        for name in names:
            self._ask(found, name, frozenset())
            if name not in ("", ALL) and found.name == "__init__.py":  # a module of the package
                self._enter(f"{module}.{name}", frozenset({ALL}))
        self._enter_parent(module)
        return True

    def _enter_parent(self, module: str) -> None:
        """A package's `__init__` runs before its modules."""
        parent = module.rpartition(".")[0]
        if parent:
            self._enter(parent, frozenset({""}))

    def _absolute(self, path: Path, module: str) -> str:
        """The full name of a module that may be given relative to the package of `path`."""
        inner = module.lstrip(".")
        level = len(module) - len(inner)
        if level == 0:
            return module
        package = self.modules[path].split(".")
        keep = len(package) - level + (path.name == "__init__.py")
        return ".".join([*package[: max(keep, 0)], *filter(None, [inner])])


def is_file(path: Path) -> bool:
    """Say whether there is such a file; no where the name cannot be a file's."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
