"""Bring the figures and tables of finished runs into the pages: `python docs/refresh.py [OUT]`.

A page shows a table between `<!-- table: NAME -->` and `<!-- end -->`, where `NAME.md` is a file
that `ntk-eoc figures` wrote, and a figure by its name. Runs are under OUT (`out` unless given);
what none of them has stays as it is in `docs/figures` and `docs/tables`.
"""

import hashlib
import re
import shutil
import sys
from pathlib import Path

from ntk_eoc.report.tables import HEAD

DOCS = Path(__file__).parent
BLOCK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.S)


def shown(page: str) -> tuple[set[str], set[str]]:
    """Return the names of the figures and of the tables of a page."""
    figures = set(re.findall(r"\]\(figures/(\w+)\.png\)", page))
    return figures, {name for _, name, _, _ in BLOCK.findall(page)}


def table(docs: Path, name: str) -> str:
    """Return a table's Markdown, without the line that says where it comes from.

    Raises:
        ValueError: If the file is not as `ntk-eoc figures` wrote it.
    """
    path = docs / "tables" / f"{name}.md"
    head, text = path.read_text(encoding="utf-8").split("\n", 1)
    found = HEAD.match(head)
    if not found or found[2] != hashlib.sha256(text.encode()).hexdigest()[:12]:
        raise ValueError(f"'{path}' must be as `ntk-eoc figures` wrote it, but was edited.")
    return text


def filled(docs: Path, page: str) -> str:
    """Return a page with the present tables in it."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{table(docs, found[2])}\n{found[4]}", page)


def main(out: Path, docs: Path = DOCS) -> None:
    """Copy what the pages show from the runs under `out`, and fill the pages."""
    for page in sorted(docs.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        figures, tables = shown(text)
        wanted = [f"figures/{name}.png" for name in figures] + [f"tables/{n}.md" for n in tables]
        for name in sorted(wanted):
            for found in sorted(out.glob(f"*/{name}")):
                (docs / name).parent.mkdir(exist_ok=True)
                shutil.copy(found, docs / name)
                print(f"{page.name}: {found}")
        page.write_text(filled(docs, text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
