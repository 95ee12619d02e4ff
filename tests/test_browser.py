"""What is made for the eyes, opened in a real browser. Without one these tests say so and skip."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import browser
import pytest
import small_sweep
from small_sweep import CONFIG

from ntk_eoc.report import html_page
from ntk_eoc.sweeps.runner import Options, run

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        browser.program() is None,
        reason="needs a browser: apt-get install chromium (or Chrome on the PATH)",
    ),
]
PALE = """
(() => {  // texts with less contrast than WCAG AA asks for: 4.5, or 3 if large
  const rgba = c => { const n = c.match(/[\\d.]+/g).map(Number); n[3] ??= 1; return n; };
  const over = (top, under) => [0, 1, 2].map(i => top[i] * top[3] + under[i] * (1 - top[3]));
  const above = e => { const all = []; for (; e; e = e.parentElement) all.push(e); return all; };
  const light = c => { const [r, g, b] = c.map(v => { v /= 255;
      return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b; };
  const found = new Set(), texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, text = texts.currentNode.textContent.trim();
    if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
    const style = getComputedStyle(e), chain = above(e);
    const paper = chain.map(p => rgba(getComputedStyle(p).backgroundColor))
      .reduceRight((under, top) => over(top, under), [255, 255, 255]);
    const [r, g, b, alpha] = rgba(style.color);
    const seen = chain.reduce((o, p) => o * getComputedStyle(p).opacity, alpha);
    const [low, high] = [light(over([r, g, b, seen], paper)), light(paper)].sort((x, y) => x - y);
    const size = parseFloat(style.fontSize), bold = style.fontWeight >= 700;
    const large = size >= 24 || (bold && size >= 18.66), contrast = (high + .05) / (low + .05);
    if (contrast < (large ? 3 : 4.5)) found.add(`${contrast.toFixed(2)} ${text.slice(0, 30)}`); }
  return [...found]; })()
"""


@pytest.fixture(scope="module")
def tab():
    with browser.Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    home = tmp_path_factory.mktemp("out")
    run(Options(CONFIG, home / "good"))
    run(Options(CONFIG, home / "bad", ('fixed.behaviour="raise"', "grid.size=[2]")))
    run(Options(CONFIG, home / "other", ("grid.size=[4]",)))
    run(Options(CONFIG, home / "fourth", ("grid.size=[6]", 'title="Number four"')))
    return html_page.write([home], home / "report.html").as_uri()


@pytest.mark.parametrize("wide", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_exact_the_report_is_readable_anywhere(tab, report, wide, dark):
    tab.open(report, wide, dark=dark)
    tab.evaluate("document.getElementById('unfold').click()")
    assert tab.errors == []
    assert tab.asked_elsewhere("file://") == []
    assert [url for url in tab.requests if url.startswith("file://")][-1] == report
    assert tab.evaluate("document.documentElement.scrollWidth") <= wide
    assert tab.evaluate(PALE) == []
    dark_paper = "rgb(13, 17, 23)"
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == dark_paper) is dark
    sizes = (
        "[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().height)"
    )
    assert len(tab.evaluate(sizes)) == 3
    assert min(tab.evaluate(sizes)) > 100


def test_exact_search_and_fold_by_the_keyboard(tab, report):
    tab.open(report)
    hidden = "[...document.querySelectorAll('details.run')].filter(d => d.hidden).length"
    assert tab.evaluate(hidden) == 0
    assert tab.evaluate("document.querySelectorAll('details[open]').length") == 0
    tab.press("/", "/")
    assert tab.evaluate("document.activeElement.id") == "find"
    for letter in "four":
        tab.press(letter, letter)
    assert tab.evaluate(hidden) == 3
    assert tab.evaluate("document.getElementById('found').textContent") == "1 of 4 runs"
    tab.press("Escape")
    assert tab.evaluate(hidden) == 0
    tab.evaluate("document.querySelector('#fourth summary').focus()")
    tab.press("Enter", "\r")
    assert tab.evaluate("document.getElementById('fourth').open")
    tab.evaluate("location.hash = 'bad'")
    tab.wait_for("document.getElementById('bad').open")
    assert tab.errors == []


SITE = Path(__file__).parent.parent / "out" / "site"
PAGES = (
    "index.html",
    "theory.html",
    "gallery.html",
    "reference.html",
    "tutorials/predict_my_training.html",
)


@pytest.mark.skipif(not (SITE / "index.html").exists(), reason="needs the site: make docs")
@pytest.mark.parametrize("wide", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_exact_the_site_opens_from_disk(wide, dark):
    with browser.Browser() as tab:  # the site remembers light or dark; a new one has no memory
        for name in PAGES:
            tab.open((SITE / name).as_uri(), wide, dark=dark)
            assert tab.evaluate("document.documentElement.scrollWidth") <= wide, name
            scheme = tab.evaluate("document.body.dataset.mdColorScheme")
            assert scheme == ("slate" if dark else "default")
            broken = (
                "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
            )
            assert tab.evaluate(broken) == []
            words = "[...document.querySelectorAll('article img')].filter(i => !i.alt).length"
            assert tab.evaluate(words) == 0
            assert tab.evaluate(PALE) == [], name
        tab.open((SITE / "theory.html").as_uri(), wide, dark=dark)
        heights = (
            "[...document.querySelectorAll('math')].map(m => m.getBoundingClientRect().height)"
        )
        assert len(tab.evaluate(heights)) > 100
        assert tab.errors == []
        assert tab.asked_elsewhere("file://") == []


@pytest.mark.skipif(not (SITE / "index.html").exists(), reason="needs the site: make docs")
def test_exact_the_site_is_searched_from_disk(tab):
    tab.open((SITE / "index.html").as_uri())
    tab.evaluate("document.querySelector('[data-md-component=search-query]').focus()")
    for letter in "sampler":
        tab.press(letter, letter)
    tab.wait_for("document.querySelectorAll('.md-search-result__item').length > 0", 20)
    assert tab.errors == []


@pytest.fixture
def explorer(tmp_path):
    """The address of a running `ntk-eoc explore`."""
    pytest.importorskip("marimo")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ntk_eoc", "explore", "--headless", "--port", str(port)]
    environment = small_sweep.ENVIRONMENT | {"HOME": str(tmp_path)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/"
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        with contextlib.suppress(OSError), urllib.request.urlopen(address):
            break
        time.sleep(0.2)
    yield address
    server.terminate()
    server.wait(20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wide", "dark"), [(1280, False), (390, True)], ids=["light-desktop", "dark-phone"]
)
def test_exact_a_slider_moves_the_panels_of_explore(explorer, wide, dark):
    words = "[...document.querySelectorAll('figure svg')].map(s => s.ariaLabel).join()"
    sliders = "[...document.querySelectorAll('marimo-slider')]"
    with browser.Browser() as tab:
        tab.open(explorer, wide, dark=dark)
        tab.wait_for("document.querySelectorAll('figure svg').length === 6", 120)
        assert tab.evaluate("document.body.classList.contains('dark')") is dark
        assert "m = 64" in tab.evaluate(words)
        tab.evaluate(f"{sliders}[3].shadowRoot.querySelector('[role=slider]').focus()")
        tab.press("ArrowRight")
        tab.wait_for(f"{words}.includes('m = 128')", 60)
        assert tab.evaluate("document.documentElement.scrollWidth") <= wide
        assert tab.errors == []
        assert tab.asked_elsewhere(explorer, explorer.replace("http", "ws")) == []
