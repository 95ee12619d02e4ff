"""A file holds one noun, a function fits a screen, and a page is as wide as the code."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("ntk_eoc", "experiments")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_exact_files_have_300_lines_at_most():
    lines = {str(p.relative_to(ROOT)): len(p.read_text("utf-8").splitlines()) for p in FILES}
    assert not {name for name, count in lines.items() if count > 300}


def test_exact_functions_have_60_lines_at_most():
    functions = {
        f"{path.relative_to(ROOT)}: {node.name}": node.end_lineno - node.lineno + 1
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {name: count for name, count in functions.items() if count > 60}


def test_exact_pages_have_100_columns_at_most():
    """But for tables, pictures and links, which cannot be broken, and for what a command wrote."""
    long = [
        f"{page.name}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if len(line) > 100 and not line.startswith(("|", "!", "<!--")) and "](http" not in line
        if page.name != "bad_input.md"
    ]
    assert not long
