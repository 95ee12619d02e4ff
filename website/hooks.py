"""What the site has beside the pages of `docs/`: formulas, tutorials, gallery and reference.

MkDocs calls these functions while it builds.
"""

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import formulas  # noqa: E402
import gallery  # noqa: E402
import reference  # noqa: E402

import tutorials  # noqa: E402


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Have fences of the language `math` become formulas."""
    fence = {"name": "math", "class": "math", "format": formulas.fence}
    config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files they lead to."""
    made: dict[str, Path | str] = {
        "site.css": HERE / "site.css",
        "assets/iframe-worker.js": HERE / "iframe-worker.js",
        **tutorials.pages(ROOT),
        **gallery.pages(ROOT),
        "reference.md": reference.page(),
        "cite.md": _cite(),
    }
    for uri, source in made.items():
        if isinstance(source, Path):
            files.append(File.generated(config, uri, abs_src_path=str(source)))
        else:
            files.append(File.generated(config, uri, content=source))
    return files


def on_page_content(html: str, **_: object) -> str:
    """Turn the formulas within the lines into MathML, which browsers draw by themselves."""
    return formulas.inline(html)


def _cite() -> str:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    return (
        "# How to cite\n\nPlease cite the software and the papers whose claims it measures. The"
        f" file `CITATION.cff` has it all:\n\n```yaml\n{text}```\n"
    )
