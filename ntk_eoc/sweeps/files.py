"""Files written whole or not at all: under a temporary name, synced, then renamed."""

import contextlib
import errno
import hashlib
import os
import platform
import stat
import uuid
from functools import lru_cache
from pathlib import Path

OLD = 3600.0  # seconds; no file takes as long to write
TRIES = 3


def write_whole(path: Path, content: bytes | memoryview, through: Path | None = None) -> None:
    """Write a file so that at any moment there is the whole old one or the whole new one.

    Args:
        path: The file.
        content: All its bytes.
        through: Folder of the temporary name, on the same disk; the file's own by default.
    """
    folder = through or path.parent
    for left in reversed(range(TRIES)):
        temporary = folder / f"{'' if through else '.'}{path.name}.{_owner()}.{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            return
        except FileNotFoundError:  # removed by another version's run, say
            if not left or not folder.is_dir():
                raise
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file; of a pipe, say, nobody may ever write any.

    Raises:
        OSError: If it is no such file, or cannot be read.
    """

    def at_once(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    with open(path, "rb", opener=at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read()


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files in a folder of writers that have died.

    Those of processes of this machine that are no more; of others, only those that nobody has
    touched for an hour: locks do not tell, as some file systems have none.
    """
    probe = folder / f"now.{_owner()}.{uuid.uuid4().hex}"
    try:
        probe.touch()
        now = probe.stat().st_mtime  # by the clock of the disk
    finally:
        probe.unlink(missing_ok=True)
    for item in list(os.scandir(folder)):
        with contextlib.suppress(OSError):
            if _is_dead(item.name) or now - item.stat(follow_symlinks=False).st_mtime > OLD:
                os.unlink(item.path)


def _is_dead(name: str) -> bool:
    *_, machine, pid, _ = ["", "", *name.rsplit(".", 3)][-4:]
    if machine != _machine() or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _owner() -> str:
    return f"{_machine()}.{os.getpid()}"


@lru_cache(maxsize=1)
def _machine() -> str:
    """One word a running machine (or container): where a process number means one process."""
    words = [platform.node()]
    with contextlib.suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with contextlib.suppress(OSError):
        words.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
