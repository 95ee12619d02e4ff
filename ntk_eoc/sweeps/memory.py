"""How much memory a sweep may take of this machine."""

import os


def host_memory() -> float:
    """Return four fifths of this machine's memory, in bytes."""
    return 0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
