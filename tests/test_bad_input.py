"""Bad input ends with exit code 2, one line an error, no traceback and nothing written."""

import re

import bad_input
import pytest


@pytest.fixture(scope="module")
def seen():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", "")  # as it is: the command line would set it
        return bad_input.observe_all()


@pytest.mark.parametrize("case", bad_input.cases(), ids=lambda case: case.what)
def test_exact_bad_input_is_refused_in_one_line(case, seen):
    code, message, written = seen[case.what]
    lines = message.splitlines()
    assert code == 2
    assert lines
    assert all(line.startswith("error: ") for line in lines)
    assert "Traceback" not in message
    assert not written


def test_exact_each_case_stands_once():
    names = [case.what for case in bad_input.cases()]
    assert len(set(names)) == len(names) >= 60


def ours(page: str) -> list[str]:
    """The page's lines, without what Python and the libraries say there in their own words."""
    foreign = re.compile(r" \(.*| got: .*|Error: .*|(?<=error: )(?!.*must ).*")
    return [foreign.sub("", line) for line in page.splitlines()]


def test_exact_the_page_says_what_the_command_line_says(seen):
    page = bad_input.PAGE.read_text(encoding="utf-8")
    assert ours(page) == ours(bad_input.page(seen))
    assert sum("must" in line for line in ours(page)) >= 60
