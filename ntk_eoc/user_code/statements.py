"""The statements at the top of a Python file: what each does, binds and uses, read and not run."""

import ast
import symtable
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

ALL = "*"
# With these a function finds what no reading of its names can foresee.
DYNAMIC_NAMES = frozenset({"eval", "exec", "globals", "vars", "__import__", "importlib"})
DYNAMIC_ATTRIBUTES = frozenset({"import_module", "__dict__", "__globals__", "modules"})
UNTOLD = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
LONGEST_PATH = 255
Defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a module, or one name of an import.

    Attributes:
        text: What it does, the same for every layout and every version of Python.
        binds: Names that it defines or changes; none of one that counts always.
        uses: Name of the module → the attributes used of it, `ALL` where it is used by itself.
        imports: The module and its definition (None: the module itself) that it imports.
        inner: The same of imports inside it.
        files: Strings in it that may name files.
        dynamic: Whether it may use names that cannot be read off.
    """

    text: str
    binds: frozenset[str]
    uses: dict[str, frozenset[str]]
    imports: tuple[str, str | None] | None = None
    inner: tuple[tuple[str, str | None], ...] = ()
    files: frozenset[str] = frozenset()
    dynamic: bool = False


def of(path: Path) -> list[Statement]:
    """Return the statements of a Python file.

    Raises:
        OSError, SyntaxError, ValueError: If it cannot be read.
    """
    with tokenize.open(path) as file:
        return _parsed(file.read())


def text(path: Path) -> str:
    """Return what a whole file does, the same for every layout and version of Python."""
    with tokenize.open(path) as file:
        return "\0".join(_told(ast.parse(file.read())))


@lru_cache(maxsize=256)
def _parsed(source: str) -> list[Statement]:
    lines = source.splitlines(keepends=True)
    body = [node for node in ast.parse(source).body if not _is_string(node)]
    own = {
        name
        for node in body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        for name in _bound(node)
    }
    found: list[Statement] = []
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found += _imports(node)
        elif not _never_runs(node):
            found.append(_statement(node, lines, own))
    return found


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[Statement]:
    for target in _targets(node):
        module, name, bound = target
        text = f"import {module} {name} {bound}"
        binds = frozenset() if name == ALL else frozenset({bound})
        yield Statement(text, binds, {}, imports=(module, name))


def _targets(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str | None, str]]:
    """(module, definition, bound name) of every name of an import."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module, alias.name, alias.asname or alias.name
        else:  # `import a.b` binds a; all of b counts
            yield alias.name, None, alias.asname or alias.name.partition(".")[0]


def _statement(node: ast.stmt, lines: list[str], own: set[str]) -> Statement:
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
    names = _globals("".join(lines[first - 1 : node.end_lineno]))
    uses: defaultdict[str, set[str]] = defaultdict(set)
    inner: list[tuple[str, str | None]] = []
    files = set()
    dynamic = False
    annotated, quoted = _annotated(node)
    names |= annotated
    for name in quoted:
        uses[name].add(ALL)
    behind = {id(one.value) for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute):
            dynamic |= one.attr in DYNAMIC_ATTRIBUTES
            if isinstance(one.value, ast.Name) and one.value.id in names:
                uses[one.value.id].add(one.attr)
        elif isinstance(one, ast.Name) and one.id in names:
            dynamic |= one.id in DYNAMIC_NAMES
            if id(one) not in behind:
                uses[one.id].add(ALL)
        elif isinstance(one, ast.Import | ast.ImportFrom):
            inner += [(module, name) for module, name, _ in _targets(one)]
        elif isinstance(one, ast.Constant) and isinstance(one.value, str):
            files |= {one.value} if _may_be_path(one.value) else set()
    binds = frozenset() if _acts(node, own) else frozenset(_bound(node))
    frozen = {name: frozenset(attributes) for name, attributes in uses.items()}
    text = "\0".join(_told(node))
    return Statement(text, binds, frozen, None, tuple(inner), frozenset(files), dynamic)


def _globals(segment: str) -> set[str]:
    """Names of the module that a statement's text uses, however deep."""
    waiting = [symtable.symtable(segment, "statement", "exec")]
    names = set()
    while waiting:
        table = waiting.pop()
        waiting += table.get_children()
        inside = table.get_type() == "function"
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if (symbol.is_global() if inside else symbol.is_referenced() or symbol.is_global())
        }
    return names


def _annotated(node: ast.stmt) -> tuple[set[str], set[str]]:
    """Names in annotations, which a file may keep as text, and those of them within quotes."""
    names, quoted = set(), set()
    for one in ast.walk(node):
        note = getattr(one, "annotation", None) or getattr(one, "returns", None)
        for part in ast.walk(note) if isinstance(note, ast.AST) else ():
            if isinstance(part, ast.Name):
                names.add(part.id)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                quoted |= _names_in(part.value)
    return names | quoted, quoted


def _names_in(text: str) -> set[str]:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError:  # the shape of an array, say
        return set()
    return {one.id for one in ast.walk(tree) if isinstance(one, ast.Name)}


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement defines, or changes an attribute or an item of."""
    if isinstance(node, Defined):
        # A subclass may be found by way of its base.
        bases = node.bases if isinstance(node, ast.ClassDef) else []
        return {node.name, *(base.id for base in bases if isinstance(base, ast.Name))}
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    elif hasattr(ast, "TypeAlias") and isinstance(node, ast.TypeAlias):
        targets = [node.name]
    else:
        return set()
    return {_root(part) for target in targets for part in _parts(target)} - {""}


def _parts(target: ast.expr) -> list[ast.expr]:
    inside = getattr(target, "elts", None)
    return [target] if inside is None else [part for one in inside for part in _parts(one)]


def _root(target: ast.expr) -> str:
    while isinstance(target, ast.Attribute | ast.Subscript | ast.Starred):
        target = target.value
    return target.id if isinstance(target, ast.Name) else ""


def _acts(node: ast.stmt, own: set[str]) -> bool:
    """Whether a statement does something when its module is imported, beyond binding its names.

    A decorator of the user's own may keep what it decorates in a table.
    """
    if isinstance(node, Defined):
        heads = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
        return any(_root(head) in own for head in heads)
    bound = _bound(node)
    return not bound or not bound <= own or _changes_an_import(node, own)


def _changes_an_import(node: ast.stmt, own: set[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    changed = [t for t in targets if isinstance(t, ast.Attribute | ast.Subscript)]
    return any(_root(target) not in own for target in changed)


def _never_runs(node: ast.stmt) -> bool:
    """`if __name__ == "__main__"` and `if TYPE_CHECKING`, which no import runs."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    names = {one.id for one in ast.walk(node.test) if isinstance(one, ast.Name)}
    attributes = {one.attr for one in ast.walk(node.test) if isinstance(one, ast.Attribute)}
    return names == {"__name__"} or "TYPE_CHECKING" in names | attributes


def _is_string(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _may_be_path(text: str) -> bool:
    return len(text) <= LONGEST_PATH and text.isprintable() and ("." in text or "/" in text)


class _Word(str):
    """A word of the tree's, apart from the strings in it."""

    __slots__ = ()


def _told(tree: object) -> list[str]:
    """The tree as words: no docstring, no comment, no place, nothing that is left out."""
    words: list[str] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Word):
            words.append(node)
        elif isinstance(node, ast.AST):
            words.append(type(node).__name__)
            for name in reversed(node._fields):
                value = getattr(node, name, None)
                if value is not None and value != [] and name not in UNTOLD:
                    waiting += [value, _Word(name)]
        elif isinstance(node, list):
            words.append("[")
            waiting.append(_Word("]"))
            waiting += reversed([one for one in node if not _is_string(one)])
        else:
            words.append(repr(node))
    return words
