"""Formulas as MathML, made while the site is built: no script and no font is fetched."""

import html as html_module
import re
from functools import lru_cache
from typing import Any

from latex2mathml.converter import convert

_INLINE = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


@lru_cache(maxsize=4096)
def mathml(latex: str, display: str = "inline") -> str:
    """Return a formula as MathML; the source stays in it for those who copy."""
    # The converter knows the numbered and starred environments, not those within a formula.
    known = latex.replace("{aligned}", "{align*}")
    return convert(" ".join(known.split()), display=display)


def fence(source: str, *_: Any, **__: Any) -> str:
    """Return a block of the language `math` as a displayed formula."""
    return f'<div class="formula">{mathml(source, "block")}</div>'


def inline(page: str) -> str:
    """Return a page with the formulas that `pymdownx.arithmatex` found in it as MathML."""

    def made(match: re.Match[str]) -> str:
        latex = html_module.unescape(match[2])
        if match[1] == "div":
            return f'<div class="formula">{mathml(latex, "block")}</div>'
        return mathml(latex)

    return _INLINE.sub(made, page)
