# %% [markdown]
# # Read a sweep, and redraw its figures
# A sweep collects one `results.csv`: a row a job and scorer. Those of `experiments/results` are read here; one of
# your own is `multirun/DATE/TIME/results.csv`.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import modelrank
from modelrank.ranking.agreement import ceiling, null_level
from modelrank.report import sweeps, tables
from modelrank.truth import ledger

EXPERIMENTS = Path(modelrank.__file__).parents[2] / "experiments"
rows = pd.read_csv(EXPERIMENTS / "results" / "table_self_supervised_offline" / "finetune_small" / "results.csv")
print(rows[["dataset", "scorer", "tau_w", "tau_w_low", "tau_w_high", "n_models"]].head(6).to_string())

# %% [markdown]
# The paper-style table: as Markdown, LaTeX or CSV (`tables.write` writes all three, as `stage=report` does).

# %%
for (hub, protocol), table in tables.pivots(rows).items():
    print(hub, protocol)
    print(tables.markdown(table, limits=tables.levels(rows, {(hub, protocol): table})[hub, protocol]))
    print(tables.latex(table)[:300])

# %% [markdown]
# Average ranks over the data sets, and an ablation: the number of spectral components.

# %%
standing = sweeps.standing(rows, "tau_w")
assert standing is not None, "no data set has a value by all scorers"
sweeps.rank_diagram(standing, "tau_w")

# %%
groups = pd.read_csv(EXPERIMENTS / "results" / "ablation_groups_offline" / "results.csv")
sweeps.ablation(sweeps.label_by(groups, "scorers.disco.groups"), "scorers.disco.groups", "tau_w")

# %% [markdown]
# Scores against accuracies, as papers draw them: the rows of one run, `scores.csv`, beside the measured truth.

# %%
scores = pd.read_csv(EXPERIMENTS / "results" / "default" / "scores.csv").query("status == 'ok'")
measured = ledger.rows([EXPERIMENTS / "truth" / name for name in ("measured.csv", "quick.csv")])
accuracy = measured.query("dataset == 'cifar10' and protocol == 'finetune_offline'").groupby("model").accuracy.mean()
shown = ["disco", "logme", "sfda", "linear_probe"]
figure, panels = plt.subplots(1, len(shown), figsize=(12, 3), sharey=True, layout="constrained")
for axes, scorer in zip(panels, shown, strict=True):
    own = scores[scores.scorer == scorer].set_index("model")
    both = own.index.intersection(accuracy.index)
    axes.errorbar(
        own.score[both],
        accuracy[both],
        xerr=np.nan_to_num(own.score_high[both] - own.score[both]),
        fmt="o",
    )
    axes.set_xlabel(scorer)
panels[0].set_ylabel("accuracy, fine-tuned")

# %% [markdown]
# ## How much noise is in the truth?
# Where two seeds of the same measurement order the models differently, no scorer can be right about both: their
# agreement is about the most that can be reached. (On glyphs two hubs were measured by `finetune_small`.)

# %%
for protocol in ("finetune_small", "finetune_short", "detection_short"):
    for dataset, own in measured[measured.protocol == protocol].groupby("dataset"):
        models = own.model.nunique()
        agreed = ceiling(ledger.truth_of(own))
        print(f"{protocol:16} {dataset:15} {agreed:5.2f}   chance, {models} models: {null_level(models):.2f}")

# %% [markdown]
# Every row says how it was made.

# %%
print(measured[["command", "commit", "versions"]].drop_duplicates().iloc[0].to_string())
