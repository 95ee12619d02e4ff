"""Ctrl-C, SIGTERM and their like: an exception, and a flag for where somebody swallows it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU)
_asked = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block with `KeyboardInterrupt`, at the latest at its end.

    So do a terminal that is closed, unless `nohup` has it ignored, and the limit on processor time.
    JAX drops what is raised while it calls back into Python; `check` raises it again. Outside of
    the main thread, where no signal arrives, nothing changes.
    """
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [number for number in _NUMBERS if number != signal.SIGHUP or not ignored]
    before = {number: signal.signal(number, _ask) for number in numbers}
    told, sys.unraisablehook = sys.unraisablehook, _unless_asked(sys.unraisablehook)
    try:
        yield
        check()
    finally:
        sys.unraisablehook = told
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _unless_asked(tell: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Tell of what is swallowed, but for the Ctrl-C that `check` raises again."""

    def hear(what: Any) -> None:
        if not issubclass(what.exc_type, KeyboardInterrupt):
            tell(what)

    return hear


def check() -> None:
    """Raise `KeyboardInterrupt` if the user has asked to stop."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _ask(number: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
