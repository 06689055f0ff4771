# %% [markdown]
# # From your own images and models to a fine-tuned network
# A folder of images with a folder a class, and a folder of checkpoints: which of them should be fine-tuned? The
# images here are scikit-learn's digits, written as PNG files; the checkpoints are snapshots of a small SimCLR run.

# %%
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image
from sklearn.datasets import load_digits

import modelrank

ROOT = Path(modelrank.__file__).parents[2]  # the clone
work = Path(tempfile.mkdtemp())

digits = load_digits()
for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
    if label < 4 and number < 700:
        folder = work / "images" / ["zero", "one", "two", "three"][label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15).astype("uint8")).save(folder / f"{number}.png")

(work / "checkpoints").mkdir()
for step in ("step0000", "step0400"):
    name = f"resnet8_simclr_cifar10_{step}.safetensors"
    shutil.copy(ROOT / "experiments" / "pretrained" / name, work / "checkpoints" / f"{step}.safetensors")

# %% [markdown]
# What you would type in a shell: your images, your checkpoints with their architecture, and a budget. The settings of
# `protocol` make it short, as everything here is small; leave them out for photographs.

# %%
options = [
    "stage=recommend",
    "budget=2min",
    "dataset=folder",
    f"dataset.root={work / 'images'}",
    "dataset.name=four_digits",
    "hub=checkpoints",
    f"hub.folder={work / 'checkpoints'}",
    "hub.architecture._target_=modelrank.hub.encoders.ResNet8",
    "+hub.architecture.width=24",
    "hub.preprocessing.size=32",
    "hub.preprocessing.resize=32",
    "protocol.image_size=32",
    "protocol.steps=24",
    "protocol.learning_rates=[1e-3,3e-3]",
    "protocol.racing.start=1e-3",
    "protocol.racing.rung=8",
    "extraction.workers=0",
    "logger=none",
    f"paths.cache={work / 'cache'}",
    f"hydra.run.dir={work / 'run'}",
]
print("python run.py", *options)
subprocess.run([sys.executable, "run.py", *options], cwd=ROOT, check=True)

# %% [markdown]
# One sentence, one row a model, one row a trial of the race.

# %%
told = json.loads((work / "run" / "recommendation.json").read_text())
print(told["sentence"])
print(pd.read_csv(work / "run" / "recommend.csv").to_string())

# %% [markdown]
# The network, fine-tuned: use it.

# %%
model = modelrank.load(work / "run" / "model")
files = [next((work / "images" / name).iterdir()) for name in model.classes]
for file, said in zip(files, model.predict(files), strict=True):
    print(f"{file.parent.name:6} -> {said}")
print("accuracy on the test images, measured once:", model.facts["test"])

# %% [markdown]
# Five lines load it without modelrank where the architecture is of timm or torchvision; `report.html` in the run's
# folder has the race as a figure.

# %%
assert {path.name for path in (work / "run").glob("*.html")} == {"report.html"}
shutil.rmtree(work)
