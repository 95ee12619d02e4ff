"""A page of runs: one HTML file with everything in it, that opens anywhere without a network."""

import string
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from ntk_eoc.report.account import MOST_FAILURES, Account, account
from ntk_eoc.report.tables import Table, shown
from ntk_eoc.report.vector import plain
from ntk_eoc.sweeps import folder as folders
from ntk_eoc.sweeps.errors import UserError
from ntk_eoc.sweeps.files import write_whole

UNFOLDED = 3  # a page of more runs than that begins folded


def write(dirs: Sequence[Path], to: Path, title: str = "", trust: bool = False) -> Path:
    """Write the page of runs and return its path.

    Args:
        dirs: Folders of runs, or folders that hold such folders.
        to: The file, .html.
        title: Of the page; says how many runs it has unless given.
        trust: Whether to run the code of experiments that were never run on this account.

    Raises:
        UserError: If a folder is not a run's, or the file cannot be written.
    """
    if to.suffix != ".html":
        raise UserError(f"`--to` must be an .html file, got '{to}'.")
    if not to.parent.is_dir():
        raise UserError(f"`--to` must be a file in an existing folder, got '{to}'.")
    accounts = [account(folder, name, trust) for name, folder in _named(dirs)]
    write_whole(to, page(accounts, title).encode(errors="backslashreplace"))
    return to


def page(accounts: Sequence[Account], title: str = "") -> str:
    """Return the page of accounts as HTML."""
    count = len(accounts)
    title = title or (accounts[0].title if count == 1 else f"{count} runs of ntk_eoc")
    written = sorted(a.provenance["Written"] for a in accounts if "Written" in a.provenance)
    until = f"; the last cell was computed on {written[-1][-20:-10]}" if written else ""
    several = f"{count} run{'s' if count != 1 else ''}"
    template = string.Template(
        files("ntk_eoc.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.substitute(
        title=escape(plain(title)),
        subtitle=escape(f"{several}, {_total(accounts)}{until}. Figures and tables are drawn from "
                        "the stored records alone."),
        contents="\n".join(_row(one) for one in accounts),
        runs="\n".join(_run(one, count <= UNFOLDED) for one in accounts),
    )  # fmt: skip


def _named(dirs: Sequence[Path]) -> list[tuple[str, Path]]:
    """The folders of runs, each with a name of its own."""
    found: list[Path] = []
    for folder in dirs:
        inner = sorted(path.parent for path in folder.glob(f"*/{folders.FILE}"))
        found += [folder] if (folder / folders.FILE).exists() or not inner else inner
    if not found:
        raise UserError("`DIR` must be one folder of a run or more, got none.")
    named: dict[str, Path] = {}
    for folder in dict.fromkeys(path.resolve() for path in found):
        word = "".join(c if c.isalnum() or c in "_-" else "_" for c in folder.name)
        again = sum(name.partition(".")[0] == word for name in named)
        named[f"{word}.{again + 1}" if again else word] = folder
    return list(named.items())


def _total(accounts: Sequence[Account]) -> str:
    cells = sum(sum(one.counts.values()) for one in accounts)
    good = sum(one.counts["ok"] for one in accounts)
    return f"{cells:,} cells, all computed" if good == cells else f"{good:,} of {cells:,} cells"


def _cells(told: Account) -> str:
    """How many cells are there, and what is the matter with the others."""
    bad = {status: n for status, n in told.counts.items() if status != "ok" and n}
    if not bad:
        return f'<span class="good">{told.counts["ok"]:,} ok</span>'
    others = ", ".join(f"{n:,} {escape(status)}" for status, n in bad.items())
    return f'{told.counts["ok"]:,} ok, <span class="bad">{others}</span>'


def _row(told: Account) -> str:
    link = f'<a href="#{told.name}">{escape(plain(told.title))}</a>'
    return (
        f'<tr data-run="{told.name}"><td>{link}</td>'
        f"<td>{_cells(told)}</td><td>{escape(told.headline)}</td></tr>"
    )


def _run(told: Account, unfolded: bool) -> str:
    words = [("Verdict of the full config", told.verdict)] if told.verdict else []
    texts = "".join(
        f"<p><strong>{escape(word)}.</strong> {escape(text)}</p>"
        for word, text in (*told.paragraphs.items(), *words)
    )
    parts = [texts, _trouble(told), _figures(told)]
    parts += [_table(key, table) for key, table in told.tables.items()]
    parts += [_failures(told), "<h3>Config</h3>", _pre(told.config, f"Config of {told.name}")]
    rows = "".join(
        f"<dt>{escape(what)}</dt><dd>{escape(value)}</dd>"
        for what, value in told.provenance.items()
    )
    parts += [f"<h3>Where the numbers are from</h3><dl>{rows}</dl>"]
    return (
        f'<details class="run" id="{told.name}"{" open" if unfolded else ""}>'
        f"<summary><h2>{escape(plain(told.title))}</h2>"
        f'<p class="soft">{escape(told.headline)} ({_cells(told)})</p></summary>'
        f'<div class="inside">{"".join(parts)}</div></details>'
    )


def _trouble(told: Account) -> str:
    return f'<p class="bad" role="alert">{escape(told.trouble)}</p>' if told.trouble else ""


def _figures(told: Account) -> str:
    return "".join(
        f"<figure>{drawing}<figcaption>{escape(_caption(told, key))}</figcaption></figure>"
        for key, drawing in told.figures.items()
    )


def _caption(told: Account, key: str) -> str:
    return ": ".join(filter(None, (plain(told.title), key.replace("_", " "))))


def _table(key: str, table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(plain(name))}</th>' for name in table.columns)
    rows = "".join(
        "<tr>"
        + "".join(f"<td>{escape(plain(shown(cell, table.digits)))}</td>" for cell in row)
        + "</tr>"
        for row in table.rows
    )
    name = f"<h3>{escape(key.replace('_', ' ').capitalize() or 'Table')}</h3>"
    return (
        f'{name}<div class="wide" tabindex="0" role="region" aria-label="Table {escape(key)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _failures(told: Account) -> str:
    if not told.failures:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in told.failures)
    count = sum(n for status, n in told.counts.items() if status not in ("ok", "missing"))
    more = f"<p>and {count - MOST_FAILURES} more</p>" if count > MOST_FAILURES else ""
    return f"<h3>What failed</h3><ul>{lines}</ul>{more}"


def _pre(text: str, label: str) -> str:
    return f'<pre tabindex="0" aria-label="{escape(label)}"><code>{escape(text)}</code></pre>'
