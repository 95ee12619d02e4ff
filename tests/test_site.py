"""The documentation's own machinery, and the tutorials, which are run as they stand."""

import importlib
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import ntk_eoc

ROOT = Path(__file__).parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))
QUICK = {"limit_in_ten_lines", "my_activation"}
MOST = 60.0  # seconds of CPU on two cores


@pytest.fixture
def website(monkeypatch):
    """Import one of the modules that build the site."""
    monkeypatch.syspath_prepend(str(ROOT / "website"))
    return importlib.import_module


@pytest.mark.parametrize(
    "tutorial",
    [
        pytest.param(path, marks=[] if path.stem in QUICK else [pytest.mark.slow], id=path.stem)
        for path in TUTORIALS
    ],
)
def test_exact_tutorial_runs_within_a_minute(tutorial, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "website/executed.py", tutorial, tmp_path / "page.md"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ran.returncode == 0, ran.stderr
    assert after.ru_utime - before.ru_utime < 2 * MOST
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# ")
    assert page.count("```python") > 2
    assert 'title="prints"' in page
    for figure in re.findall(r"\]\((\w+\.svg)\)", page):
        assert (tmp_path / figure).stat().st_size > 1000


def test_exact_the_site_shows_every_tutorial(website):
    assert set(website("tutorials").NAMES) == {path.stem for path in TUTORIALS}
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert all(f"tutorials/{path.stem}.md" in navigation for path in TUTORIALS)


def test_exact_cells_of_a_tutorial(website):
    text = "# %% [markdown]\n# # Head\n#\n# text\n\n# %%\nx = 1\n\n# %%\nx + 1\n"
    executed = website("executed")
    found = executed.cells(text)
    assert [(one.is_text, one.source) for one in found] == [
        (True, "# Head\n\ntext"), (False, "x = 1"), (False, "x + 1"),
    ]  # fmt: skip
    room = {}
    assert [executed._run(one.source, room, "here") for one in found[1:]] == ["", "2"]


def test_exact_every_formula_of_the_docs_becomes_mathml(website):
    pytest.importorskip("latex2mathml")
    formulas = website("formulas")
    count = 0
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        for latex in re.findall(r"^```math\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            made = formulas.fence(latex)
            assert "\\" not in made, latex  # a command that the converter does not know
            assert 'display="block"' in made
            assert "&amp;" not in made, latex  # an environment that it does not know
            assert "&#x00026;" not in made, latex
            count += 1
    assert count > 10
    html = 'x <span class="arithmatex">\\(a &lt; b\\)</span>'
    assert formulas.inline(html).startswith('x <math xmlns="http://www.w3.org/1998/Math/MathML"')
    assert "&#x0003C;" in formulas.inline(html)


def test_exact_the_reference_has_every_public_name(website):
    names = [one for members in website("reference").public().values() for one in members]
    assert len(names) == len(set(names))
    last = {name.rpartition(".")[2] for name in names}
    rooms = {"data", "estimates", "spectra", "training"}
    assert set(ntk_eoc.__all__) - rooms <= last | {"ntk_eoc"}
    assert {"regress", "load", "exponent"} <= last


@pytest.mark.slow
def test_exact_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", tmp_path / "site"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "site" / "gallery.html").exists()
