"""What the library returns can be read in a line, and goes to another process and back."""

import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import ntk_eoc as ne

ROOT = Path(__file__).parent.parent


@cache
def init():
    return ne.edge_of_chaos("relu")


@cache
def x():
    return ne.data.load("sphere:8", n=5).x


def regression():
    return ne.training.regress(init(), x()[:3], jnp.array([1.0, -1.0, 1.0]), x()[3:], depth=2)


VALUES = {
    "activation": lambda: ne.activation("gelu"),
    "abs_linear": lambda: ne.abs_linear(0.3, 0.4),
    "edge_of_chaos": init,
    "load": lambda: ne.data.load("digits", n=5),
    "fluctuations": lambda: ne.fluctuations(init(), x(), 3),
    "widths_for": lambda: ne.widths_for(init(), x(), 2, error=0.3, probability=0.9),
    "kernel_operator": lambda: ne.kernel_operator(init(), x(), 3),
    "marchenko_pastur": lambda: ne.marchenko_pastur(0.5),
    "from_atoms": lambda: ne.SpectralLaw.from_atoms([1.0, 2.0]),
    "regress": regression,
    "descent": lambda: ne.training.descent(0.1, [0, 10]),
    "flow": lambda: ne.training.flow([0.0, 1.0]),
    "exponent": lambda: ne.estimates.exponent([1, 2, 4], list(np.ones((3, 9)) + np.eye(3, 9))),
}


@pytest.mark.parametrize("name", VALUES)
def test_exact_a_value_is_read_in_a_line_and_pickles(name):
    value = VALUES[name]()
    text = repr(value)
    assert "\n" not in text
    assert len(text) < 160
    again = pickle.loads(pickle.dumps(value))
    if not callable(value) or name == "activation":
        assert repr(again) == text


def test_exact_an_operator_computes_the_same_elsewhere():
    operator = VALUES["kernel_operator"]()
    again = pickle.loads(pickle.dumps(operator))
    np.testing.assert_array_equal(again @ jnp.ones(5), operator @ jnp.ones(5))
    rule = VALUES["descent"]()
    values = np.array([0.5, 1.0])
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(rule))(values).residual, rule(values).residual
    )


def test_exact_an_activation_of_a_file_goes_to_another_process(tmp_path):
    file = tmp_path / "my.py"
    file.write_text("import jax.numpy as jnp\nf = lambda s: 3 * jnp.abs(s)\nf.kinks = (0,)\n")
    sent = tmp_path / "sent"
    sent.write_bytes(pickle.dumps(ne.Init(ne.activation(f"{file}:f"), 1.0)))
    program = "import pickle; i = pickle.load(open('sent', 'rb')); print(i.activation(-2.0), i)"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert ran.stdout.startswith("6.0 Init(activation=Activation(name='f', kinks=(0.0,))"), ran
