# %% [markdown]
# # K∞ in ten lines
#
# The neural tangent kernel of a network of width m tends to a fixed kernel K∞ as m grows, if the
# network is initialised at random. This page computes K∞, draws one network beside it, and looks at
# what depth does. Everything is in the NTK parametrisation, at the edge of chaos.

# %%
import jax
import jax.numpy as jnp

import ntk_eoc as ne

# The kernels keep more digits with 64 bits; the library never decides that for you.
jax.config.update("jax_enable_x64", True)
init = ne.edge_of_chaos("relu")
x = ne.data.load("sphere:16", n=40).x  # [n, d], ‖x‖² = d
K_inf = ne.ntk_infinite(init, x, x, depth=4)  # [n, n]
print(K_inf[:3, :3])

# %% [markdown]
# The diagonal is the depth: K∞(x, x) = l ‖x‖²/d, here 4. Off the diagonal stands a function of the
# angle alone.
#
# ## One network beside it
#
# `ntk_sampled` draws the kernel of a fresh network, exact in law, without drawing its weights. The
# hidden widths are m_k = k² m, the schedule under which the error grows no faster than the depth.

# %%
widths = ne.widths("quadratic", m=64, depth=4)
K = ne.ntk_sampled(jax.random.key(0), init, x, widths)  # [n, n, 1, 1]
gap = jnp.linalg.norm(ne.ntk_matrix(K) - ne.ntk_matrix(ne.with_outputs(K_inf, 1)), 2)
print(f"widths {widths}: ‖K(θ) − K∞‖ = {gap:.3f}, of ‖K∞‖ = {jnp.linalg.norm(K_inf, 2) / 40:.3f}")

# %% [markdown]
# `ntk_matrix` divides by the number of points, as the papers do, so that its eigenvalues are the
# rates of training.
#
# ## What depth does
#
# Entries of K∞/l tend to ¼ for every pair of different points, and the condition number to 1 + n/3.

# %%
import matplotlib.pyplot as plt
import numpy as np

from ntk_eoc.report import style

depths = [2, 4, 8, 16, 32, 64, 128, 256, 512]
condition = []
for depth in depths:
    spectrum = np.linalg.eigvalsh(ne.ntk_infinite(init, x, x, depth))
    condition.append(spectrum[-1] / spectrum[0])

with style.context():
    figure, ax = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
    ax.loglog(depths, condition, "o-", label="K∞ of 40 points")
    ax.axhline(1 + len(x) / 3, **style.GUIDE, label="1 + n/3")
    ax.set(xlabel="depth l", ylabel="condition number")
    ax.legend()

# %%
assert abs(condition[-1] / (1 + len(x) / 3) - 1) < 0.1
assert gap < 4 / 64**0.5
