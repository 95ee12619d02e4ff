# %% [markdown]
# # My activation, from function to figure
#
# An activation is one elementwise function and the list of the points where it is not smooth.
# Everything else follows: its edge of chaos, its class, its kernels.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import ntk_eoc as ne

jax.config.update("jax_enable_x64", True)


def bent(s):
    """max(s, 0) up to 2, of slope ¼ beyond."""
    return jnp.where(s < 2.0, jnp.maximum(s, 0.0), 2.0 + (s - 2.0) / 4)


act = ne.Activation("bent", bent, kinks=(0.0, 2.0))

# %% [markdown]
# ## Its edge of chaos
#
# At the edge a deep network neither forgets its inputs nor tears them apart. For most activations
# the edge is a curve, so one number chooses the point: the standard deviation σ_b of the biases, or
# the variance q that signals keep.

# %%
init = ne.edge_of_chaos(act, sigma_b=0.2)
print(f"σ_w = {init.sigma_w:.4f}, σ_b = {init.sigma_b:g}, q = {init.q:.4f}")

# %% [markdown]
# `ntk-eoc eoc my_activation.py:bent --sigma-b 0.2` prints the same with the class, the depth scales
# and the deep limit, and draws a page of it. A kink that was forgotten is found and named:

# %%
try:
    ne.edge_of_chaos(ne.Activation("bent", bent), sigma_b=0.2)
except ValueError as error:
    print(error)

# %% [markdown]
# ## Its kernel, in the limit and of one network
#
# Inputs belong at the norm of the fixed point; `normalise` puts them there.

# %%
x = ne.normalise(np.random.default_rng(0).standard_normal((30, 16)), init)
limit = ne.ntk_infinite(init, x, x, depth=4)
network = ne.ntk_sampled(jax.random.key(1), init, x, ne.widths("quadratic", 64, 4))[:, :, 0, 0]
gap = float(jnp.linalg.norm(network - limit, 2) / jnp.linalg.norm(limit, 2))
print(f"one network of m = 64 is {gap:.1%} away from its limit")
assert gap < 0.5

# %% [markdown]
# ## The figure
#
# The kernel of a pair is a function of its angle. One network scatters about it.

# %%
import matplotlib.pyplot as plt

from ntk_eoc.report import style

cosine = np.asarray(x @ x.T) / (x.shape[1] * init.q)
off = ~np.eye(len(x), dtype=bool)
angle = np.arccos(np.clip(cosine, -1, 1))[off]
order = np.argsort(angle)
with style.context():
    figure, ax = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
    ax.plot(np.degrees(angle), np.asarray(network)[off], ".", markersize=2, label="one network")
    ax.plot(np.degrees(angle[order]), np.asarray(limit)[off][order], label="K∞", color="black")
    ax.set(xlabel="angle in degrees", ylabel="kernel of a pair")
    ax.legend()

# %% [markdown]
# ## In a sweep
#
# `ntk-eoc new activation bent` writes such a file with comments, and a config that runs it beside
# ReLU: how its kernel concentrates, and what depth does to its condition number.
#
# ```
# ntk-eoc new activation bent
# ntk-eoc run bent_small.toml --figures
# ntk-eoc page out --to report.html
# ```
