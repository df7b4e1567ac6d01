# %% [markdown]
# # Text with concepts
#
# This tutorial trains a concept bottleneck on short restaurant reviews: the model first reads what a review says about
# the food and the service, and then rates it from that alone. A wrong concept can be corrected by hand, and the rating
# changes with it. It runs in less than a minute on a CPU.

# %% [markdown]
# ## A CSV file
#
# Each review has a rating and, for each aspect, whether it is praised, criticised or not mentioned. The reviews are
# generated; with your own file, skip this cell. Concepts that nobody annotated may be left empty.

# %%
import csv
import random
from pathlib import Path

draw = random.Random(0)
words = {
    "food": (("soup", "fish", "bread", "dessert"), ("delicious", "fresh"), ("cold", "stale")),
    "service": (("waiter", "staff", "host"), ("friendly", "quick"), ("rude", "slow")),
}
rows = []
for _ in range(800):
    said = {aspect: draw.choice(("positive", "negative", "unmentioned")) for aspect in words}
    parts = []
    for aspect, (things, praise, criticism) in words.items():
        if said[aspect] != "unmentioned":
            verdict = draw.choice(praise if said[aspect] == "positive" else criticism)
            parts.append(f"the {draw.choice(things)} was {verdict}")
    draw.shuffle(parts)
    parts.append(draw.choice(("we came on a monday", "we sat by the window", "it rained all evening")))
    value = {"positive": 1, "negative": -1, "unmentioned": 0}
    points = 2 * value[said["food"]] + value[said["service"]]  # food counts twice
    rating = "good" if points > 0 else "bad" if points < 0 else "mixed"
    rows.append((", ".join(parts), rating, said["food"], said["service"]))
with Path("reviews.csv").open("w", newline="") as opened:
    writer = csv.writer(opened)
    writer.writerow(("text", "label", "food", "service"))
    writer.writerows(rows)
print(*rows[:3], sep="\n")

# %% [markdown]
# ## Data, model, training
#
# `TextTable` builds the vocabulary and holds out 20 % of each label. Every value of a concept column becomes a concept,
# such as `food: positive`, and exactly one of each column is true. The first stage trains the concepts, the second the
# head, on the predicted concepts.

# %%
import lightning

import zoo
from zoo.data import TextTable
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

lightning.seed_everything(0)
data = TextTable("reviews.csv", concepts=["food", "service"], length=24, batch_size=32)
recipe = Recipe(
    stages=(
        Stage("concepts", epochs=12, train=("backbone", "concepts")),
        Stage("head", epochs=10, train=("head",)),
    ),
    lr={"backbone": 3e-3, "concepts": 3e-3, "head": 3e-2},
)
model = zoo.concepts.C3M(
    data.domain,
    backbone={"name": "transformer", "width": 32, "layers": 1, "heads": 2},
    bottleneck="softmax",
    training="sequential",
    mixup=0.0,
    recipe=recipe,
)
metrics = zoo.fit(model, data, test=True, progress=False)
print(f"test accuracy {metrics['test/accuracy']:.3f}, of concepts {metrics['test/concept_accuracy']:.3f}")

# %% [markdown]
# ## An explanation
#
# Each concept contributes its probability times its weight. The columns in the middle are the score of this class if
# the concept were absent or present.

# %%
review = "the soup was cold, the waiter was friendly"
x = model.domain.preprocess(review)[None]
why = model.explain(x)
print(why.check())

# %% [markdown]
# ## An intervention
#
# Suppose the soup was meant to be cold. Set the concept to its true value, and read the scores again: `readout` needs
# the evidence only, not the text.

# %%
scores, evidence = model.step(x)
corrected = model.readout(model.edit(evidence, {"food: positive": 1.0, "food: negative": 0.0}))
for name, before, after in zip(data.domain["classes"], scores.softmax(1)[0], corrected.softmax(1)[0], strict=True):
    print(f"{name:6} {before:.3f} -> {after:.3f}")

# %% [markdown]
# ## A picture

# %%
why.figure(top=6).savefig("text.png", dpi=100)

# %% [markdown]
# ![A bar for each concept, and the sum](text.png)
#
# Next: [more on interventions](../how-to/intervene.md), such as which concept to ask for first.
