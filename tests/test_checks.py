import pytest

from ntk_eoc.checks import require_count, require_number, unknown_name


def test_exact_messages_follow_one_grammar():
    assert require_count("depth", 3) == 3
    with pytest.raises(ValueError, match=r"^`depth` must be >= 1, got 0\.$"):
        require_count("depth", 0)
    with pytest.raises(TypeError, match=r"^`depth` must be an integer >= 1, got 2\.5\.$"):
        require_count("depth", 2.5)
    with pytest.raises(ValueError, match=r"^`depth` must be >= 1, got True\.$"):
        require_count("depth", True)
    with pytest.raises(ValueError, match=r"^`q` must be a finite number, got inf\.$"):
        require_number("q", float("inf"))
    with pytest.raises(TypeError, match=r"^`q` must be a finite number, got 'x'\.$"):
        require_number("q", "x")
    assert unknown_name("data", "digts", ["digits", "sphere"]) == (
        "`data` must be one of digits, sphere, got 'digts'. Did you mean 'digits'?"
    )
    assert "Did you mean" not in unknown_name("data", "zzz", ["digits"])
