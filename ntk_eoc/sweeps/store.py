"""The store: one file a record, written whole or not at all, checked to the last byte.

A record is a `.npz` that `numpy.load` reads, with the arrays and a member `meta.json`. Its ZIP
comment, the last bytes of the file, holds the SHA-256 of every byte before it. The name is
`<cell id>.<status>.npz`, so that a listing alone says what is done.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import struct
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ntk_eoc.sweeps.errors import DamagedError
from ntk_eoc.sweeps.files import clear_leftovers, write_whole
from ntk_eoc.sweeps.identity import id_of

STATUSES = ("ok", "non-finite", "out-of-memory", "failed")
META = "meta.json"
_NAME = re.compile(rf"([0-9a-f]{{20}})\.({'|'.join(STATUSES)})\.npz")
_HELD = {
    "id": str,
    "experiment": str,
    "cell": dict,
    "status": str,
    "message": str,
    "seconds": int | float,
    "engine": dict,
}
_UNREADABLE = (ValueError, KeyError, EOFError, OSError, NotImplementedError, RecursionError,
               MemoryError, SyntaxError, zipfile.BadZipFile)  # fmt: skip
_SEAL = b"sha256="
_SEAL_LENGTH = len(_SEAL) + 64
_HEAD = 4096  # bytes that hold the metadata of most records
_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's zero, so that equal records are equal files


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
        self.cells = folder / "cells"
        self.damaged = folder / "damaged"
        self.aside = folder / "aside"
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

    def read(self, entry: Entry) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return a cell's record as `read` does, also where another has replaced the one listed.

        Raises:
            DamagedError, OSError: As of `read`.
        """
        for one in (entry, *self.find(entry.id)):
            with contextlib.suppress(FileNotFoundError):
                return read(one.path)
        raise FileNotFoundError(f"'{entry.path}' is gone")

    def has(self, id_: str, statuses: tuple[str, ...] = STATUSES) -> bool:
        """Say whether a record of the cell with one of the statuses is there."""
        return any(self._path(id_, status).is_file() for status in statuses)

    def write(self, meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> Path:
        """Write a record: a temporary name, fsync, rename; then drop the cell's older records."""
        path = self._path(meta["id"], meta["status"])
        write_whole(path, pack(meta, arrays), through=self.folder / "tmp")
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


def pack(meta: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """Return the bytes of a record file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(META, _EPOCH), json.dumps(meta, sort_keys=True))
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), member.getvalue())
        archive.comment = _SEAL + b"0" * 64
    body = buffer.getvalue()[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a record's metadata and arrays.

    Raises:
        DamagedError: If any byte of the file, or its name, is not as written.
    """
    meta, archive = _open(path)
    arrays = {}
    try:
        for member in archive.namelist():
            if member != META:
                content = io.BytesIO(archive.read(member))
                arrays[member.removesuffix(".npy")] = np.lib.format.read_array(content)
    except _UNREADABLE as error:
        raise DamagedError(f"an array cannot be read ({_told(error)})") from None
    return meta, arrays


def peek(path: Path) -> dict[str, Any]:
    """Return a record's metadata unchecked, from the head of its file.

    Raises:
        DamagedError: If it is no record.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        try:
            *_, size, name, extra = struct.unpack("<4s5H3I2H", head[:30])
            begin = 30 + name + extra
            body = head[begin:] + file.read(max(0, begin + size - len(head)))
            return dict(json.loads(body[:size]))
        except (struct.error, ValueError, TypeError):
            raise DamagedError("it is cut short or is no record") from None


def read_meta(path: Path) -> dict[str, Any]:
    """Return a record's metadata, the whole file checked; errors as in `read`."""
    return _open(path)[0]


def _open(path: Path) -> tuple[dict[str, Any], zipfile.ZipFile]:
    data = path.read_bytes()
    body, seal = data[:-64], data[-64:]
    if len(data) < _SEAL_LENGTH or not body.endswith(_SEAL):
        raise DamagedError("it is cut short or is no record")
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise DamagedError("its checksum does not match")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        meta = json.loads(archive.read(META))
    except _UNREADABLE as error:
        raise DamagedError(f"its metadata cannot be read ({_told(error)})") from None
    lacking = [name for name, kind in _HELD.items() if not _holds(meta, name, kind)]
    if lacking:
        raise DamagedError(f"its metadata lack {', '.join(lacking)}")
    if path.name != f"{meta['id']}.{meta['status']}.npz":
        raise DamagedError(f"it holds the record {meta['id']}.{meta['status']}")
    if id_of(meta["experiment"], meta["cell"]) != meta["id"]:
        raise DamagedError("it holds another cell than the one of its name")
    return meta, archive


def _holds(meta: Any, name: str, kind: Any) -> bool:
    return isinstance(meta, dict) and isinstance(meta.get(name), kind)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
