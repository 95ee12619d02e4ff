"""Ctrl-C and SIGTERM: an exception, and a flag for where somebody swallows the exception."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_asked = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block with `KeyboardInterrupt`, at the latest at its end.

    JAX drops what is raised while it calls back into Python; `check` raises it again. Outside of
    the main thread, where no signal arrives, nothing changes.
    """
    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, _ask) for number in numbers}
    try:
        yield
        check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def check() -> None:
    """Raise `KeyboardInterrupt` if the user has asked to stop."""
    if _asked.is_set():
        raise KeyboardInterrupt


def _ask(number: int, frame: FrameType | None) -> None:
    _asked.set()
    raise KeyboardInterrupt
