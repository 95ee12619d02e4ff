"""A user's own code: how it is named and loaded, and what of it a result rests on."""

from ntk_eoc.user_code.loader import (
    base,
    find_file,
    fingerprint,
    is_reference,
    load,
    module,
    relative_to,
)

__all__ = ["base", "find_file", "fingerprint", "is_reference", "load", "module", "relative_to"]
