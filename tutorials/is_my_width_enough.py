# %% [markdown]
# # Is my width enough?
#
# A network of finite width has a random kernel. How far is it from K∞, how often, and how wide must
# the network be for the error that you can bear? Measure it: hundreds of networks cost a second,
# because their kernels are drawn without weights.

# %%
import jax
import numpy as np

import ntk_eoc as ne

jax.config.update("jax_enable_x64", True)
init = ne.edge_of_chaos("relu")
x = ne.data.load("sphere:32", n=12).x
depth = 4
limit = np.asarray(ne.ntk_matrix(ne.with_outputs(ne.ntk_infinite(init, x, x, depth), 1)))


def errors(widths, draws=100):
    """‖K(θ) − K∞‖/‖K∞‖ of that many networks."""
    one = jax.jit(lambda key: ne.ntk_matrix(ne.ntk_sampled(key, init, x, widths)))
    found = [
        np.linalg.norm(one(key) - limit, 2)
        for key in jax.random.split(jax.random.key(widths[0]), draws)
    ]
    return np.array(found) / np.linalg.norm(limit, 2)


# %% [markdown]
# ## What 100 networks do
#
# The hidden widths are k² m here, the schedule of [C].

# %%
from ntk_eoc.estimates import exponent, mean, quantile

ms = [8, 32, 128]
found = [errors(ne.widths("quadratic", m, depth)) for m in ms]
for m, sample in zip(ms, found, strict=True):
    typical, bad = mean(sample), quantile(sample, 0.95)
    print(
        f"m = {m:3d}: {typical.mean:.3f} ± {typical.error:.3f} on average,"
        f" 95 % of networks below {bad.value:.3f}"
    )

# %% [markdown]
# The theorem of Terjék and González-Sánchez says m^{−1/2}. The interval of the measured exponent is
# a bootstrap over networks.

# %%
slope = exponent(ms, found)
print(f"exponent {slope.slope:.2f} [{slope.low:.2f}, {slope.high:.2f}]")

# %% [markdown]
# ## From an error to a width
#
# How the error is distributed can be computed, layer by layer, to leading order in 1/m.
# `widths_for` turns that into the cheapest widths with which 95 % of the networks are within 5 % of
# the limit, and says what the usual schedules would need.

# %%
found = ne.widths_for(init, x, depth, error=0.05, probability=0.95)
print(f"cheapest: {found.widths[:-1]}, {found.best.cost:,} neurons")
for schedule, choice in found.schedules.items():
    print(f"{schedule}: {choice.widths[:-1]}, {choice.cost:,} neurons")

# %% [markdown]
# And it is checked by networks. The sampler takes such widths easily: no weight is drawn.

# %%
check = errors(found.widths, draws=60)
print(f"{np.mean(check < 0.05):.0%} of 60 networks are within 5 %")
assert np.mean(check < 0.05) > 0.8
assert slope.low < -0.4 and slope.high > -0.65

# %% [markdown]
# The claims behind it, with their figures, are on the page *Concentration*. On the command line
# `ntk-eoc widths relu --probability 0.95` says the same of the same points.
