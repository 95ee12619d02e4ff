"""Every page, section and anchor that a docstring or a page refers to is there."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = ("ntk_eoc", "experiments", "benchmarks", "tests", "configs")
# A page in code quotes, with or without its folder, and the sections after it.
CITED = re.compile(r"`(?:docs/)?(\w+\.md)`((?:,?\s+(?:and\s+)?§\d+(?:\.\d+)?)*)")
LINKED = re.compile(r"\]\((?!\w+:)([^)#\s]*)(#[^)\s]*)?\)")
MADE = (ROOT / "mkdocs.yml").read_text("utf-8")  # names the pages that building the site adds
NUMBER = re.compile(r"§(\d+(?:\.\d+)?)")


def sections(page: Path) -> set[str]:
    """The numbers of a page's headings, "3" and "3.1"."""
    return set(re.findall(r"^#+ (\d+(?:\.\d+)?)\.? ", page.read_text("utf-8"), re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    bare = [re.sub(r"[^\w\- ]", "", h.strip().lower()) for h in headings]
    return {"#" + heading.replace(" ", "-") for heading in bare}


def texts() -> Iterator[tuple[Path, str]]:
    for path in [*PAGES, *(p for room in ROOMS for p in sorted((ROOT / room).rglob("*.*")))]:
        if path.suffix in {".py", ".md", ".toml"}:
            yield path, path.read_text("utf-8")


def test_exact_cited_pages_and_sections_are_there():
    known = {page.name: sections(page) for page in PAGES}
    cited, missing = 0, []
    for path, text in texts():
        for name, numbers in CITED.findall(text):
            wanted = NUMBER.findall(numbers)
            cited += len(wanted)
            if name not in known or set(wanted) - known[name]:
                missing.append(f"{path.relative_to(ROOT)}: {name} {numbers}")
    assert not missing
    assert cited > 20


def test_exact_a_page_has_the_sections_that_it_speaks_of():
    for page in PAGES:
        text = CITED.sub("", page.read_text("utf-8"))
        assert set(NUMBER.findall(text)) <= sections(page), page.name


def test_exact_links_lead_somewhere():
    missing = []
    for page in PAGES:
        for target, anchor in LINKED.findall(page.read_text("utf-8")):
            there = page if not target else page.parent / target
            if f" {target}\n" in MADE:
                continue
            if not there.exists() or (anchor and anchor not in anchors(there)):
                missing.append(f"{page.name}: {target}{anchor}")
    assert not missing
