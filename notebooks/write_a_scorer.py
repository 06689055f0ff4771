# %% [markdown]
# # Write a scorer
# A scorer is a function of a `FeatureSet`. The decorator checks what goes in and out; the function is the
# mathematics. In the project it is one file in `src/modelrank/scorers` and one YAML in `conf/scorer`; a notebook
# needs neither.

# %%
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

import modelrank
from modelrank.ranking.agreement import agreement, null_level
from modelrank.scorers.contract import scorer
from modelrank.scorers.linalg import class_moments
from modelrank.types import FeatureSet, Score


@scorer()
def gap(data: FeatureSet, *, power: float = 1.0) -> Score:
    """Spread between the class means over the spread inside the classes."""
    moments = class_moments(data)  # float64 means and counts, shared by all scorers that ask
    between = float(moments.counts @ (moments.class_means - moments.mean).square().sum(1))
    total = float((data.features.double() - moments.mean).square().sum())
    return Score((between / (total - between)) ** power, {"between": between, "within": total - between})


# %% [markdown]
# What the decorator promises: labels with gaps, float16, no side effects; bad input is named.

# %%
x = torch.randn(90, 8, generator=torch.Generator().manual_seed(0))
print(gap(FeatureSet(x.half(), torch.arange(90) % 3 * 7)))
try:
    gap(FeatureSet(torch.full((90, 8), torch.nan), torch.arange(90) % 3))
except ValueError as error:
    print(error)

# %% [markdown]
# A scorer is judged by how well it orders models. Here is a small hub, ten views of the digits, with a truth that is
# cheap: the accuracy of 5-NN on held-out images.

# %%
images, labels = load_digits(return_X_y=True)
images = images / 16
rng = np.random.default_rng(0)
hub = {f"pca{k}": PCA(k).fit_transform(images) for k in (1, 2, 4, 16)}
hub |= {f"noise{s}": images + rng.normal(scale=s, size=images.shape) for s in (0.1, 0.5, 1, 2)}
hub |= {"rows": images[:, :16], "random": rng.normal(size=images.shape)}
truth = {}
for name, features in hub.items():
    train, test, y, y_test = train_test_split(features, labels, random_state=0, stratify=labels)
    truth[name] = KNeighborsClassifier(5).fit(train, y).score(test, y_test)

# %%
ours = {name: gap(FeatureSet(torch.from_numpy(f), torch.from_numpy(labels))).value for name, f in hub.items()}
scores = {"gap": ours}
for name in ("disco", "logme", "lda_cv", "rankme"):
    scores[name] = {model: score.value for model, score in modelrank.rank(hub, labels, scorer=name).scores.items()}

for name, values in scores.items():
    found = agreement(values, truth)
    print(f"{name:8} tau_w {found['tau_w']:.2f} [{found['tau_w_low']:.2f}, {found['tau_w_high']:.2f}]")
print(f"random scores of {len(hub)} models exceed {null_level(len(hub)):.2f} in 5 % of cases")

# %% [markdown]
# To keep it: `docs/how-to/own-scorer.md`.
