"""What a cell is called: a hash of the experiment's name and of all the cell holds."""

import hashlib
import json
from typing import Any


def digest(value: Any) -> bytes:
    """Return the SHA-256 of a JSON value's canonical text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).digest()


def id_of(experiment: str, fields: dict[str, Any]) -> str:
    """Return a cell's id, 20 hexadecimal digits, from its fields as plain JSON data."""
    return digest({"experiment": experiment, "cell": fields}).hex()[:20]
