# %% [markdown]
# # Your own images
#
# This tutorial trains a prototype network on a folder of images, explains three predictions, and removes a prototype.
# It runs in less than a minute on a CPU. With your own images, skip the first cell and put them into folders by class:
# `birds/cardinal/1.jpg`, `birds/jay/2.jpg`, ...

# %% [markdown]
# ## A folder of images
#
# To have something to train on, write three classes of scikit-learn's handwritten digits as PNG files.

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

digits, folder = load_digits(), Path("images")
for number, name in {0: "zero", 3: "three", 7: "seven"}.items():
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i in np.flatnonzero(digits.target == number):
        pixels = (digits.images[i] * 15.9).astype("uint8")  # 8 x 8, from 0 to 16
        Image.fromarray(pixels).resize((32, 32)).save(folder / name / f"{i}.png")
print(len(list(folder.rglob("*.png"))), "images in", [path.name for path in sorted(folder.iterdir())])

# %% [markdown]
# ## Data, model, training
#
# `ImageFolder` reads the folder, checks every file, and holds out 20 % of each class for the test. It has a `domain`:
# the names of the classes and the preprocessing. The model takes the domain as its first argument and keeps it, so a
# saved model reads raw files without the data set.
#
# A *recipe* says how to train. Here: first all layers but the head; then `push` replaces each prototype by the most
# similar patch of a training image, so that it can be shown; then the head alone.

# %%
import lightning

import zoo
from zoo.data import ImageFolder
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

lightning.seed_everything(0)
data = ImageFolder("images", size=(32, 32), channels=1, batch_size=32)
recipe = Recipe(
    stages=(
        Stage("joint", epochs=8, train=("backbone", "addon", "prototypes")),
        Stage("push"),
        Stage("last", epochs=8, train=("head",)),
    ),
    lr={"backbone": 1e-3, "addon": 3e-3, "prototypes": 3e-3, "head": 1e-2},
)
model = zoo.prototypes.ProtoPNet(
    data.domain,
    backbone={"name": "convnet", "widths": [16, 32, 64], "pool": [0, 1]},  # small; "resnet34" for photographs
    prototypes_per_class=3,
    dim=32,
    recipe=recipe,
)
metrics = zoo.fit(model, data, test=True, progress=False)
print(f"test accuracy {metrics['test/accuracy']:.3f}")

# %% [markdown]
# ## An explanation
#
# `explain_file` reads an image and explains the prediction. The score is a sum: each prototype contributes its
# similarity to the image times its weight for the class. `check` compares the sum with the score.

# %%
why = model.explain_file("images/seven/7.png")
print(why.check())

# %% [markdown]
# ## Without one prototype
#
# `without` gives the score with some units removed. It needs no forward pass, because the score is a sum.

# %%
strongest = why.top(1)[0][0].unit.name
print(f"score {why.score.item():.3f}, without '{strongest}' {why.without([strongest]).item():.3f}")

# %% [markdown]
# ## A picture
#
# Boxes mark where the three strongest prototypes are found in the image; bars are contributions.

# %%
import torch

test = data.test_dataset()
x = torch.stack([test[i]["input"] for i in (0, 40, 80)])
model.explain(x).figure(top=6).savefig("images.png", dpi=100)

# %% [markdown]
# ![The evidence for three digits: boxes in the image, and a bar for each prototype](images.png)
#
# Next: [save the model and load it elsewhere](../how-to/load-offline.md), or
# [remove prototypes for good](../how-to/remove-prototypes.md). The same from the command line, with a config file, is
# in the README.
