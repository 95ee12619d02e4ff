"""Four devices give the arrays of one: the operator shares its tiles, the sampler its keys."""

import os
import subprocess
import sys

SCRIPT = """
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import ntk_eoc as ne

devices = jax.devices()
assert len(devices) == 4
x = jax.random.normal(jax.random.key(0), (520, 5))  # two tiles a side
v = jax.random.normal(jax.random.key(1), (520, 2))
one, four = (ne.kernel_operator("relu", x, 3, devices=devices[:n]) @ v for n in (1, 4))
np.testing.assert_array_equal(one, four)

keys = jax.random.split(jax.random.key(2), 8)
init = ne.edge_of_chaos("relu")
draw = jax.jit(jax.vmap(lambda key: ne.ntk_sampled(key, init, x[:4], (9, 9, 1))))
shared = jax.device_put(keys, NamedSharding(Mesh(np.array(devices), "k"), PartitionSpec("k")))
found = draw(shared)
assert len(found.sharding.device_set) == 4
np.testing.assert_allclose(found, draw(keys), rtol=1e-12)
"""


def test_agrees_four_simulated_devices_with_one():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
