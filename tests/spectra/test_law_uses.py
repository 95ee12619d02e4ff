"""What one does with a law: draw from it, look at it, keep it, send it to another process."""

import copy
import pickle
from functools import cache

import jax
import numpy as np
import pytest
from scipy import stats

import ntk_eoc as ne
from ntk_eoc.spectra.densities import from_density, uniform
from ntk_eoc.spectra.law_algebra import classical_convolution, mixture, scaled, squared
from ntk_eoc.spectra.laws import SpectralLaw, from_atoms

MP = ne.marchenko_pastur(0.5)
LAWS = {
    "atoms": lambda: from_atoms([1.0, 3.0], [0.25, 0.75]),
    "uniform": lambda: uniform(-1.0, 2.0),
    "a density of one's own": lambda: from_density(lambda t: 2 * t, [[0.0, 1.0]]),
    "Marchenko–Pastur": lambda: MP,
    "with an atom": lambda: ne.marchenko_pastur(2.0),
    "scaled": lambda: scaled(MP, 3.0, -1.0),
    "a mixture": lambda: mixture([0.5, 0.5], [MP, from_atoms([7.0])]),
    "squared": lambda: squared(uniform(-1.0, 1.0)),
    "a sum": lambda: classical_convolution(uniform(0.0, 1.0), from_atoms([0.0, 2.0])),
    "a Gram law": lambda: ne.gram_law(from_atoms([1.0, 10.0]), 0.3),
    "a free product": lambda: ne.free_multiplicative_convolution(MP, uniform(1.0, 2.0)),
    "[Q], pairs": lambda: ne.quadratic_scaling_law(ne.activation("relu"), 0.5, 0.5),
}


@cache
def law_of(what: str) -> SpectralLaw:
    return LAWS[what]()


def places(law: SpectralLaw) -> np.ndarray:
    low, high = law.bounds
    return np.linspace(low - 0.1, high + 0.1, 61)


@pytest.mark.parametrize("what", LAWS)
def test_exact_a_pickled_law_is_the_same(what):
    law = law_of(what)
    for other in (pickle.loads(pickle.dumps(law)), copy.deepcopy(law)):
        assert type(other) is type(law)
        assert (other.status, other.atoms, other.support) == (law.status, law.atoms, law.support)
        for name in ("density", "cdf"):
            expected = getattr(law, name)(places(law))
            found = getattr(other, name)(places(law))
            if what == "a density of one's own":  # by its polynomials: a lambda has no name
                np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7)
            else:
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("what", LAWS)
def test_exact_a_saved_law_is_the_same(tmp_path, what):
    law = law_of(what)
    other = SpectralLaw.load(law.save(tmp_path / "law.npz"))
    assert (other.error, other.atoms, other.support) == (law.error, law.atoms, law.support)
    assert (other.mean, other.moment(3)) == (law.mean, law.moment(3))
    np.testing.assert_array_equal(other.cdf(places(law)), law.cdf(places(law)))
    density = law.density(places(law))
    np.testing.assert_allclose(
        other.density(places(law)), density, rtol=0, atol=2e-7 * density.max(initial=1)
    )
    again = SpectralLaw.load(other.save(str(tmp_path / "again.npz")))
    np.testing.assert_array_equal(again.density(places(law)), other.density(places(law)))


@pytest.mark.parametrize("what", LAWS)
def test_within_error_draws_follow_the_law(what, key):
    law = law_of(what)
    drawn = law.sample(key, (40, 50))
    assert drawn.shape == (40, 50)
    assert drawn.dtype == np.float64
    low, high = law.bounds
    assert low - 1e-9 <= drawn.min()
    assert drawn.max() <= high + 1e-9
    spread = np.sqrt(law.moment(2) - law.mean**2)
    assert abs(drawn.mean() - law.mean) < 4.5 * spread / np.sqrt(drawn.size)
    for place, mass in law.atoms:
        found = np.mean(np.abs(drawn - place) < 1e-9)
        assert abs(found - mass) < 4.5 * np.sqrt(mass * (1 - mass) / drawn.size) + 1e-12
    if not law.atoms:
        assert stats.kstest(drawn.ravel(), law.cdf).pvalue > 1e-5


def test_exact_draws_are_fine_and_the_keys_own(key):
    law = uniform(0.0, 1.0)
    with jax.enable_x64(False):
        narrow = law.sample(key, (1000,))
    np.testing.assert_array_equal(narrow, law.sample(key, (1000,)))
    assert np.any(narrow * 2**24 % 1)  # not on the grid of a float32
    assert np.any(narrow != law.sample(jax.random.fold_in(key, 1), (1000,)))
    assert law.sample(key).shape == ()


def test_exact_a_law_says_what_it_is():
    assert repr(MP) == "MarchenkoPastur(mean 1; density on [0.08579, 2.914])"
    assert repr(law_of("atoms")) == "SpectralLaw(mean 2.5; atoms 0.25 at 1, 0.75 at 3)"
    many = repr(from_atoms(np.arange(9.0)))
    assert "0.1111 at 3, and 5 more)" in many
    assert repr(ne.marchenko_pastur(2.0)).endswith("; atoms 0.5 at 0)")
    broken = SpectralLaw(MP.points, MP.masses, MP.pieces, lambda x: np.nan * x)
    assert "not converged" in repr(broken)


def test_exact_a_law_draws_itself():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    law = ne.marchenko_pastur(2.0)
    assert law.plot(ax, label="law", linestyle="--") is ax
    _, curve = ax.lines
    t, height = curve.get_data()
    np.testing.assert_array_equal(height, law.density(t))
    assert curve.get_linestyle() == "--"
    assert ax.get_legend_handles_labels()[1] == ["law"]
    low, high = ax.get_xlim()
    assert low <= 0
    assert high >= law.bounds[1]
    assert [text.get_text() for text in ax.texts] == ["", "0.5"]


def test_exact_what_is_no_law_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in \.npz, got 'law'"):
        MP.save("law")
    for name, arrays in (("other", {"x": np.ones(3)}), ("kind", {"kind": "one"})):
        np.savez(tmp_path / f"{name}.npz", **arrays)
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "cut.npz").write_bytes(MP.save(tmp_path / "mp.npz").read_bytes()[:900])
    for name in ("other", "kind", "text", "empty", "cut"):
        with pytest.raises(ValueError, match="`path` must be a file that SpectralLaw.save wrote"):
            SpectralLaw.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        SpectralLaw.load(tmp_path / "none.npz")
