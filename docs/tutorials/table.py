# %% [markdown]
# # A table
#
# This tutorial trains a rule-based model on a CSV file. Each unit of the model is a rule over the columns, such as
# `alcohol > 13 and magnesium > 87.7`; the score of a class is the sum of the weights of the rules that hold. It runs in
# less than a minute on a CPU.

# %% [markdown]
# ## A CSV file
#
# The columns are measurements of wines; the column `label` names the grape. With your own file, skip this cell.

# %%
import csv
from pathlib import Path

from sklearn.datasets import load_wine

wine, grapes = load_wine(), ("nebbiolo", "grignolino", "barbera")
with Path("wines.csv").open("w", newline="") as opened:
    writer = csv.writer(opened)
    writer.writerow([*wine.feature_names, "label"])
    writer.writerows([*row, grapes[target]] for row, target in zip(wine.data, wine.target, strict=True))
print(Path("wines.csv").read_text().splitlines()[0])

# %% [markdown]
# ## Data, model, training
#
# `Table` reads the file, normalises each column by its mean and standard deviation on the training rows, and holds
# out 20 % of each class for the test. Explanations show the values as they stand in the file. After 100 epochs the
# action `simplify` drops what the rules do not need, and the last stage only measures.

# %%
import lightning

import zoo
from zoo.data import Table
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

lightning.seed_everything(0)
data = Table("wines.csv", batch_size=16)
train = Stage("train", epochs=100, train=("rules", "head", "log_temperature"))
recipe = Recipe(stages=(train, Stage("simplify"), Stage("measure", epochs=1, train=())), lr=0.01)
model = zoo.concepts.RRL(data.domain, rules=16, recipe=recipe)
metrics = zoo.fit(model, data, test=True, progress=False)
print(f"test accuracy {metrics['test/accuracy']:.3f}")

# %% [markdown]
# ## An explanation
#
# A rule that holds has the activation 1 and contributes its weight; a rule that does not hold contributes 0.

# %%
test = data.test_dataset()
why = model.explain(test[0]["input"][None])
print(why.check())

# %% [markdown]
# ## Why this class and not another
#
# The difference of two scores is a sum over the same rules. `versus` gives its terms.

# %%
other = model.explain(test[0]["input"][None], target="barbera")
print(why.versus(other))

# %% [markdown]
# ## A picture

# %%
why.figure(top=6).savefig("table.png", dpi=100)

# %% [markdown]
# ![A bar for each rule that holds, and the sum](table.png)
#
# Next: [which other models read tables](../choosing.md).
