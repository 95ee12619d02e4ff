"""A tutorial as a page: its cells run one after the other, with what they print and draw.

A tutorial is a Python file in the percent format that editors and Jupyter read: cells begin with
`# %%`, those of text with `# %% [markdown]`, every line of which is a comment.

    python website/executed.py TUTORIAL.py OUT.md      runs it and writes the page and its figures
"""

import ast
import contextlib
import io
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Block:
    """One cell: its text, and whether it is Markdown or code."""

    is_text: bool
    source: str


def cells(text: str) -> list[Block]:
    """Return the cells of a file in the percent format."""
    found = []
    for part in re.split(r"^# %%", text, flags=re.MULTILINE)[1:]:
        head, _, body = part.partition("\n")
        is_text = "[markdown]" in head
        if is_text:
            body = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        found.append(Block(is_text, body.strip("\n")))
    return found


def _run(source: str, room: dict[str, object], where: str) -> str:
    """Run a cell; return what it printed. Its last expression is printed too, if it is one."""
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if last is None:
            exec(compile(tree, where, "exec"), room)
        else:
            before = ast.Module(tree.body[:-1], [])
            exec(compile(before, where, "exec"), room)
            value = eval(compile(ast.Expression(last.value), where, "eval"), room)
            if value is not None and "matplotlib" not in type(value).__module__:
                print(repr(value))
    return printed.getvalue().rstrip()


def page(tutorial: Path, out: Path) -> None:
    """Run a tutorial and write OUT.md, with its figures beside it as SVG."""
    import matplotlib.pyplot as plt

    room: dict[str, object] = {"__name__": "__main__"}
    parts, figures = [], 0
    for block in cells(tutorial.read_text(encoding="utf-8")):
        if block.is_text:
            parts.append(block.source)
            continue
        printed = _run(block.source, room, str(tutorial))
        parts.append(f"```python\n{block.source}\n```")
        if printed:
            parts.append(f'```text title="prints"\n{printed}\n```')
        for number in plt.get_fignums():
            figures += 1
            file = out.with_name(f"{out.stem}_{figures}.svg")
            figure = plt.figure(number)
            figure.savefig(file, metadata={"Date": None, "Creator": None}, facecolor="white")
            words = "; ".join(f"{ax.get_ylabel()} against {ax.get_xlabel()}" for ax in figure.axes)
            parts.append(f"![{words}]({file.name}){{ .figure }}")
        plt.close("all")
    source = f"tutorials/{tutorial.name}"
    parts.append(f"*This page is [`{source}`]({tutorial.name}), run as it stands.*")
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        page(Path(sys.argv[1]), Path(sys.argv[2]))
    except Exception:
        traceback.print_exc()
        sys.exit(1)
