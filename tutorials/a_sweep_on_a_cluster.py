# %% [markdown]
# # A sweep on a cluster
#
# A sweep is a config: which experiment, over which grid. Its results are one checksummed file a
# cell, so that it can be killed at any moment and go on anywhere. This page starts one, stops half
# way, goes on in two parts as a job array does, and ends with a page to send.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())


def ntk_eoc(*words):
    """Run `ntk-eoc` in the folder and print what it prints."""
    ran = subprocess.run(
        [sys.executable, "-m", "ntk_eoc", *words], cwd=folder, capture_output=True, text=True
    )
    print(f"$ ntk-eoc {' '.join(words)}\n{ran.stdout}{ran.stderr}".strip())
    assert ran.returncode == 0


# %% [markdown]
# ## A config of one's own
#
# `ntk-eoc new experiment NAME` writes an experiment with comments, a config and its small twin.

# %%
ntk_eoc("new", "experiment", "negative")
print((folder / "negative_small.toml").read_text())

# %% [markdown]
# ## Half of it, as a job array would
#
# `--shard k/n` computes the k-th of n parts of about equal cost. On Slurm a line
# `--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"` in an array job is all there is to do.

# %%
ntk_eoc("run", "negative_small.toml", "--out", "out/negative", "--shard", "1/2")
ntk_eoc("status", "out/negative")

# %% [markdown]
# ## The other half
#
# Every way of running mixes with every other: shards, `--workers 8` for processes, and
# `--cluster slurm` for jobs that Dask starts. What is done is not done again.

# %%
ntk_eoc("run", "negative_small.toml", "--out", "out/negative")

# %% [markdown]
# More seeds or widths in the config compute only what is missing:

# %%
ntk_eoc("run", "negative_small.toml", "--out", "out/negative", "--set", "grid.m=[4, 16, 32]")

# %% [markdown]
# ## Figures, tables, and one file to send
#
# The page opens without a network and holds figures, tables, the config, and where every number is
# from.

# %%
ntk_eoc("figures", "out/negative")
ntk_eoc("page", "out", "--to", "report.html")
size = (folder / "report.html").stat().st_size
print(f"{size / 1000:.0f} kB")
assert size < 1_000_000
