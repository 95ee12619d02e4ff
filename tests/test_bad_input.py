"""Bad input ends with exit code 2, one line an error, no traceback and nothing written."""

import re

import bad_input


def ours(page: str) -> list[str]:
    """The page's lines, without what Python and the libraries say there in their own words."""
    foreign = re.compile(r" \(.*| got: .*|Error: .*|(?<=error: )(?!.*must ).*")
    return [foreign.sub("", line) for line in page.splitlines()]


def test_exact_bad_input_is_refused_in_one_line(monkeypatch):
    # As one test: what the cases import takes longer than the cases.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")  # which the command line sets, for good
    seen = bad_input.observe_all()
    assert len(seen) == len(bad_input.cases()) >= 60
    for what, (code, message, written) in seen.items():
        assert code == 2, what
        assert message, what
        assert all(line.startswith("error: ") for line in message.splitlines()), what
        assert "Traceback" not in message, what
        assert not written, what
    told = bad_input.observe_python()
    assert all(told.values()), told
    page = bad_input.PAGE.read_text(encoding="utf-8")
    assert ours(page) == ours(bad_input.page(seen, told))
    assert sum("must" in line for line in ours(page)) >= 60
