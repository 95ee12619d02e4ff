"""What a page tells of a run: its question, what came out, and where every number is from."""

import ast
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ntk_eoc import user_code
from ntk_eoc.report import style, vector
from ntk_eoc.report.tables import Table
from ntk_eoc.report.verdicts import published
from ntk_eoc.sweeps import folder as folders
from ntk_eoc.sweeps import shipped
from ntk_eoc.sweeps.records import Record, Records, load
from ntk_eoc.sweeps.words import plain

MOST_FAILURES = 20


@dataclass
class Account:
    """One run, ready to be written down.

    Attributes:
        name: Of the folder, unique on the page.
        title: What the config calls the run.
        headline: First paragraph of the experiment's docstring.
        paragraphs: The further ones, by their first word: "Question", "Expectation".
        verdict: What the docs say of the full config, "" if they do not; see `verdicts`.
        counts: Cells by status, missing ones too.
        figures: Name → HTML.
        tables: Name → table.
        config: The whole config with all overrides, as TOML.
        provenance: What → value: versions, devices, code, seeds, seconds.
        failures: One line for each cell that failed, at most `MOST_FAILURES`.
        trouble: Why figures or tables could not be made; empty if they could.
    """

    name: str
    title: str
    headline: str = ""
    paragraphs: dict[str, str] = field(default_factory=dict)
    verdict: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    figures: dict[str, str] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
    config: str = ""
    provenance: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    trouble: str = ""


def account(folder: Path, name: str, trust: bool = False) -> Account:
    """Return what there is to tell of a run's folder.

    Args:
        folder: Of the run.
        name: Unique on the page.
        trust: Whether to run the code of an experiment that was never run on this account.

    Raises:
        UserError: If it is not the folder of a run, or its experiment cannot be loaded.
    """
    run = folders.read(folder)
    records, experiment = load(folder, trust)
    told = Account(name, plain(records.title or run.name, keep=""))
    told.headline, told.paragraphs = docstring(experiment.source)
    full = Path(run.config).stem.removesuffix("_small")
    told.verdict = " ".join(published(shipped.home() / "docs").get(full, ("", ""))[1:])
    told.counts = Counter(record.status for record in records)
    told.counts.update({"missing": records.missing} if records.missing else {})
    told.config = plain(toml(run.resolved))
    told.provenance = {w: plain(text, keep="") for w, text in provenance(run, records).items()}
    told.failures = [plain(_failure(one), keep="") for one in records.bad][:MOST_FAILURES]
    if not len(records.ok):
        told.trouble = "No cell has finished: there is nothing to draw."
        return told
    try:
        with style.context(), user_code.relative_to(experiment.base):
            drawn = experiment.draw(records)
            figures = drawn if isinstance(drawn, dict) else {"": drawn}
            for key, figure in figures.items():
                told.figures[key] = vector.html(figure, "-".join(filter(None, (name, key))))
            told.tables = dict(experiment.tables(records))
    except Exception as error:  # the experiment's own code: the page says it and goes on
        told.trouble = f"{type(error).__name__}: {error}"
    return told


def docstring(source: Path) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a file's docstring, and those that begin with "Word:"."""
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    first, *others = [" ".join(part.split()) for part in text.split("\n\n")]
    found: dict[str, str] = {}
    for paragraph in others:
        word, colon, rest = paragraph.partition(": ")
        if colon and word.isalpha():
            found[word] = rest
        elif found:
            found[next(reversed(found))] += f" {paragraph}"
        else:
            first = f"{first} {paragraph}"
    return first, found


def provenance(run: folders.Run, records: Records) -> dict[str, str]:
    """Return where the numbers of a run are from: what → value, in words."""
    metas = [record.meta for record in records]
    cells = [record.cell for record in records]
    rows = {
        "Command": str(run.provenance.get("command", "")),
        "Experiment": Path(str(run.provenance.get("source", run.experiment))).name,
        "Commit": str(run.provenance.get("commit", "")),
        "Code": _code(run),
        "Other code": records.mixture,
        "Versions": "; ".join(_listed(engine) for engine in run.engines),
        "Machines": "; ".join(sorted({_machine(meta.get("machine", {})) for meta in metas} - {""})),
        "Numbers": _several(cell.dtype for cell in cells),
        "Seeds": _seeds(cells),
        "Time": f"{sum(meta['seconds'] for meta in metas):,.0f} s of computing",
        "Written": " to ".join(sorted({min(w), max(w)})) if (w := _written(metas)) else "",
    }
    return {what: value for what, value in rows.items() if value}


def _code(run: folders.Run) -> str:
    names = ("experiment", "package")
    parts = [f"{name} {run.code[name][:12]}" for name in names if run.code.get(name)]
    parts += [f"{text} {digest[:12]}" for text, digest in run.code.get("files", {}).items()]
    return ", ".join(parts)


def _written(metas: list[dict[str, Any]]) -> list[str]:
    return [meta["written"] for meta in metas if meta.get("written")]


def _seeds(cells: list[Any]) -> str:
    drawn = sum(cell.seeds for cell in cells)
    roots = _several(cell.root_seed for cell in cells)
    return f"{drawn:,} draws from root seed {roots}" if drawn else "none: nothing is drawn"


def _machine(machine: dict[str, Any]) -> str:
    names = ("device", "cpus", "python", "numpy")
    return _listed({name: machine[name] for name in names if machine.get(name)})


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _several(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values))


def _failure(record: Record) -> str:
    fields = record.cell.model_dump(mode="json", exclude_defaults=True)
    return f"{record.status}: {_listed(fields)}. {record.meta.get('message', '')}"


def toml(table: dict[str, Any]) -> str:
    """Return a config as TOML; what is empty or None is left out."""
    first = {key: table[key] for key in ("experiment", "title") if key in table}
    kept = {k: value for k, value in (first | table).items() if value not in (None, "", [], {})}
    lines = [f"{key} = {_value(value)}" for key, value in kept.items() if _is_plain(value)]
    for key, value in kept.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]", *(f"{name} = {_value(v)}" for name, v in value.items())]
        elif not _is_plain(value):
            for one in value:
                inner = {name: v for name, v in one.items() if v not in (None, {})}
                lines += ["", f"[[{key}]]", *(f"{name} = {_value(v)}" for name, v in inner.items())]
    return "\n".join(lines) + "\n"


def _is_plain(value: Any) -> bool:
    tables = isinstance(value, list) and any(isinstance(one, dict) for one in value)
    return not isinstance(value, dict) and not tables


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(v)}" for key, v in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
