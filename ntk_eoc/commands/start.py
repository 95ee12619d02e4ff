"""How a command starts JAX, and how it ends on bad input."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

Flag = Annotated[bool, Parameter(show_default=False)]


def keep_compilations() -> None:
    """Set JAX's cache before JAX is imported, here and in the workers, which inherit it."""
    from ntk_eoc.sweeps.engine import compilation_cache

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache()))


@contextmanager
def numerical() -> Iterator[None]:
    """Compute inside this in float64, with what was compiled kept; bad input ends in one line."""
    from ntk_eoc.sweeps.errors import UserError

    keep_compilations()
    import jax

    jax.config.update("jax_enable_x64", True)
    try:
        yield
    except (ValueError, TypeError) as error:
        raise UserError(" ".join(str(error).split())) from error
