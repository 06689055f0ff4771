# %% [markdown]
# # How much noise is in the ground truth?
# `experiments/truth/quick.csv` holds accuracies after a short fine-tuning (56 px, 60 steps), two seeds each: good to
# look at noise, not to choose a model by. Where two seeds of the same measurement order the models differently, no
# scorer can be right about both: their agreement is a ceiling.

# %%
from pathlib import Path

import modelrank
from modelrank.ranking.agreement import ceiling, null_level
from modelrank.truth import ledger

path = Path(modelrank.__file__).parents[2] / "experiments" / "truth" / "quick.csv"
rows = ledger.rows([path])
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
