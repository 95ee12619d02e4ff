# %% [markdown]
# # Predict my training
#
# Wide networks train as their kernel says. `regress` gives what infinitely wide networks learn from
# data by squared error: their mean, how far one of them is from it, and the loss on the way.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import ntk_eoc as ne

jax.config.update("jax_enable_x64", True)
init = ne.edge_of_chaos("relu")
depth, n = 3, 24
points = ne.data.load("sphere:8", n=n + 40)
x, x_test = points.x[:n], points.x[n:]
target = lambda x: np.sin(2 * x[:, 0]) + x[:, 1] / 2  # noqa: E731
learnt = ne.training.regress(init, x, target(x), x_test, depth)
error = np.sqrt(np.mean((learnt.final - target(x_test)) ** 2))
print(
    f"on test points: error of the mean {error:.2f}, spread of one network"
    f" {learnt.final_spread.mean():.2f}"
)

# %% [markdown]
# Nothing had to be scaled: the kernel matrix is divided by n inside, once, and times are learning
# rate times steps. The smallest eigenvalue sets when the last of the loss goes.

# %%
print(f"rates from {learnt.modes.values[0]:.3f} to {learnt.modes.values[-1]:.3f}")

# %% [markdown]
# ## Networks beside the prediction
#
# Twenty networks of width 512, each trained by gradient descent on the same data, all points at
# once. `descent` in place of the flow makes the prediction exact at every step.

# %%
from functools import partial

import optax
from flax import nnx

from ntk_eoc.network import draw_params
from ntk_eoc.training import Problem, descent, train

widths = ne.widths("constant", m=512, depth=depth)
f, _ = ne.functional(ne.MLP(init, x.shape[1], widths, rngs=nnx.Rngs(0)))
rate = 1.0 / learnt.modes.values[-1]
steps = np.array([0, 1, 3, 10, 30, 100, 300])
problem = Problem(
    f,
    jnp.asarray(x),
    jnp.asarray(target(x))[:, None],
    lambda outputs, y: ((outputs - y) ** 2).sum() / (2 * n),
    optax.sgd(rate),
)


@jax.jit
def test_outputs(key):
    params = draw_params(key, init, x.shape[1], widths)
    return train(problem, params, steps, key, lambda params: f(params, jnp.asarray(x_test))[:, 0])[
        1
    ]


seen = np.stack([test_outputs(key) for key in jax.random.split(jax.random.key(1), 20)])
told = ne.training.regress(
    init, x, target(x), x_test, depth, times=steps, algorithm=partial(descent, rate)
)

# %%
import matplotlib.pyplot as plt

from ntk_eoc.report import style

with style.context():
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.5, 2.8), layout="constrained")
    left.plot(told.mean[-1], seen[:, -1].mean(0), "o", markersize=3)
    ends = [told.mean[-1].min(), told.mean[-1].max()]
    left.plot(ends, ends, **style.GUIDE)
    left.set(xlabel="predicted mean", ylabel="mean of 20 networks", title="after 300 steps")
    right.semilogx(steps[1:], np.sqrt((told.spread**2).mean(1))[1:], label="predicted")
    right.semilogx(steps[1:], np.sqrt(seen.var(0, ddof=1).mean(1))[1:], "o", label="20 networks")
    right.set(xlabel="steps", ylabel="spread on test points", ylim=(0, None))
    right.legend()

# %%
gap = np.abs(seen[:, -1].mean(0) - told.mean[-1])
noise = told.spread[-1] / np.sqrt(len(seen))
print(f"the means differ by {np.median(gap / noise):.1f} standard errors at the median point")
assert np.median(gap / noise) < 2
