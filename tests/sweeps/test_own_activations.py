"""An activation of one's own beside a named one, through sweeps of the shipped experiments."""

import bad_input
import pytest

from ntk_eoc.sweeps.records import load

BENT = "import jax.numpy as jnp\n\n\ndef bent(s):\n    return s + jnp.tanh(s)\n"
SHIPPED = {
    "concentration": 'data = ["sphere:4"]\nm = [4, 8]\n[fixed]\nn = 2\ndepth = 2\n',
    "activations": 'm = [0, 4, 8]\n[fixed]\ndata = "sphere:4"\nn = 2\ndepth = 2\ndepths = [2, 4]\n',
}
HOWS = [("--workers", "2"), ("--workers", "2", "--cluster", "local")]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask's own, on closing
@pytest.mark.parametrize("how", HOWS, ids=["workers", "dask"])
@pytest.mark.parametrize("experiment", SHIPPED)
def test_exact_one_of_ones_own_beside_relu(tmp_path, experiment, how):
    if "--cluster" in how:
        pytest.importorskip("distributed")
    (tmp_path / "my.py").write_text(BENT)
    (tmp_path / "c.toml").write_text(
        f'experiment = "{experiment}"\nseeds = 2\nbatch = 2\n'
        f'[grid]\nactivation = ["relu", "my.py:bent"]\n{SHIPPED[experiment]}'
    )
    out = tmp_path / "out"
    words = ("run", str(tmp_path / "c.toml"), "--out", str(out), *how, "--figures")
    code, errors = bad_input.call(*words)
    assert code == 0, errors
    records = load(out)[0]
    counts = [len(records.ok.where(activation=name)) for name in ("relu", "my.py:bent")]
    assert counts == [len(records) // 2] * 2
    assert records.missing == 0
    assert len(list((out / "figures").glob("*.png"))) >= 1
    assert "bent" in "".join(path.read_text() for path in (out / "tables").glob("*.md"))
