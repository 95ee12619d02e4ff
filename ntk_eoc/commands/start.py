"""How a command starts JAX, and how it ends on bad input."""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

THREADS, THREADS_A_CPU = 8, 4  # of one process with JAX, about
MOST_TRIED, STACK = 1000, 2**16
Flag = Annotated[bool, Parameter(show_default=False)]


def _whole(_: Any, tokens: Sequence[Any]) -> int:
    """An integer; cyclopts itself rounds 2.5 to 2."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"it must be an integer, got {tokens[0].value!r}.") from None


Whole = Annotated[int, Parameter(converter=_whole)]


def keep_compilations() -> None:
    """Set JAX's cache before JAX is imported, here and in the workers, which inherit it."""
    from ntk_eoc.sweeps.engine import compilation_cache

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache()))


def check_threads(processes: int = 1) -> None:
    """Refuse a limit on threads under which OpenBLAS and XLA abort in native code, with no line.

    Call it before NumPy is imported, which starts the first of them.
    """
    from ntk_eoc.sweeps.errors import UserError

    needed = processes * (THREADS + THREADS_A_CPU * (os.cpu_count() or 1))
    done, started = threading.Event(), list[threading.Thread]()
    before = threading.stack_size(STACK)  # the memory of each counts against `ulimit -v`
    try:
        for _ in range(min(needed, MOST_TRIED)):
            one = threading.Thread(target=done.wait, daemon=True)
            one.start()
            started.append(one)
    except RuntimeError:  # can't start new thread
        raise UserError(
            f"the limit on this account's threads (`ulimit -u`) must leave about {needed},"
            f" got {len(started)}."
        ) from None
    finally:
        threading.stack_size(before)
        done.set()
        for one in started:
            one.join()


@contextmanager
def numerical() -> Iterator[None]:
    """Compute inside this in float64, with what was compiled kept; bad input ends in one line."""
    from ntk_eoc.sweeps.errors import UserError

    keep_compilations()
    check_threads()
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(" ".join(str(error).split())) from error
