"""What the README shows is run."""

import doctest
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_exact_readme():
    result = doctest.testfile(str(README), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0
