"""The page of runs: one file that needs nothing else, and tells what a reader would ask."""

import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from small_sweep import CONFIG

from ntk_eoc.report import html_page, vector
from ntk_eoc.report.account import docstring, toml
from ntk_eoc.report.verdicts import published
from ntk_eoc.sweeps import config as configs
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.runner import Options, run


class Seen(HTMLParser):
    """What a browser would see of a page: tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A good run, and one in which a cell of two fails."""
    home = tmp_path_factory.mktemp("out")
    run(Options(CONFIG, home / "good"))
    bad = ('fixed.behaviour="raise"', "grid.size=[2]", "seeds=4")
    run(Options(CONFIG, home / "bad", bad))
    return home


@pytest.fixture(scope="module")
def written(folders):
    return html_page.write([folders], folders / "report.html").read_text()


def test_exact_the_page_fetches_nothing(written):
    seen = Seen(written)
    for tag, attributes in seen.tags:
        assert tag not in ("link", "iframe", "object", "base"), tag
        for name in ("src", "href", "xlink:href", "action", "data"):
            address = attributes.get(name, "#")
            assert address.startswith(("#", "data:image/png;base64,")), (tag, address)
    assert not re.search(r"@import|url\((?!#)", written)
    assert "default-src 'none'" in written


def test_exact_the_page_tells_of_both_runs(written):
    seen = Seen(written)
    runs = [a["id"] for tag, a in seen.tags if a.get("class") == "run"]
    assert runs == ["bad", "good"]
    for said in (
        "What do Gaussian draws look like?",  # the question
        "means near 0",  # the expectation
        "size = [2, 3, 5]",  # the config
        "6 ok",
        "1 failed",
        "failed: seeds 4",
        "ArithmeticError: no such number",
        "jax ",
        "float32",
        "18 draws from root seed 0",
        "--set",  # of the command
        "No cell has finished",
    ):
        assert said in seen.text, said


def test_exact_ids_are_unique_and_links_lead_somewhere(written):
    seen = Seen(written)
    ids = [a["id"] for _, a in seen.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = {a[n][1:] for _, a in seen.tags for n in ("href", "xlink:href") if n in a}
    links |= set(re.findall(r"url\(#([^)]*)\)", written))
    assert links <= set(ids)


def test_exact_every_figure_has_words_and_every_button_a_name(written):
    seen = Seen(written)
    figures = [a for tag, a in seen.tags if tag in ("svg", "img")]
    assert len(figures) == 1
    assert all(a.get("aria-label") or a.get("alt") for a in figures)
    assert all(a.get("aria-label") for tag, a in seen.tags if tag == "input")


def test_exact_words_of_a_figure():
    figure, (left, right) = plt.subplots(1, 2)
    left.loglog([1, 2], [1, 2], label=r"$K_\infty$")
    left.set(xlabel=r"width $m$", ylabel=r"$\|K(\theta)-K_\infty\|$", title="(a)")
    left.legend()
    right.set(xlabel=r"$\frac{1}{\sqrt{m}}$")
    assert vector.alternative(figure) == (
        "(a). ‖K(θ)-K_∞‖ against width m, x logarithmic, y logarithmic. Curves: K_∞. (1)/(√m)."
    )
    plt.close(figure)


def test_exact_a_figure_of_many_marks_becomes_pixels():
    figure, ax = plt.subplots()
    ax.plot(np.arange(20_000), np.random.default_rng(0).normal(size=20_000), ".")
    drawn = vector.html(figure, "many")
    assert drawn.startswith("<img")
    assert len(drawn) < 4 / 3 * vector.LARGEST


def test_exact_the_config_of_a_page_is_the_one_that_ran(tmp_path):
    config = configs.load(CONFIG, ['also=[{grid={size=[7]}, fixed={by="jax"}}]', 'title="A π"'])
    path = tmp_path / "again.toml"
    path.write_text(toml(config.model_dump(mode="json")))
    assert configs.load(path) == config


def test_exact_paragraphs_of_a_docstring(tmp_path):
    file = tmp_path / "a.py"
    file.write_text('"""One\nline?\n\nQuestion: two\nlines.\n\nMore.\n\nExpectation: none."""\n')
    assert docstring(file) == (
        "One line?",
        {"Question": "two lines. More.", "Expectation": "none."},
    )


def test_exact_verdicts_are_those_of_the_section_that_names_the_config(tmp_path):
    (tmp_path / "a.md").write_text(
        "# A\n\n`ntk-eoc run configs/whole.toml` repeats it.\n\n## One\n\nConfig `one`; n = 3.\n\n"
        "**Verdict: agrees.** Quite\nso.\n\nMore.\n\n## Two\n\n**Verdict: no.**\n\n## Three\n\n"
        "Config `three`.\n"
    )
    assert published(tmp_path) == {"one": ("a.md", "agrees. Quite so."), "whole": ("a.md", "no.")}


def test_bad_input_is_refused(folders, tmp_path):
    with pytest.raises(UserError, match="`--to` must be an .html file"):
        html_page.write([folders], tmp_path / "a.pdf")
    with pytest.raises(UserError, match="`--to` must be a file in an existing folder"):
        html_page.write([folders], tmp_path / "no" / "a.html")
    with pytest.raises(UserError, match="`dir` must be the folder of a run"):
        html_page.write([tmp_path], tmp_path / "a.html")
    with pytest.raises(UserError, match="`DIR` must be one folder"):
        html_page.write([], tmp_path / "a.html")
