# %% [markdown]
# # How much noise is in the ground truth?
# `experiments/truth/measured.csv` holds accuracies after real fine-tuning, two seeds each. Where two seeds of the same
# measurement order the models differently, no scorer can be right about both: their agreement is a ceiling.

# %%
from pathlib import Path

import modelrank
from modelrank.ranking.agreement import ceiling, null_level
from modelrank.truth import ledger

path = Path(modelrank.__file__).parents[2] / "experiments" / "truth" / "measured.csv"
rows = ledger.rows([path]).query("protocol == 'finetune_short'")
print(rows.pivot_table("accuracy", "model", ["dataset", "seed"]).round(3).to_string())

# %%
for dataset, own in rows.groupby("dataset", sort=False):
    truth = ledger.truth_of(own)
    best = max(truth.accuracy, key=lambda model: truth.accuracy[model])
    print(f"{dataset:14} best {best} ({truth.accuracy[best]:.3f}); two seeds agree at tau_w {ceiling(truth):.2f}")
print(f"random scores exceed tau_w {null_level(rows.model.nunique()):.2f} in 5 % of cases")

# %% [markdown]
# Every row says how it was made.

# %%
print(rows[["command", "commit", "versions"]].drop_duplicates().iloc[0].to_string())
