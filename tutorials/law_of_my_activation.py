# %% [markdown]
# # [Q]'s law for my φ
#
# Benigni and Paquette let the numbers n of points, d of inputs and p of hidden neurons grow,
# n/(dp) → γ₁ and p/d → γ₂, and find the law that the eigenvalues of the two-layer NTK follow. This
# page computes the law of an activation of one's own and puts the eigenvalues of one network beside
# it.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import ntk_eoc as ne

jax.config.update("jax_enable_x64", True)
act = ne.Activation("softbend", lambda s: jnp.tanh(s) + s**2 / 4)
gamma1, gamma2 = 0.5, 1.0
law = ne.quadratic_scaling_law(act, gamma1=gamma1, gamma2=gamma2)
print("support", [(round(a, 3), round(b, 3)) for a, b in law.support])
print(f"mean {law.mean:.4f}, second moment {law.moment(2):.4f}")

# %% [markdown]
# A law knows its density, distribution function, support, atoms and moments:

# %%
middle = np.mean(law.support[0])
print(
    f"density {float(law.density(np.array([middle]))[0]):.4f} at {middle:.3f},",
    f"mass below {float(law.cdf(np.array([middle]))[0]):.4f}",
)

# %% [markdown]
# ## The eigenvalues of one network
#
# `two_layer` draws the two factors of the matrix; its eigenvalues are those of the smaller side.

# %%
from ntk_eoc.spectra import two_layer

d = 40
n, p = two_layer.sizes(d, gamma1, gamma2)
factors = two_layer.draw(jax.random.key(0), act, (n, d, p))
eigenvalues = two_layer.eigenvalues(factors)
print(f"n = {n} points, d = {d} inputs, p = {p} neurons")

# %% [markdown]
# The mean of φ' is not zero for this φ, c₀ = E φ'(z) ≈ 0.6, which makes about d outliers far to the
# right of the law. They are no part of it, and the figure leaves them out.

# %%
import matplotlib.pyplot as plt

from ntk_eoc.report import style

(low, high) = law.support[0][0], law.support[-1][1]
bulk = eigenvalues[eigenvalues < 1.3 * high]
t = np.linspace(low, 1.05 * high, 400)
with style.context():
    figure, ax = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
    bins = np.linspace(0, 1.3 * high, 60)
    weight = np.full(len(bulk), 1 / (len(eigenvalues) * (bins[1] - bins[0])))
    ax.hist(bulk, bins, weights=weight, color="0.8", label=f"{len(bulk)} of {n} eigenvalues")
    ax.plot(t, law.density(t), label="the limit law")
    ax.set(xlabel="eigenvalue of the NTK", ylabel="density")
    ax.legend()

# %% [markdown]
# How near are they? The Kolmogorov distance, the largest gap of the two distribution functions,
# falls like 1/d once the outliers, a share d/n of all, are counted too:

# %%
ordered = np.sort(eigenvalues)
gap = float(np.abs(law.cdf(ordered) - (np.arange(n) + 0.5) / n).max())
print(f"Kolmogorov distance {gap:.3f}; the outliers' share is {d / n:.3f}")
assert gap < 3 * d / n
