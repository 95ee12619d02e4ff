"""Every Python block of the pages is run as it stands: here, at a prompt, or as a file."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

import ntk_eoc as ne

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"<!-- block: (\w+) -->\n```python\n(.*?)```", re.DOTALL)


def blocks(page):
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def test_exact_models_of_other_libraries():
    pytest.importorskip("equinox")
    pytest.importorskip("lineax")
    room = {}
    kernels = {}
    with jax.numpy_rank_promotion("allow"):  # other libraries add a bias [m] to images
        for name, code in blocks("models.md"):
            exec(compile(code, f"docs/models.md: {name}", "exec"), room)
            if "K" in room:
                kernels[name] = np.asarray(room.pop("K"))
    assert {name: k.shape for name, k in kernels.items()} == {
        "function": (4, 4, 1, 1),
        "nnx": (4, 4, 2, 2),
        "linen": (3, 3, 2, 2),
        "equinox": (4, 4, 2, 2),
        "structured": (4, 4, 2, 2),
        "structured_of_any": (4, 4, 2, 2),
    }
    for k in kernels.values():
        n = k.shape[0] * k.shape[2]
        assert np.linalg.eigvalsh(k.transpose(0, 2, 1, 3).reshape(n, n))[-1] > 0
    assert room["learnt"].mean.shape == (61, 1)
    dense = ne.ntk_infinite(room["init"], room["points"], room["points"], 3)
    np.testing.assert_allclose(room["alpha"], np.linalg.solve(dense, np.ones(4)), rtol=1e-3)
    np.testing.assert_allclose(room["largest"], np.linalg.eigvalsh(dense)[-2:], rtol=1e-6)


def test_exact_the_start_page_shows_a_kernel():
    ((_, code),) = blocks("index.md")
    room = {}
    exec(compile(code, "docs/index.md", "exec"), room)
    assert room["K"].shape == (40, 40)


def test_exact_every_python_block_of_the_pages_is_run():
    """By its prompt (`test_readme`), as a file (`test_extend`), or as a block, here."""
    for page in [ROOT / "README.md", *DOCS.glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        run = re.findall(r"<!-- file: \S+ -->\n```python\n", text) + BLOCK.findall(text)
        assert not BLOCK.findall(text) or page.name in ("models.md", "index.md"), page
        assert not re.search(r"-- file:", text) or page.name == "extend.md", page
        prompts = text.count("```python\n>>> ")
        assert text.count("```python") == len(run) + prompts, page
        assert not re.search(r"\n\n    (import|from|\w+ = ne\.|ne\.)", text), page


def test_exact_rooms_are_found_from_the_package():
    names = {
        "training": {"regress", "descent", "train"},
        "spectra": {"marchenko_pastur", "spectral_bounds", "kolmogorov"},
        "estimates": {"mean", "quantile", "exponent"},
        "data": {"load", "normalise"},
    }
    for room, known in names.items():
        assert room in dir(ne)
        found = getattr(ne, room)
        assert known <= set(dir(found))
        assert all(callable(getattr(found, name)) for name in getattr(found, "__all__", known))
