"""E K(θ) of one pair of inputs: order 1/m, networks and published means side by side.

Published are means of 5·10⁶ networks (arXiv:2508.11522 and an audit of it, σ_w² = 2, l = 4, widths
n, stated standard error 0.001). Networks are drawn by `ntk_sampled`, exact in law; the error of
their mean is halved by the diagonal, whose mean is K∞ at every width. `--to FOLDER` writes the
table.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from fluctuations import finish

import ntk_eoc as ne
from ntk_eoc.estimates import Estimate
from ntk_eoc.kernels.sampled import draw_ntk, ntk_ensemble
from ntk_eoc.report.tables import Table

X = np.array([[-0.98952293, -0.59924918], [-0.17877479, 2.25368285]])
DEPTH, BATCH, ERROR = 4, 128, 0.001
CASES = (  # name, a and b of φ(s) = a s + b|s|, width, published mean, networks
    ("ReLU", 0.5, 0.5, 20, 0.93473, 1_500_000),
    ("ReLU", 0.5, 0.5, 80, 0.98544, 800_000),
    ("leaky ReLU", 0.55, 0.45, 20, 0.63682, 1_500_000),
    ("leaky ReLU", 0.55, 0.45, 80, 0.68108, 800_000),
)


@jax.jit
def _draw(keys: jax.Array, ensemble: Any) -> jax.Array:
    return jax.lax.map(partial(draw_ntk, ensemble=ensemble), keys, batch_size=BATCH)


def sampled_mean(init: ne.Init, n: int, networks: int, limit: np.ndarray) -> Estimate:
    """Return the mean of K(x, x'), less what its regression on K(x, x) and K(x', x') explains."""
    ensemble = ntk_ensemble(init, X, (*(n,) * (DEPTH - 1), 1), dtype=jnp.float32)
    chunk = 256 * BATCH
    keys = jax.random.split(jax.random.key(0), -(-networks // chunk))
    draws = [np.asarray(_draw(jax.random.split(key, chunk), ensemble)) for key in keys]
    kernels = np.concatenate(draws)[..., 0, 0] - limit
    diagonal, mixed = kernels[:, [0, 1], [0, 1]], kernels[:, 0, 1]
    slope = np.linalg.lstsq(diagonal - diagonal.mean(axis=0), mixed - mixed.mean(), rcond=None)[0]
    rest = mixed - diagonal @ slope
    return Estimate(
        float(limit[0, 1] + rest.mean()), float(rest.std() / len(rest) ** 0.5), len(rest)
    )


def main() -> None:
    """Print the table."""
    rows = []
    for name, a, b, n, published, networks in CASES:
        init = ne.Init(ne.abs_linear(a, b), 2**0.5)
        limit = np.asarray(ne.ntk_infinite(init, X, X, DEPTH))
        shift = ne.mean_shift(init, X, X, DEPTH, (*(n,) * (DEPTH - 1), 1))
        found = sampled_mean(init, n, networks, limit)
        law = float(limit[0, 1] + shift[0, 1])
        off = f"{(published - found.mean) / ERROR:+.1f}".replace("-", "−")
        told = [f"{value:.5f}" for value in (limit[0, 1], law)]
        rows.append((name, n, *told, found, f"{published:.5f}", off))
    columns = ("φ", "n", "K∞", "to order 1/n", "networks", "published", "off, in 0.001")
    finish({"": Table(columns, rows)}, "mean_shift")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
