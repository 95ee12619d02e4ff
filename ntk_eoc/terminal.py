"""What the command line prints, and how it ends."""

import errno
import inspect
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from cyclopts import App, CycloptsError, MissingArgumentError

log: logging.Logger = logging.getLogger("ntk_eoc")


def main(app: App) -> None:
    """Run a command line: exit code 2 and one line for what the user can put right."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may not know every letter
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if not log.handlers:
        handler = _Stderr()
        handler.setLevel(logging.WARNING)
        handler.setFormatter(_Plain("%(message)s"))
        log.addHandler(handler)
    try:
        with _no_silent_end():
            app(sys.argv[1:], exit_on_error=False, print_error=False)
    except MissingArgumentError as error:
        leave(2, f"error: {_missing(error)}")
    except CycloptsError as error:
        leave(2, f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        leave(130, "stopped.")
    except BrokenPipeError:  # the reader of our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        _exit_for(error)


def _missing(error: MissingArgumentError) -> str:
    """What a command lacks: a flag its value, or the words that it must have, all of them."""
    assert error.argument is not None
    asked = error.keyword or next((t.keyword for t in error.argument.tokens if t.keyword), None)
    if asked or error.target is None:
        return f"`{asked or error.argument.name}` must have a value."
    words = ["ntk-eoc", *(error.command_chain or ())]
    for one in inspect.signature(error.target).parameters.values():
        if one.kind is one.VAR_POSITIONAL:
            words.append(f"{one.name.upper()} …")
        elif one.default is one.empty:
            flag = f"--{one.name} " if one.kind is one.KEYWORD_ONLY else ""
            words.append(f"{flag}{one.name.upper()}")
    return f"`{error.argument.name.lstrip('-')}` must be given: {' '.join(words)}."


@contextmanager
def _no_silent_end() -> Iterator[None]:
    """Make `os._exit` of the user's code an exception: it would end the command without a word."""
    real, here = os._exit, os.getpid()

    def leave_loudly(status: int) -> NoReturn:
        main_thread = threading.current_thread() is threading.main_thread()
        if os.getpid() == here and main_thread:
            raise SystemExit(status)
        real(status)

    os._exit = leave_loudly
    try:
        yield
    finally:
        os._exit = real


def _exit_for(error: Exception) -> NoReturn:
    from ntk_eoc.sweeps.errors import StoppedError, UserError

    if isinstance(error, UserError):
        leave(2, "\n".join(f"error: {line}" for line in str(error).splitlines()))
    if isinstance(error, StoppedError):
        leave(1, f"stopped: {error}")
    if isinstance(error, MemoryError) or _lacks_memory(error):
        leave(1, "stopped: there is not enough memory, or a limit (`ulimit -a`) is too small.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        leave(1, f"stopped: the disk is full{_of(error)}; every file is whole, old or new.")
    if isinstance(error, OSError):
        leave(2, f"error: {error.strerror or error}{_of(error)}.")
    library = _importing(error)
    if library:
        told = " ".join(str(error).split())
        leave(2, f"error: {library} cannot be imported: {type(error).__name__}: {told}.")
    raise error


def _importing(error: Exception) -> str:
    """The installed library, if any, whose import an error ended: for a variable of its, say."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        _, installed, inside = code.co_filename.rpartition("site-packages" + os.sep)
        if code.co_name == "<module>" and installed:
            return Path(inside).parts[0]
        trace = trace.tb_next
    return ""


def _lacks_memory(error: BaseException | None) -> bool:
    """Say whether a library could not be loaded, or a thread not be started, for lack of memory."""
    words = ("failed to map segment", "cannot allocate memory", "can't start new thread")
    while error is not None:
        if any(word in str(error).lower() for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False


def _of(error: OSError) -> str:
    return f": '{error.filename}'" if error.filename else ""


def leave(code: int, line: str) -> NoReturn:
    """End with an exit code and a line on standard error."""
    say(line, sys.stderr)
    sys.exit(code)


def say(text: str, to: Any = None) -> None:
    """Print, control characters escaped: names and titles come from anywhere."""
    from ntk_eoc.sweeps.words import plain

    stream = to or sys.stdout
    if not getattr(stream, "closed", False):  # by the user's code, say
        print(plain(text), file=stream, flush=True)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from ntk_eoc.sweeps.words import plain

        return plain(super().format(record))


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the present `sys.stderr`, which a progress bar replaces while it runs."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass
