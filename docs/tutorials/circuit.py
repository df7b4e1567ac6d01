# %% [markdown]
# # A circuit
#
# This tutorial finds the part of a language model that does one thing: choosing the quote that closes a string. The
# model is a transformer with few non-zero weights, so the part is small enough to draw. It comes with the package; the
# search takes less than a minute on a CPU.

# %% [markdown]
# ## The model
#
# Every unit is a write to the residual stream at the last token, and the score of the next token is the sum of what the
# units write.

# %%
import zoo

model = zoo.load("sparse-idioms")  # 2 layers, 1 of 16 weights is not zero
prompt = "print('hello"
why = model.explain(model.domain.preprocess(prompt)[None])
print(prompt, "->", why.target_names[0])
print(f"{len(model.units())} units, of which {int((why.contributions != 0).sum())} contribute")

# %% [markdown]
# ## A task
#
# A task is a set of pairs of prompts with different right answers. `train` pairs are searched on, `held_out` pairs are
# measured on. `python train.py list tasks` lists all twenty.

# %%
from zoo.circuits import TokenPairTask
from zoo.data.synthetic.code_tasks import encode, find_task

task = find_task("single_double_quote")
pairs = {split: encode(task, model.domain, 16, split, 0) for split in ("train", "held_out")}
for tokens in pairs["train"].prompts[0]:
    print(repr("".join(model.domain.tokens(tokens))))

# %% [markdown]
# ## The search
#
# `prune` learns which nodes can be held at their mean without losing the task, then drops what is left over one by one.

# %%
from zoo.circuits import Pruning, prune

train, held_out = (TokenPairTask.of_pairs(found.prompts, found.answers) for found in pairs.values())
circuit = prune(model, task.name, train, held_out, Pruning(steps=100, penalties=(3e-3,)), quiet=True)
report = circuit.report
print(f"{report['nodes']} of {report['all_nodes']} nodes, {report['edges']} of {report['all_edges']} weights")
for what in ("whole", "circuit", "without"):
    print(f"{what:8} loss {report[what]['loss']:.3f}, accuracy {report[what]['accuracy']:.0%}")

# %% [markdown]
# `circuit`: everything else is held at its mean. `without`: only the circuit is held at its mean. A circuit is
# sufficient when the first is accurate, and necessary when the second guesses.

# %% [markdown]
# ## A picture
#
# One column for each site of each layer, in the order of the computation; a line for each weight, blue if positive.
# The number of a node is its channel or neuron. A channel that is written can be read by every later column under the
# same number: here channel 3, written by the attention of layer 0, is read by its MLP.

# %%
from matplotlib.figure import Figure

nodes, edges = circuit.to_dict()["nodes"], circuit.to_dict()["edges"]
SITES = ("attn_in", "attn_q", "attn_k", "attn_v", "attn_out", "mlp_in", "mlp_neuron", "mlp_out")
columns = sorted({(node["layer"], SITES.index(node["site"])) for node in nodes})
place, filled = [], dict.fromkeys(columns, 0)
for node in nodes:
    column = (node["layer"], SITES.index(node["site"]))
    place.append((columns.index(column), -filled[column]))
    filled[column] += 1

figure = Figure(figsize=(9, 4), layout="constrained")
axes = figure.subplots()
axes.set_axis_off()
for edge in edges:
    (x, y), (u, v) = place[edge["from"]], place[edge["to"]]
    axes.plot([x, u], [y, v], color="#1f6fb4" if edge["weight"] > 0 else "#c2620a", linewidth=1 + abs(edge["weight"]))
for node, (x, y) in zip(nodes, place, strict=True):
    circle = {"boxstyle": "round", "facecolor": "white", "edgecolor": "#8a8f98"}
    axes.text(x, y, node["index"], ha="center", va="center", fontsize=8, bbox=circle)
for i, (layer, site) in enumerate(columns):
    axes.text(i, 0.8, f"layer {layer}\n{SITES[site]}", ha="center", fontsize=8)
figure.savefig("circuit.png", dpi=100)

# %% [markdown]
# ![Nodes in columns from the first read to the last write, and the weights between them](circuit.png)
#
# ## Is the story true?
#
# The picture says that channel 3 carries the quote. An interchange tests it: each prompt of a pair gets the value that
# the channel has on the other prompt. If the story is true, the answer follows.

# %%
import torch

from zoo.circuits import interchange

swapped = torch.zeros(circuit.mask.numel(), dtype=torch.bool)
swapped[circuit.layout.number("layer 0 attn_out 3")] = True
swapped = swapped.view(circuit.mask.shape)
for name, within in (("circuit", circuit), ("complete network", None)):
    found = interchange(model, held_out, swapped, within)
    print(f"{name}: {found.moved:.0%} of the logit difference follows, {found.flipped:.0%} of the answers flip")

# %% [markdown]
# The story is half true: in this circuit, about half of the difference goes through this channel; in the complete
# network it is a fifth, and the answers do not flip. A circuit shows one way that suffices.
#
# From the command line, `python train.py prune --checkpoint sparse-idioms --task single_double_quote` also measures
# controls, each with a verdict (random nodes, half of the other nodes, frozen norms, a nonsense task, shuffled
# weights), and writes a page with what each node does. `python train.py interchange --checkpoint sparse-idioms
# --task single_double_quote` swaps the nodes with the largest effects; `--circuit FILE` does so within a circuit.
