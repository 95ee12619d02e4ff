"""The tables of docs/ are files that the command wrote, unchanged."""

import hashlib
import importlib.util
from pathlib import Path

import pytest

from ntk_eoc.report.tables import HEAD, Table, write

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
TABLES = sorted((ROOT / "docs" / "tables").glob("*.md"))

spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs" / "refresh.py")
refresh = importlib.util.module_from_spec(spec)
spec.loader.exec_module(refresh)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_exact_a_page_shows_the_tables_as_written(page):
    text = page.read_text(encoding="utf-8")
    assert refresh.filled(ROOT / "docs", text) == text
    assert text.count("<!-- table: ") == text.count("<!-- end -->") == len(refresh.shown(text)[1])


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_exact_a_table_names_its_source_and_was_not_edited(path):
    head, text = path.read_text(encoding="utf-8").split("\n", 1)
    found = HEAD.match(head)
    assert found, head
    assert (ROOT / ("configs" if found[1].endswith(".toml") else "benchmarks") / found[1]).is_file()
    assert path.stem.startswith(Path(found[1]).stem)
    assert found[2] == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_exact_every_table_and_figure_is_shown():
    figures, tables = map(
        set().union, *(refresh.shown(page.read_text(encoding="utf-8")) for page in PAGES)
    )
    assert tables == {path.stem for path in TABLES}
    assert figures == {path.stem for path in (ROOT / "docs" / "figures").glob("*.png")}


def test_exact_refreshing_takes_new_tables_into_the_page(tmp_path):
    docs, run = tmp_path / "docs", tmp_path / "out" / "noise"
    for folder in (docs / "figures", run / "tables", run / "figures"):
        folder.mkdir(parents=True)
    shown = "a\n<!-- table: noise_mean -->\nold\n<!-- end -->\n![b](figures/noise.png)\n"
    (docs / "page.md").write_text(shown)
    made = {"mean": Table(columns=["a"], rows=[])}
    write(made, run / "tables", "noise", "noise.toml", "2 records abc")
    (run / "figures" / "noise.png").write_bytes(b"png")
    refresh.main(tmp_path / "out", docs)
    text = (docs / "page.md").read_text()
    assert "<!-- table: noise_mean -->\n\n| a |\n| --- |\n\n<!-- end -->" in text
    assert "old" not in text
    assert (docs / "figures" / "noise.png").read_bytes() == b"png"
    refresh.main(tmp_path / "nothing", docs)
    assert (docs / "page.md").read_text() == text
    table = docs / "tables" / "noise_mean.md"
    table.write_text(table.read_text().replace("| a |", "| b |"))
    with pytest.raises(ValueError, match="must be as `ntk-eoc figures` wrote it, but was edited"):
        refresh.main(tmp_path / "nothing", docs)
