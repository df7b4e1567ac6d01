"""A transformer with a planted circuit: all edges that a task needs are known."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from zoo.circuits.analysis.token_pair_task import TokenPairTask
from zoo.circuits.network.options import Sparsity
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.data.synthetic.planted_circuit import PlantedCircuit
from zoo.domain import CodeDomain
from zoo.training.projection_set import ProjectionSet
from zoo.utils.checks import check_at_least

LENGTH = 5  # tokens of a prompt; the last one is always the same
GAP = 4.0  # mean logit difference between the two answers
CLEAR = 0.5  # smallest share of it that a prompt has
WINDOWS = 512  # prompts of the means


class Planted(NamedTuple):
    """A network, a task, and the edges that the task needs.

    Attributes:
        model: two layers without sparsity, with measured means.
        train: prompts of a search.
        held_out: other prompts.
        source: (E,) numbers of the nodes where the needed edges start.
        destination: (E,) where they end.
    """

    model: SparseTransformer
    train: TokenPairTask
    held_out: TokenPairTask
    source: Tensor
    destination: Tensor


@torch.no_grad()
def plant(
    domain: CodeDomain,
    features: int = 24,
    hidden: int = 16,
    classes: int = 8,
    fan_in: int = 3,
    noise: float = 0.01,
    pairs: int = 64,
    seed: int = 0,
) -> Planted:
    """Builds a transformer whose weights are those of a `PlantedCircuit`, and noise.

    Each token has random features. The attention of layer 0, which is uniform, copies their mean over the prompt to
    other channels, the MLP of layer 0 is the teacher of the planted circuit, and each answer token reads one of its
    outputs. The task is to choose between the first two answers as the network does, so that only the paths to these
    two outputs are needed; the other outputs and layer 1 are not. Each weight has noise, so that no weight is 0.

    Args:
        domain: at least `classes` + 32 tokens, prompts of at least 5.
        features: number of features.
        hidden: hidden neurons of the teacher.
        classes: outputs of the teacher.
        fan_in: features that a neuron reads, and neurons that an output reads.
        noise: standard deviation of the noise; planted weights are about 1.
        pairs: pairs of prompts, to search and to test.
        seed: of weights and prompts.

    Raises:
        ValueError: a number out of range, or a domain that is too small.
    """
    check_at_least(32 + classes, tokens=len(domain.classes))
    check_at_least(LENGTH, length=domain.shape[0])
    teacher = PlantedCircuit(features, hidden, classes, fan_in, seed=seed)
    width = -(-(2 * features + classes) // 8) * 8
    draw = torch.Generator().manual_seed(seed)
    dense = Sparsity(density=1.0, activation_density=1.0)
    model = SparseTransformer(domain, width, 2, 8, sparsity=dense, bigram=False, sink=False).eval()
    net = model.network
    for name, p in net.named_parameters():
        if "norm" not in name:
            p.copy_(noise * torch.randn(p.shape, generator=draw) if p.ndim > 1 else torch.zeros_like(p))
    net.embedding.weight[:, :features] += torch.randn(len(domain.classes), features, generator=draw)
    block, index = net.blocks[0], torch.arange(features)
    value = block.qkv.weight[2 * width :]
    block.qkv.weight[: 2 * width] = 0  # uniform attention
    value[index, index] += 1
    block.out.weight[features + index, index] += 2
    block.up.weight[:hidden, features : 2 * features] += teacher.first.T
    block.down.weight[2 * features : 2 * features + classes, :hidden] += teacher.second.T
    answers = torch.arange(1, classes + 1)
    net.unembedding.weight[answers, 2 * features + answers - 1] += 1
    tokens = torch.randint(classes + 1, len(domain.classes), (WINDOWS + 64 * pairs, LENGTH), generator=draw)
    tokens[:, -1] = classes + 1
    outputs = net.forward(tokens, net.trace(), tokens.new_zeros(len(tokens)))[0][:, -1, 2 * features :]
    block.down.bias[2 * features] -= (outputs[:, 0] - outputs[:, 1]).median()  # both answers are equally frequent
    model.average(ProjectionSet(TensorDataset(tokens[:WINDOWS], tokens[:WINDOWS, 0])))
    tasks = _tasks(model, tokens[WINDOWS:], pairs)
    source, destination = _needed(model, teacher, features)
    return Planted(model, *tasks, source, destination)


def _tasks(model: SparseTransformer, tokens: Tensor, pairs: int) -> tuple[TokenPairTask, TokenPairTask]:
    """Two tasks of prompts with a clear answer; scales the answers so that the mean difference is `GAP`."""
    net = model.network
    logits = net.last_logits(tokens, net.trace())
    net.unembedding.weight[1:3] *= GAP / (logits[:, 1] - logits[:, 2]).abs().mean()
    logits = net.last_logits(tokens, net.trace())
    difference = logits[:, 1] - logits[:, 2]
    clear = [tokens[sign * difference > CLEAR * GAP] for sign in (1, -1)]
    if min(map(len, clear)) < 2 * pairs:
        raise ValueError(
            f"only {min(map(len, clear))} prompts have one of the answers clearly; {2 * pairs} are needed. Choose "
            "another seed, or fewer pairs."
        )
    prompts = torch.stack([side[: 2 * pairs] for side in clear], 1)
    right = torch.tensor([1, 2]).expand(pairs, 2)
    return TokenPairTask.of_pairs(prompts[:pairs], right), TokenPairTask.of_pairs(prompts[pairs:], right)


def _needed(model: SparseTransformer, teacher: PlantedCircuit, features: int) -> tuple[Tensor, Tensor]:
    """Ends of the edges on the paths to the first two outputs."""
    second = teacher.second[:, :2] != 0
    neurons = second.any(1)
    first = (teacher.first != 0) & neurons
    layout = model.network.layout

    def number(site: str, index: Tensor) -> Tensor:
        return layout.part(site).start + index

    read = first.any(1).nonzero().flatten()
    feature, neuron = first.nonzero(as_tuple=True)
    writer, output = second.nonzero(as_tuple=True)
    ends = [
        (number("attn_in", read), number("attn_v", read)),
        (number("attn_v", read), number("attn_out", features + read)),
        (number("mlp_in", features + feature), number("mlp_neuron", neuron)),
        (number("mlp_neuron", writer), number("mlp_out", 2 * features + output)),
    ]
    source, destination = zip(*ends, strict=True)
    return torch.cat(source), torch.cat(destination)
