import numpy as np
import pytest

import ntk_eoc as ne
from ntk_eoc.spectra.deviation import bound_shape, deviation


def test_agrees_with_singular_values():
    rng = np.random.default_rng(0)
    matrices = rng.normal(size=(4, 6, 6))
    matrices = matrices + matrices.transpose(0, 2, 1)
    limit = np.diag(np.arange(6.0))
    found = deviation(matrices, limit, n=3)
    for i in range(4):
        gap = matrices[i] - limit
        assert found.operator[i] == pytest.approx(np.linalg.norm(gap, 2))
        assert found.frobenius[i] == pytest.approx(np.linalg.norm(gap))
        assert found.max_entry[i] == pytest.approx(3 * abs(gap).max())
        assert found.lambda_min[i] == pytest.approx(np.linalg.eigvalsh(matrices[i])[0])


def test_exact_a_bad_draw_spoils_only_itself():
    matrices = np.stack([np.eye(2), np.full((2, 2), np.inf), 2 * np.eye(2)])
    found = deviation(matrices, np.eye(2), n=2)
    np.testing.assert_array_equal(np.isnan(found.operator), [False, True, False])
    np.testing.assert_allclose(found.operator[[0, 2]], [0, 1])


def test_exact_bound():
    relu, absolute = ne.activation("relu"), ne.activation("abs")
    assert bound_shape(relu, 16, 4) == pytest.approx((4 + 4) * 2 / 4)
    assert bound_shape(absolute, 16, 4, outputs=9) == pytest.approx((1 + 12) / 4)
    assert bound_shape(ne.activation("identity"), 16, 4) == np.inf
