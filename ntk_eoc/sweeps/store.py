"""The store: one file a record, written whole or not at all, checked to the last byte.

A record (`record_file`) is named `<cell id>.<status>.npz`, so that a listing alone says what is
done.
"""

import contextlib
import fcntl
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntk_eoc.sweeps import record_file
from ntk_eoc.sweeps.files import clear_leftovers, write_whole

if TYPE_CHECKING:
    import numpy as np

STATUSES = ("ok", "non-finite", "out-of-memory", "failed")
_NAME = re.compile(rf"([0-9a-f]{{20}})\.({'|'.join(STATUSES)})\.npz")


@dataclass(frozen=True)
class Entry:
    """One record file in a listing."""

    id: str
    status: str
    path: Path
    seconds: float
    """When it was written, in seconds since 1970."""


class Store:
    """The records in one folder; any number of processes may write to it at once.

    A writer claims a cell by locking one byte of the file `.claims`. The kernel drops the lock
    when the process ends, however it ends: nothing is left behind that blocks a later run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cells: Path = folder / "cells"
        self.damaged: Path = folder / "damaged"
        self.aside: Path = folder / "aside"
        """Of sound records that do not count: by other code or by another engine."""
        self._claims: int | None = None

    def create(self) -> None:
        """Make the folders."""
        self.cells.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)

    def entries(self) -> dict[str, Entry]:
        """Return the record files by cell id, from the listing alone; the best status first."""
        found: dict[str, Entry] = {}
        gone: list[str] = []
        if not self.cells.is_dir():
            return found
        with os.scandir(self.cells) as listing:
            for item in listing:
                named = _NAME.fullmatch(item.name)
                if named is None:  # a file of the system's, say
                    continue
                id_, status = named.groups()
                try:
                    if item.is_file():
                        entry = Entry(id_, status, Path(item.path), item.stat().st_mtime)
                        _keep_best(found, entry)
                except OSError:
                    gone.append(id_)
        for id_ in gone:  # replaced while the folder was listed: by a record of another status
            for entry in self.find(id_):
                _keep_best(found, entry)
        return found

    def find(self, id_: str) -> list[Entry]:
        """Return the records of one cell that are there now, the best status first."""
        found = []
        for status in STATUSES:
            path = self._path(id_, status)
            with contextlib.suppress(OSError):
                found.append(Entry(id_, status, path, path.stat().st_mtime))
        return found

    def read(self, entry: Entry) -> tuple[dict[str, Any], dict[str, "np.ndarray"]]:
        """Return a cell's record as `read` does, also where another has replaced the one listed.

        Raises:
            DamagedError, OSError: As of `read`.
        """
        with contextlib.suppress(FileNotFoundError):
            return record_file.read(entry.path)
        for one in self.find(entry.id):
            with contextlib.suppress(FileNotFoundError):
                return record_file.read(one.path)
        raise FileNotFoundError(f"'{entry.path}' is gone")

    def has(self, id_: str, statuses: tuple[str, ...] = STATUSES) -> bool:
        """Say whether a record of the cell with one of the statuses is there."""
        return any(self._path(id_, status).is_file() for status in statuses)

    def write(self, meta: dict[str, Any], arrays: dict[str, "np.ndarray"]) -> Path:
        """Write a record: a temporary name, fsync, rename; then drop the cell's older records."""
        path = self._path(meta["id"], meta["status"])
        write_whole(path, record_file.pack(meta, arrays), through=self.folder / "tmp")
        for status in STATUSES:
            if status != meta["status"]:
                self._path(meta["id"], status).unlink(missing_ok=True)
        return path

    def set_aside(self, path: Path, to: Path) -> None:
        """Move a file that does not count to another folder, unless another run has."""
        to.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.rename(to / f"{path.name}.{uuid.uuid4().hex[:8]}")

    def claim(self, id_: str) -> bool:
        """Claim a cell for this process; False if another process holds it."""
        try:
            if self._claims is None:
                self._claims = os.open(self.folder / ".claims", os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.lockf(self._claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(id_[:12], 16))
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: two sweeps may compute a cell twice, to the same bits.
            return True
        return True

    def release(self, id_: str) -> None:
        """Give a claimed cell back."""
        if self._claims is not None:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._claims, fcntl.LOCK_UN, 1, int(id_[:12], 16))

    def clear_leftovers(self) -> None:
        """Remove temporary files of writers that were killed."""
        clear_leftovers(self.folder / "tmp")

    def settle(self) -> None:
        """Ask the disk to keep the names of the records, too (their contents it has)."""
        handle = os.open(self.cells, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _path(self, id_: str, status: str) -> Path:
        return self.cells / f"{id_}.{status}.npz"


def _keep_best(found: dict[str, Entry], entry: Entry) -> None:
    held = found.get(entry.id)
    if held is None or STATUSES.index(entry.status) < STATUSES.index(held.status):
        found[entry.id] = entry
