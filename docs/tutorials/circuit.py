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
from zoo.circuits import Intervention, intervene

swap = [Intervention("swap", {"layer 0 attn_out 3": 1.0})]
for name, within in (("circuit", circuit), ("complete network", None)):
    found = intervene(model, held_out, swap, within)
    print(f"{name}: {found.moved:.0%} of the logit difference follows, {found.flipped:.0%} of the answers flip")

# %% [markdown]
# The story is half true: in this circuit, about half of the difference goes through this channel; in the complete
# network it is a fifth, and the answers do not flip. A circuit shows one way that suffices.
#
# From the command line, `python train.py prune --checkpoint sparse-idioms --task single_double_quote` also measures
# controls, each with a verdict (random nodes, half of the other nodes, frozen norms, a nonsense task, shuffled
# weights), and writes the page of the next section. `python train.py intervene --checkpoint sparse-idioms
# --task single_double_quote` swaps the nodes with the largest effects; `--circuit FILE` does so within a circuit. The
# story of a circuit can be kept and tested again: see [how to](../how-to/circuits.md).

# %% [markdown]
# ## The page of a circuit
#
# `python train.py circuit --checkpoint sparse-idioms` writes the page of the circuit that comes with the model (found
# by `prune --pairs 32 --steps 150 --penalties 3e-3`, whose contexts are stored with it). It is one file that needs no
# server. On it you type a prompt, and the circuit runs with its own weights beside the complete network; you switch off
# nodes and see the loss; and each node shows what it reads, what it writes, and where in the corpus it is large. What
# the page says about this circuit:
#
# 1. *Value channel 14 of head 0 in layer 0 tells a single quote from a double one.* Channels 8, 28 and 79, which it
#    reads, are written by `('` and `')`. It is largest where a single-quoted string opens, negative where one closes.
# 2. *Key channel 15 draws attention to quotes, key channel 5 away from words.* The query is the same for most words,
#    and most of the attention goes to the sink, so that the head sums what each quote adds instead of averaging.
# 3. *Neuron 412 is on inside a single-quoted string.* It reads the sum of the head through channels 3, 88 and 126. It
#    lowers `")` through channels 122 and 18, and raises `')` through 34 and 85. Without it, the answer is `")`: double
#    quotes are the default and need no evidence.
#
# The experiments behind these sentences, in the circuit:

# %%
from dataclasses import replace

import torch

from zoo.checkpoints.shipped import find_shipped
from zoo.circuits import Circuit

shipped = Circuit.load(find_shipped("sparse-idioms") / "circuits" / "single_double_quote")


def run(prompt, within=shipped):
    """Logit of ') minus that of "), the tokens, and the values of all sites."""
    tokens = torch.tensor([model.domain.encode(prompt)])
    trace = model.network.trace(within and within.ablation(model.network), record=True)
    with torch.no_grad():
        logits = model.network.last_logits(tokens, trace)[0]
    single, double = (logits[model.domain.token(text)] for text in ("')\n", '")\n'))
    return float(single - double), model.domain.tokens(tokens[0]), trace.values


_, tokens, values = run("print('angle')\nprint(\"price")
print("token     value 14   key 15    key 5")
for i in (1, 2, 3, 5, 6):
    row = [float(values[0, site][0, i, channel]) for site, channel in (("attn_v", 14), ("attn_k", 15), ("attn_k", 5))]
    print(f"{tokens[i]!r:8}" + "".join(f"{value:9.2f}" for value in row))

without = shipped.mask.clone()
without.view(-1)[shipped.layout.number("layer 0 mlp_neuron 412")] = False
for prompt in ("print('size word", 'print("size word', "print('angle"):
    (difference, _, values), (ablated, _, _) = run(prompt), run(prompt, replace(shipped, mask=without))
    neuron = float(values[0, "mlp_neuron"][0, -1, 412])
    print(f"{prompt}: neuron 412 is {neuron:.2f}, logit difference {difference:+.2f}, without it {ablated:+.2f}")

effects = dict(zip(shipped.nodes.tolist(), shipped.node_effect.tolist(), strict=True))
for name in ("attn_v 14", "attn_k 15", "attn_k 5", "attn_out 3", "mlp_neuron 412"):
    print(f"without {name:14} the held-out loss rises by {effects[shipped.layout.number(f'layer 0 {name}')]:.2f}")

# %% [markdown]
# ## Predict, then run
#
# A story is as good as what it predicts. Three predictions were written down from the page before the prompts were run:
#
# | prompt | predicted | found |
# |---|---|---|
# | `print('hello world`: words that it never saw | `')` | `')`: right |
# | `size = {"width": 3, "name": print("title`: `{"` writes channel 28 as `('` does | `')`, fooled | `")`: wrong |
# | six lines `print('path')`, then `print('title`: closing quotes outweigh opening ones | `")`, fooled | `')`: wrong |
#
# The panel of attention shows why. `{"` does add to the sum, but a third of what `('` adds, which is not enough. And
# the key of `('` is larger than that of `')`, so that a closed string adds to the sum instead of subtracting from it.
# The story was corrected, and now predicts the opposite error: closed single-quoted strings before a *double*-quoted
# one add up, so that after six of them the circuit is fooled, but not after one, and not the complete network.

# %%
for count in (0, 1, 2, 6):
    prompt = "print('path')\n" * count + 'print("title'
    (circuit_says, _, values), (network_says, _, _) = run(prompt), run(prompt, None)
    total = float(values[0, "gathered"][0, -1, 14])
    answers = ["')" if says > 0 else '")' for says in (circuit_says, network_says)]
    print(f"{count} closed strings: the head gathers {total:.2f}; circuit {answers[0]}, complete network {answers[1]}")

# %% [markdown]
# All three came true. They also show what the circuit is not: the complete network has more to go on. The page says so
# too: the control of frozen norms warns, with an accuracy of 9 % for the worse answer. The 26 nodes suffice for 95 % of
# the held-out prompts, not for `print('angle` above; the network does not always do it that way.
