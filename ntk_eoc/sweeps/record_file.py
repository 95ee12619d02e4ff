"""A record's file: written by `pack`, checked to the last byte by `read`.

A `.npz` that `numpy.load` reads, with the arrays and a member `meta.json`. Its ZIP comment, the
last bytes of the file, holds the SHA-256 of every byte before it.
"""

import hashlib
import io
import json
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ntk_eoc.sweeps.errors import DamagedError
from ntk_eoc.sweeps.identity import id_of

if TYPE_CHECKING:
    import numpy as np  # imported where arrays are: `status` starts without it

META = "meta.json"
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
               MemoryError, SyntaxError, TypeError, struct.error, zipfile.BadZipFile)  # fmt: skip
_SEAL = b"sha256="
_SEAL_LENGTH = len(_SEAL) + 64
_HEAD = 4096  # bytes that hold the metadata of most records
_LONGEST_META = 2**28
_LOCAL = struct.Struct("<4s5H3I2H")  # a ZIP member's own header
_IN_EXTRA = 0xFFFFFFFF  # in place of a size that 32 bits do not hold
_EPOCH = (1980, 1, 1, 0, 0, 0)  # ZIP's zero, so that equal records are equal files


def pack(meta: dict[str, Any], arrays: dict[str, "np.ndarray"]) -> bytes:
    """Return the bytes of a record file."""
    import numpy as np

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


def read(path: Path) -> tuple[dict[str, Any], dict[str, "np.ndarray"]]:
    """Return a record's metadata and arrays.

    Raises:
        DamagedError: If any byte of the file, or its name, is not as written.
    """
    meta, members = _open(path)
    try:
        return meta, {name.removesuffix(".npy"): _array(held) for name, held in members}
    except _UNREADABLE as error:
        raise DamagedError(f"an array cannot be read ({_told(error)})") from None


def peek(path: Path) -> dict[str, Any]:
    """Return a record's metadata unchecked, from the head of its file.

    Raises:
        DamagedError: If it is no record.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        head = os.read(handle, _HEAD)
        *_, size, name, extra = _LOCAL.unpack_from(head)
        begin = _LOCAL.size + name + extra
        while 0 < begin + size - len(head) <= _LONGEST_META:
            more = os.read(handle, begin + size - len(head))
            if not more:
                break
            head += more
        return dict(json.loads(head[begin : begin + size]))
    except (struct.error, ValueError, TypeError, RecursionError):
        raise DamagedError("it is cut short or is no record") from None
    finally:
        os.close(handle)


def read_meta(path: Path) -> dict[str, Any]:
    """Return a record's metadata, the whole file checked; errors as in `read`."""
    return _open(path)[0]


def _open(path: Path) -> tuple[dict[str, Any], list[tuple[str, memoryview]]]:
    """Metadata and the other members of a record, from one reading of its file."""
    data = path.read_bytes()
    body, seal = memoryview(data)[:-64], data[-64:]
    if len(data) < _SEAL_LENGTH or data[-_SEAL_LENGTH:-64] != _SEAL:
        raise DamagedError("it is cut short or is no record")
    if hashlib.sha256(body).hexdigest().encode() != seal:
        raise DamagedError("its checksum does not match")
    try:
        members = dict(_members(data))
        meta = json.loads(bytes(members.pop(META)))
    except _UNREADABLE as error:
        raise DamagedError(f"its metadata cannot be read ({_told(error)})") from None
    lacking = [name for name, kind in _HELD.items() if not _holds(meta, name, kind)]
    if lacking:
        raise DamagedError(f"its metadata lack {', '.join(lacking)}")
    if path.name != f"{meta['id']}.{meta['status']}.npz":
        raise DamagedError(f"it holds the record {meta['id']}.{meta['status']}")
    if id_of(meta["experiment"], meta["cell"]) != meta["id"]:
        raise DamagedError("it holds another cell than the one of its name")
    return meta, list(members.items())


def _members(data: bytes) -> Iterator[tuple[str, memoryview]]:
    """Name and bytes of each member of a ZIP archive as `pack` writes it: nothing compressed."""
    at, view = 0, memoryview(data)
    while data[at : at + 4] == b"PK\3\4":
        _, _, _, method, _, _, crc, size, _, name, extra = _LOCAL.unpack_from(data, at)
        begin = at + _LOCAL.size + name + extra
        if size == _IN_EXTRA:  # more than 2 GiB
            size = int.from_bytes(data[begin - extra + 4 : begin - extra + 12], "little")
        at = begin + size
        held = view[begin:at]
        if method != zipfile.ZIP_STORED or len(held) != size or zlib.crc32(held) != crc:
            raise zipfile.BadZipFile("a member is not as it was written")
        yield data[begin - extra - name : begin - extra].decode(), held


def _array(held: memoryview) -> "np.ndarray":
    """The array of a `.npy` member; equal headers, of which a run has few, are parsed once."""
    import numpy as np

    begin = 10 + int.from_bytes(held[8:10], "little")
    if bytes(held[6:8]) != b"\1\0":  # a long header
        return np.lib.format.read_array(io.BytesIO(held))
    shape, order, dtype = _header(bytes(held[:begin]))
    if dtype.hasobject or dtype.itemsize * math.prod(shape) != len(held) - begin:
        raise ValueError(f"{len(held) - begin} bytes are no array {shape} of {dtype}")
    return np.ndarray(shape, dtype, held, begin, order=order).copy(order="K")


@lru_cache(maxsize=256)
def _header(head: bytes) -> tuple[tuple[int, ...], Literal["F", "C"], "np.dtype"]:
    import numpy as np

    file = io.BytesIO(head)
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return shape, "F" if fortran else "C", dtype


def _holds(meta: Any, name: str, kind: Any) -> bool:
    return isinstance(meta, dict) and isinstance(meta.get(name), kind)


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
