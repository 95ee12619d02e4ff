"""The test room is stricter than the world: float64, no rank promotion, warnings are errors."""

import os
import signal

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotation of ours is checked at run time, shapes included.
install_import_hook("ntk_eoc", "typechecking.check")

MOST_MAPPINGS = 5_000  # of 65,530 that Linux allows; a file may add four times as many

settings.register_profile("here", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("here")


@pytest.fixture
def key():
    return jax.random.key(20261121)


def memory_mappings():
    try:
        with open("/proc/self/maps") as maps:
            return sum(1 for _ in maps)
    except OSError:  # not Linux: nobody knows
        return MOST_MAPPINGS


@pytest.fixture(autouse=True, scope="module")
def compiled_programs():
    """Forget compiled programs after a file, before they use up a process's memory mappings."""
    yield
    if memory_mappings() >= MOST_MAPPINGS:
        jax.clear_caches()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Spell letters of no encoding out: pytest sends what a test logs from process to process."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
