"""The reference: every name of the public face, by room, from its docstring."""

import importlib
import inspect
from types import ModuleType

import ntk_eoc

HEADS = {
    "activations": "Activations",
    "eoc": "The edge of chaos",
    "kernels": "Kernels",
    "spectra": "Spectra",
    "finite_width": "Finite width",
    "network": "The network",
    "training": "Training",
    "data": "Data",
    "estimates": "Statistics",
}


def public() -> dict[str, list[str]]:
    """Return room → full names of what is public in it, in the order of the package."""
    found: dict[str, list[str]] = {}
    for name in ntk_eoc.__all__:
        thing = getattr(ntk_eoc, name)
        if isinstance(thing, ModuleType):
            for inner in _names(thing):
                _add(found, f"{thing.__name__}.{inner}", getattr(thing, inner))
        else:
            _add(found, f"ntk_eoc.{name}", thing)
    return found


def _add(found: dict[str, list[str]], asked: str, thing: object) -> None:
    home, own = getattr(thing, "__module__", ""), getattr(thing, "__qualname__", "")
    full = f"{home}.{own}" if home.startswith("ntk_eoc") and own else asked
    room = full.split(".")[1]
    members = found.setdefault(room, [])
    if full not in members:
        members.append(full)


def _names(module: ModuleType) -> list[str]:
    """What a module exports, or else what is defined in it and public."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name
        for name, thing in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(thing) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    ]


def page() -> str:
    """Return the page: for each room its own docstring's first line, then its names."""
    head = (
        "Everything here is found from `import ntk_eoc as ne`. Shapes are written with the letters"
        " of [the mathematics](theory.md#letters): n points, d inputs, k outputs, m width, s seeds."
    )
    text = ["# Reference", "", head, ""]
    for room, names in public().items():
        about = inspect.getdoc(importlib.import_module(f"ntk_eoc.{room}")) or ""
        text += [f"## {HEADS.get(room, room)}", "", about.splitlines()[0], ""]
        text += [line for name in names for line in (f"::: {name}", "")]
    return "\n".join(text)
