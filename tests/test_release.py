"""What a release says of itself is one thing."""

import itertools
import re
import tomllib
from pathlib import Path

import ntk_eoc

ROOT = Path(__file__).parent.parent


def test_exact_one_version_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert ntk_eoc.__version__ == project["version"] == cited[1]
    assert f"## {ntk_eoc.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_exact_every_requirement_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *itertools.chain(*extras.values())]
    names = {re.match(r"[\w-]+", one)[0].lower() for one in asked} - {project["name"]}
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert names <= set(pinned)


def test_exact_links_of_the_front_pages_lead_somewhere():
    for page in ROOT.glob("*.md"):  # those of docs/ are looked at by test_citations
        for link in re.findall(
            r"\]\(([\w./-]+\.\w+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")
        ):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
