"""The gallery: every figure of the results with its question, its config and its verdict."""

import tomllib
from pathlib import Path

from PIL import Image

from ntk_eoc.report.account import docstring
from ntk_eoc.report.verdicts import published

WIDE = 640  # pixels of a thumbnail
TITLES = {
    "concentration.md": "Concentration",
    "spectrum.md": "Spectrum",
    "quadratic_scaling.md": "Quadratic scaling",
    "training.md": "Training",
    "activations.md": "Activations",
}


def pages(root: Path) -> dict[str, Path | str]:
    """Return the gallery's page, its thumbnails, and the configs it leads to: address → file."""
    verdicts = published(root / "docs")
    head = (
        "Every figure of the results: what it asks, the config that computes it, and what came out."
        " `ntk-eoc run NAME` computes it again."
    )
    text = ["# Gallery", "", head, ""]
    made: dict[str, Path | str] = {}
    groups: dict[str, list[str]] = {page: [] for page in TITLES}
    for config in sorted((root / "configs").glob("*.toml")):
        if config.stem.endswith("_small"):
            continue
        page, verdict = verdicts.get(config.stem, (_page_of(root, config.stem), ""))
        shown = [
            f for f in sorted((root / "docs/figures").glob("*.png")) if _is_of(f, config, root)
        ]
        for figure in shown:
            made[f"thumbnails/{figure.stem}.webp"] = _thumbnail(figure, root)
        if shown and page:
            groups[page] += _entry(root, config, shown, page, verdict)
        made[f"configs/{config.name}"] = config
    for page, entries in groups.items():
        text += [f"## {TITLES[page]}", "", *entries]
    made["gallery.md"] = "\n".join(text)
    return made


def _entry(root: Path, config: Path, figures: list[Path], page: str, verdict: str) -> list[str]:
    table = tomllib.loads(config.read_text(encoding="utf-8"))
    question = docstring((config.parent / table["experiment"]).resolve())[0]
    pictures = "\n".join(
        f"[![{question} Figure {f.stem}.](thumbnails/{f.stem}.webp){{ width={WIDE // 2} }}]"
        f"(figures/{f.name})"
        for f in figures
    )
    told = f"**Verdict:** {verdict} " if verdict else ""
    return [
        f"### {table.get('title') or config.stem}",
        "",
        f"{question}",
        "",
        pictures,
        "",
        f"{told}[The section]({page}) · [`{config.stem}`](configs/{config.name})",
        "",
    ]


def _is_of(figure: Path, config: Path, root: Path) -> bool:
    """Whether a figure is of a config: NAME.png or NAME_KEY.png, and of no longer name."""
    names = {path.stem for path in (root / "configs").glob("*.toml")}
    fitting = [n for n in names if figure.stem == n or figure.stem.startswith(f"{n}_")]
    return bool(fitting) and max(fitting, key=len) == config.stem


def _page_of(root: Path, name: str) -> str:
    """The results page that shows a config's figure or names it."""
    for page in TITLES:
        text = (root / "docs" / page).read_text(encoding="utf-8")
        if f"figures/{name}" in text or f"`{name}`" in text:
            return page
    return ""


def _thumbnail(figure: Path, root: Path) -> Path:
    folder = root / ".cache" / "thumbnails"
    folder.mkdir(parents=True, exist_ok=True)
    small = folder / f"{figure.stem}.webp"
    if not small.exists() or small.stat().st_mtime < figure.stat().st_mtime:
        with Image.open(figure) as picture:
            height = round(picture.height * WIDE / picture.width)
            picture.convert("RGB").resize((WIDE, height)).save(small, quality=85)
    return small
