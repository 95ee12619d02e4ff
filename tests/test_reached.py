"""Every definition of the package serves a user: one that only tests reach is dead code.

A definition is reached if a command, an experiment, a benchmark or the code in the documentation
uses it, directly or through other definitions. The references are read from the syntax alone; a
method counts as used where any attribute of its name is.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = ("experiments", "benchmarks", "tutorials", "docs", "website")
PLAIN = {"property", "cached_property", "staticmethod", "classmethod", "override"}
APP = ROOT / "ntk_eoc" / "explore" / "app.py"  # which marimo runs, cell by cell
Node = tuple[str, str]  # a module and a definition in it, "Class.method" for a method


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def last_name(decorator: ast.expr) -> str:
    if isinstance(decorator, ast.Call):
        decorator = decorator.func
    return decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")


def targets(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        found = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return [n.id for t in found for n in ast.walk(t) if isinstance(n, ast.Name)]
    return []


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes that run when a module is imported, those under `if` too."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            todo += ast.iter_child_nodes(node)


def bindings(nodes: Iterable[ast.AST]) -> dict[str, str]:
    """What imported names stand for, as dotted paths."""
    bound: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            bound |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            bound |= {a.asname or a.name.split(".")[0]: a.name for a in node.names}
    return bound


class Package:
    """The definitions of the package and what each of them refers to."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.trees = {module_name(path): ast.parse(path.read_text()) for path in paths}
        self.bound = {name: bindings(at_import(tree)) for name, tree in self.trees.items()}
        self.definitions: dict[Node, list[ast.AST]] = {}
        self.methods: dict[Node, list[Node]] = {}
        self.loose: list[tuple[str, ast.AST]] = []
        for module, tree in self.trees.items():
            for statement in tree.body:
                self._add(module, statement)

    def _add(self, module: str, statement: ast.stmt) -> None:
        names = [name for name in targets(statement) if not name.startswith("__")]
        if not names and not isinstance(statement, ast.Import | ast.ImportFrom):
            self.loose.append((module, statement))
        parts: list[ast.AST] = [statement]
        if isinstance(statement, ast.ClassDef):
            plain = [m for m in statement.body if self._is_plain(statement, m)]
            parts = [n for n in ast.iter_child_nodes(statement) if n not in plain]
            nodes = [(module, f"{statement.name}.{m.name}") for m in plain]  # type: ignore[attr-defined]
            self.definitions |= {node: [m] for node, m in zip(nodes, plain, strict=True)}
            self.methods[module, statement.name] = nodes
        for name in names:
            self.definitions[module, name] = parts

    def _is_plain(self, owner: ast.ClassDef, member: ast.stmt) -> bool:
        """Whether nobody but a caller by name reaches the member: no hook of a foreign base."""
        foreign = {last_name(base) for base in owner.bases} - {"NamedTuple", "Protocol", "ABC"}
        return (
            isinstance(member, ast.FunctionDef)
            and not member.name.startswith("__")
            and not foreign
            and all(last_name(d) in PLAIN for d in member.decorator_list)
        )

    def find(self, dotted: str) -> Node | str | None:
        """The definition or module behind a dotted path, through re-exports."""
        if dotted in self.trees:
            return dotted
        module, _, name = dotted.rpartition(".")
        if (module, name) in self.definitions:
            return module, name
        if module in self.trees and name in self.bound[module]:
            path = self.bound[module][name]
            return None if path == dotted else self.find(path)
        return None

    def resolve(self, module: str, bound: dict[str, str], node: ast.AST) -> Node | str | None:
        if isinstance(node, ast.Name):
            return self.find(bound.get(node.id, f"{module}.{node.id}"))
        if isinstance(node, ast.Attribute):
            owner = self.resolve(module, bound, node.value)
            return self.find(f"{owner}.{node.attr}") if isinstance(owner, str) else None
        return None

    def references(self, module: str, tree: ast.AST) -> Iterator[Node]:
        bound = self.bound.get(module, {}) | bindings(ast.walk(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                word = (
                    node.value.strip()
                )  # an annotation of a name that is not imported at run time
                node = ast.Name(word) if word.isidentifier() and word in bound else node
            found = self.resolve(module, bound, node)
            if isinstance(found, tuple):
                yield found


def attributes(tree: ast.AST) -> set[str]:
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def code_of(page: str) -> str:
    """The Python of a page's code blocks; of sessions the lines with a prompt, without it."""
    lines = []
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        typed = re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", block, re.MULTILINE)
        lines += typed or block.splitlines()
    return "\n".join(lines)


def spans_of(page: str) -> set[str]:
    """The dotted names that a page shows as code, `ne.estimates.mean(x)` as estimates.mean."""
    spans = re.findall(r"`([^`\n]+)`", page)
    return {
        name.removeprefix("ne.")
        for span in spans
        for name in re.findall(r"[A-Za-z_][\w.]*(?=\(|$)", span)
    }


def unreached(package: Package, users: list[ast.AST], documented: set[str]) -> set[Node]:
    todo = [node for tree in users for node in package.references("", tree)]
    used = set().union(*(attributes(tree) for tree in users))
    used |= {span.rpartition(".")[2] for span in documented if "." in span}
    for module, statement in package.loose:
        todo += package.references(module, statement)
    for module, name in package.definitions:
        path = f"{module}.{name}"
        if any(path.endswith(f".{span}") for span in documented):
            todo.append((module, name))
    reached: set[Node] = set()
    while True:
        while todo:
            node = todo.pop()
            if node in reached:
                continue
            reached.add(node)
            for part in package.definitions[node]:
                used |= attributes(part)
                todo += package.references(node[0], part)
        for owner, methods in package.methods.items():
            if owner in reached:
                todo += [m for m in methods if m[1].split(".")[1] in used and m not in reached]
        todo += [node for node in hooked(package, reached) if node not in reached]
        if not todo:
            return set(package.definitions) - reached


def hooked(package: Package, reached: set[Node]) -> Iterator[Node]:
    """Definitions handed over by a decorator, as `@app.command`, to one that is reached."""
    for node, parts in package.definitions.items():
        for decorator in [d for part in parts for d in getattr(part, "decorator_list", [])]:
            owner = decorator.func if isinstance(decorator, ast.Call) else decorator
            if isinstance(owner, ast.Attribute):
                found = package.resolve(node[0], package.bound[node[0]], owner.value)
                if found in reached:
                    yield node


def test_exact_nothing_is_there_for_tests_alone():
    package = Package(sorted((ROOT / "ntk_eoc").rglob("*.py")))
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    scripts = [path for room in SCRIPTS for path in sorted((ROOT / room).rglob("*.py"))] + [APP]
    users = [ast.parse(path.read_text()) for path in scripts]
    users += [ast.parse(code_of(page)) for page in pages]
    documented = {"cli.main"}.union(*map(spans_of, pages))
    found = sorted(".".join(node) for node in unreached(package, users, documented))
    assert not found


def test_exact_dead_code_is_found(tmp_path):
    """A function that calls another unused one, and a method without a caller, are all found."""
    lines = [
        "def used(): return Thing().alive()",
        "def dead(): return deader()",
        "def deader(): return dead()",
        "class Thing:",
        "    def alive(self): ...",
        "    def asleep(self): ...",
    ]
    package = Package([])
    package.trees["ntk_eoc.room"] = ast.parse("\n".join(lines))
    package.bound["ntk_eoc.room"] = {}
    for statement in package.trees["ntk_eoc.room"].body:
        package._add("ntk_eoc.room", statement)
    users: list[ast.AST] = [ast.parse("from ntk_eoc.room import used\nused()")]
    found = {name for _, name in unreached(package, users, set())}
    assert found == {"dead", "deader", "Thing.asleep"}
