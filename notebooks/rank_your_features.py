# %% [markdown]
# # Rank your own features
# `modelrank.score` and `modelrank.rank` take arrays, from wherever they come: N x D features of each model on the same
# N labelled samples. Here three "models" of very different quality look at scikit-learn's handwritten digits.

# %%
import numpy as np
from sklearn.datasets import load_digits

import modelrank

images, labels = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
features = {
    "pixels": images,  # 1797 x 64
    "blurred": images.reshape(-1, 8, 8)[:, ::4, ::4].reshape(len(images), -1),  # 1797 x 4: most of the image is lost
    "noise": rng.normal(size=(len(images), 64)),
}

# %% [markdown]
# One model, one scorer. `parts` shows how DISCO's value comes about: the share of the singular values of each group of
# spectral components (`ratio`) and how well that group alone separates the classes (`task`).

# %%
score = modelrank.score("disco", features["pixels"], labels, components=32)
print(f"DISCO {score.value:.3f} in {score.seconds:.3f} s")
print("ratio", np.round(score.parts["ratio"], 2))
print("task ", np.round(score.parts["task"], 2))

# %% [markdown]
# The whole hub at once, by any scorer of `conf/scorer`.

# %%
for scorer in ("disco", "logme", "knn", "linear_probe"):
    ranking = modelrank.rank(features, labels, scorer=scorer)
    print(f"{scorer:13}", "  ".join(f"{model} {found.value:.3f}" for model, found in ranking.scores.items()))

# %%
assert modelrank.rank(features, labels, scorer="linear_probe").best == "pixels"
