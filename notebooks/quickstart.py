# %% [markdown]
# # Quickstart
# `modelrank.score` and `modelrank.rank` take arrays, from wherever they come: N x D features of each model on the
# same N labelled samples. Here four "models" of very different quality look at scikit-learn's handwritten digits.

# %%
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import modelrank

images, labels = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
features = {
    "pixels": images / 16,  # 1797 x 64
    "projected": images / 16 @ rng.normal(size=(64, 8)),  # 1797 x 8: some of the image is lost
    "corners": images.reshape(-1, 8, 8)[:, ::4, ::4].reshape(len(images), -1) / 16,  # 1797 x 4: most of it is
    "noise": rng.normal(size=(len(images), 64)),
}

# %% [markdown]
# One model, one scorer. `parts` shows how DISCO's value comes about: the share of the singular values of each group
# of spectral components (`ratio`) and how well that group alone separates the classes (`task`).

# %%
score = modelrank.score("disco", features["pixels"], labels, components=32)
print(score)
print("ratio", np.round(score.parts["ratio"], 2))
print("task ", np.round(score.parts["task"], 2))

# %% [markdown]
# The whole hub at once.

# %%
ranking = modelrank.rank(features, labels)
print(ranking)

# %%
ranking.plot()

# %% [markdown]
# By other scorers of `conf/scorer`. DISCO's published form depends on the scale of the features, and these four
# differ in it; a linear probe does not.

# %%
for scorer in ("disco", "logme", "knn", "linear_probe"):
    found = modelrank.rank(features, labels, scorer=scorer)
    print(f"{scorer:13}", "  ".join(f"{model} {one.value:.3f}" for model, one in found.scores.items()))

assert modelrank.rank(features, labels, scorer="linear_probe").best == "pixels"

# %% [markdown]
# Choosing as a step of a scikit-learn pipeline.

# %%
pipeline = make_pipeline(modelrank.ModelSelector("knn"), LogisticRegression(max_iter=500)).fit(features, labels)
print(pipeline[0].best_, pipeline.score(features, labels))
