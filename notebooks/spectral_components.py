# %% [markdown]
# # Spectral components before and after fine-tuning
# DISCO rests on the observation that the leading spectral components of the features change least when a network is
# fine-tuned. `stage=analyse` measures it: C_F of each group, |Z_g - Z'_g| / |Z_g|, beside what it is without any
# change of the network. A small encoder on scikit-learn's digits, fine-tuned for a few small steps, twice.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

import modelrank
from modelrank.report import analysis

ROOT = Path(modelrank.__file__).parents[2]  # the clone
work = Path(tempfile.mkdtemp())
options = [
    "stage=analyse",
    "hub=self_supervised_offline",
    "model/self_supervised_offline=[resnet8_simclr_cifar10]",
    "dataset=digits",
    "dataset.subsample={train:200,val:60,test:60}",
    "protocol=finetune_small",
    "protocol.steps=8",
    "protocol.learning_rates=[3e-5]",
    "stage.components=64",
    "extraction.workers=0",
    "logger=none",
    f"paths.cache={work / 'cache'}",
    f"hydra.run.dir={work / 'run'}",
]
print("python run.py", *options)
subprocess.run([sys.executable, "run.py", *options], cwd=ROOT, check=True)

# %%
rows = pd.read_csv(work / "run" / "analysis.csv")
shown = ["group", "change", "change_resampled", "change_between_seeds", "unrelated", "ratio_before", "ratio_after"]
print(rows[shown].round(2).to_string())

# %% [markdown]
# `change` rises from the first group to the last, but so does `change_resampled`, the same without any change of the
# network: weak components lie close together and change places. `unrelated` is what two networks with nothing in
# common would have.

# %%
analysis.spectral_change(rows)

# %% [markdown]
# The same on CIFAR-10 for eight networks (`python run.py experiment=analysis_offline`), mean over the networks.

# %%
full = pd.read_csv(ROOT / "experiments" / "results" / "analysis_cifar10" / "analysis.csv").query("status == 'ok'")
print(full.groupby("group")[["change", "change_resampled", "change_fixed", "unrelated"]].mean().round(2).to_string())
