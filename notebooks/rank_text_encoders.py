# %% [markdown]
# # Rank text encoders from files
# Nothing in a scorer knows of images. Features of any modality are ranked from files: one array a model, and the
# targets. Here the texts are docstrings, the target is the package that they are from, and the encoders are
# vectorisers; sentence embeddings that you saved go the same way.

# %%
import importlib
import inspect
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer

import modelrank

ROOT = Path(modelrank.__file__).parents[2]  # the clone
MODULES = {"numpy": ["numpy", "numpy.linalg"], "scipy": ["scipy.stats", "scipy.linalg"]}
texts, packages = [], []
for package, modules in MODULES.items():
    for module in map(importlib.import_module, modules):
        for name in sorted(name for name in dir(module) if name[0].islower()):
            text = inspect.getdoc(getattr(module, name)) if callable(getattr(module, name)) else None
            if text and len(text.split()) > 30:
                texts.append(" ".join(text.split()[:60]))
                packages.append(package)
print(len(texts), "texts")

# %%
folder = Path(tempfile.mkdtemp())
words, pairs = TfidfVectorizer(), TfidfVectorizer(analyzer="char", ngram_range=(2, 3))
np.save(folder / "words.npy", TruncatedSVD(24, random_state=0).fit_transform(words.fit_transform(texts)))
np.save(folder / "pairs.npy", TruncatedSVD(32, random_state=0).fit_transform(pairs.fit_transform(texts)))
np.save(folder / "hashed.npy", HashingVectorizer(n_features=16).transform(texts).toarray())
pd.DataFrame({"target": packages}).to_csv(folder / "targets.csv", index=False)

# %% [markdown]
# In Python: paths take the place of arrays.

# %%
files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
ranking = modelrank.rank(files, packages, scorer="linear_probe")
print(ranking)
assert ranking.best != "hashed"

# %% [markdown]
# From the command line, with rows, figures and a report like every other ranking. Accuracies that you know would be
# given as `truth=import truth.file=mine.csv`. `rms_norm`: these features are so small that without it every posterior
# of DISCO is flat.

# %%
options = [
    "hub=files",
    "dataset=targets",
    f"hub.folder={folder}",
    "dataset.name=docstrings",
    "scorer=[disco,logme,lda_cv]",
    "scorers.disco.rms_norm=100",
    "truth=none",
    "logger=none",
    f"paths.cache={folder / 'cache'}",
    f"hydra.run.dir={folder / 'run'}",
]
print("python run.py", *options)
subprocess.run([sys.executable, "run.py", *options], cwd=ROOT, check=True)

# %%
scores = pd.read_csv(folder / "run" / "scores.csv")
print(scores.pivot_table("score", "model", "scorer").round(3).to_string())
