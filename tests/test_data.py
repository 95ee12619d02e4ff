import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc import data


@pytest.mark.parametrize("name", ["sphere", "sphere:5", "digits", "mnist5k"])
def test_exact_norms_and_seeds(name):
    small = data.load(name, 12, seed=1)
    assert len(small.x) == 12
    np.testing.assert_allclose((small.x**2).sum(axis=1), small.x.shape[1], rtol=1e-14)
    data._load.cache_clear()
    np.testing.assert_array_equal(small.x, data.load(name, 12, 1).x)
    assert not np.array_equal(small.x, data.load(name, 12, seed=2).x)


def test_exact_dimensions_and_labels():
    assert data.load("sphere:5", 3).x.shape == (3, 5)
    assert data.load("digits", 3).x.shape == (3, 64)
    mnist = data.load("mnist5k", 30)
    assert mnist.x.shape == (30, 784)
    assert set(mnist.y) <= set(range(10))


def test_exact_parallel_rows_are_one_point(tmp_path):
    x = np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 4.0], [-1.0, -2.0]])
    np.savez(tmp_path / "own.npz", x=x, y=np.array([0, 1, 2, 3]))
    with pytest.warns(UserWarning, match="1 duplicate rows left out"):
        own = data.load(f"npz:{tmp_path}/own.npz")
    assert len(own.x) == 3
    assert set(own.y) == {0, 1, 3}


def test_exact_a_function_of_the_users(tmp_path):
    file = tmp_path / "rings.py"
    file.write_text(
        "import numpy as np\n"
        "def rings(seed):\n"
        "    t = np.random.default_rng(seed).uniform(0, 6, 20)\n"
        "    return np.stack([np.cos(t), np.sin(t)], axis=1), (t > 3)\n"
    )
    own = data.load(f"{file}:rings", 7)
    assert own.x.shape == (7, 2)
    assert own.y.shape == (7,)


def test_bad_input_is_refused(tmp_path):
    def saved(**arrays):
        np.savez(tmp_path / "bad.npz", **arrays)
        return f"npz:{tmp_path}/bad.npz"

    with pytest.raises(ValueError, match="got 'digit'. Did you mean 'digits'"):
        data.load("digit", 3)
    with pytest.raises(ValueError, match="\"sphere:64\", got 'sphere:x'"):
        data.load("sphere:x", 3)
    with pytest.raises(ValueError, match="an existing file"):
        data.load("npz:nowhere.npz")
    with pytest.raises(ValueError, match='an .npz with an array "x" .it holds a'):
        data.load(saved(a=np.eye(2)))
    with pytest.raises(ValueError, match="NaN or infinity in row .1."):
        data.load(saved(x=np.array([[1.0, 0.0], [np.nan, 1.0]])))
    with pytest.raises(ValueError, match="zeros only in row .0."):
        data.load(saved(x=np.array([[0.0, 0.0], [1.0, 1.0]])))
    with pytest.raises(ValueError, match="must be a real matrix"):
        data.load(saved(x=np.array(["a", "b"])))
    (tmp_path / "text.npz").write_text("not a zip")
    with pytest.raises(ValueError, match="must be an .npz file"):
        data.load(f"npz:{tmp_path}/text.npz")
    with pytest.raises(ValueError, match="`n` must be <= 1797 for digits, got 2000"):
        data.load("digits", 2000)


@pytest.mark.parametrize("shape", [(4, 7), (3, 5, 6, 2)])
def test_exact_normalised_points_have_the_norm_of_the_fixed_point(shape):
    init = ne.edge_of_chaos("tanh", sigma_b=0.3)
    x = np.random.default_rng(0).standard_normal(shape) * np.float64(1e200)
    x[0] *= 1e-300
    rows = np.asarray(ne.normalise(x, init)).reshape(len(x), -1)
    np.testing.assert_allclose((rows**2).mean(axis=1), init.q, rtol=1e-14)
    cosines = (rows * (x / np.abs(x).max()).reshape(rows.shape)).sum(1)
    assert (cosines[1:] > 0).all()


def test_exact_normalised_data_sets_stay_as_they_were_loaded():
    x = data.load("digits", 20).x
    init = ne.edge_of_chaos(ne.activation("relu"))
    np.testing.assert_allclose(ne.normalise(x, init), x, rtol=1e-15)
    assert ne.normalise(x.astype(np.float32), init).dtype == np.float32
    assert ne.normalise(np.eye(3, dtype=int), init).dtype == np.float64


@pytest.mark.parametrize("number", [0.0, np.nan, -np.inf])
def test_rows_without_a_direction_are_refused_by_their_number(number):
    x = np.ones((4, 3))
    x[2] = number
    with pytest.raises(ValueError, match=r"`x` must be (nonzero|finite) in every row.*row \[2\]"):
        ne.normalise(x, ne.edge_of_chaos(ne.activation("relu")))
    with pytest.raises(ValueError, match=r"`x` must be points \[n, …\], none empty"):
        ne.normalise(x[0], ne.edge_of_chaos(ne.activation("relu")))
