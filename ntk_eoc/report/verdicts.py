"""What the results pages say of a config: the verdicts of the sections that name it."""

import re
from pathlib import Path

_NAMED = re.compile(r"\bConfigs? `(\w+)`|`ntk-eoc run configs/(\w+)\.toml|`configs/(\w+)\.toml`")
_VERDICT = re.compile(r"^\*\*Verdict:?\s*(.*?)(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


def published(docs: Path) -> dict[str, tuple[str, str]]:
    """Return config → (page, verdict) from the pages `docs/*.md`.

    A verdict is a paragraph that begins with "**Verdict". It is of the configs that its section
    names, as "Config `NAME`" or by a path; where the section names none, of those that the head of
    the page names. A config with several verdicts has them one after the other.
    """
    found: dict[str, tuple[str, str]] = {}
    for page in sorted(docs.glob("*.md")):
        head, *sections = re.split(r"\n(?=#{2,3} )", page.read_text(encoding="utf-8"))
        for section in sections:
            verdicts = [
                " ".join(one.replace("**", "").split()) for one in _VERDICT.findall(section)
            ]
            for name in _configs(section) or _configs(head):
                before = found.get(name, ("", ""))[1]
                if verdicts:
                    found[name] = page.name, " ".join(filter(None, (before, *verdicts)))
    return found


def _configs(text: str) -> list[str]:
    return list(dict.fromkeys("".join(groups) for groups in _NAMED.findall(text)))
