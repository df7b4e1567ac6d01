"""What the page of a circuit shows, as plain data: its network, prompts, and what its nodes read and write."""

from typing import Any

import torch
from torch import Tensor

from zoo.circuits.analysis.contexts import GROUPS, Contexts
from zoo.circuits.analysis.token_pair_task import TokenPairTask, evaluate_task
from zoo.circuits.network.circuit import Circuit
from zoo.circuits.network.plain import is_small, plain_network
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain import CodeDomain
from zoo.domain.text import PAD

READS, WRITES = ("attn_in", "mlp_in"), ("attn_out", "mlp_out")
WORK = 4e7  # tokens times nodes of the network: about two seconds of a browser
SHOWN = 8  # prompts to choose from
NAMED = 10  # tokens that are listed for each channel


@torch.no_grad()
def describe(
    model: SparseTransformer,
    circuit: Circuit,
    held_out: TokenPairTask | None = None,
    contexts: Contexts | None = None,
) -> dict[str, Any]:
    """Describes a circuit for its page.

    Args:
        model: of the circuit.
        circuit: to be described.
        held_out: prompts of the task on which losses are measured; the page runs as many of them as a browser can.
            Without them, it shows the prompts that the circuit was saved with, and no losses.
        contexts: of the nodes of the circuit.

    Returns:
        "task", "report", "nodes" and "edges" as in `Circuit.to_dict`, nodes with their `number`; "removed" edges; the
        "network" of `zoo.circuits.network.plain`; "texts" of the tokens; "prompts", each with its `tokens`, and its
        `right` and `wrong` answers if there are `held_out`; "held_out" with the flat `tokens`, their `lengths`,
        the answers, and the scores of the circuit on them; "contexts".

    Raises:
        ValueError: the circuit belongs to another network, or the contexts to another circuit.
    """
    domain, network, plain = model.domain, model.network, circuit.to_dict()
    assert isinstance(domain, CodeDomain)
    if contexts is not None and len(contexts.tokens) != len(plain["nodes"]):
        raise ValueError(
            f"these contexts belong to a circuit of {len(contexts.tokens)} nodes; this one has {len(plain['nodes'])}. "
            "Measure them anew."
        )
    answers = torch.zeros(0, dtype=torch.long) if held_out is None else torch.cat([held_out.right, held_out.wrong])
    nodes = [
        {**node, "number": number, **_tokens(model, node, answers.unique())}
        for node, number in zip(plain["nodes"], circuit.nodes.tolist(), strict=True)
    ]
    some = circuit.samples[:SHOWN] if held_out is None else held_out.tokens[:SHOWN]
    prompts: list[dict[str, Any]] = [{"tokens": row[row != PAD].tolist()} for row in some]
    if held_out is not None:
        for i, prompt in enumerate(prompts):
            prompt |= {"right": int(held_out.right[i]), "wrong": int(held_out.wrong[i])}
    return {
        **plain,
        "nodes": nodes,
        "removed": [
            {"from": a, "to": b, "weight": w} for a, b, w in zip(*(t.tolist() for t in circuit.removed), strict=True)
        ],
        "network": plain_network(network, circuit, answers, is_small(network)),
        "texts": list(domain.texts),
        "prompts": prompts,
        "held_out": None if held_out is None else _held_out(model, circuit, held_out),
        "contexts": None if contexts is None else _contexts(contexts),
    }


def _tokens(model: SparseTransformer, node: dict[str, Any], answers: Tensor) -> dict[str, Any]:
    """Tokens with the largest embeddings of a channel that is read, and the logits that a written one moves."""
    network, channel = model.network, node["index"]
    if node["site"] in READS:
        column = network.embedding.weight[:, channel].cpu()
        return {"embeddings": _largest(column, column.abs())}
    if node["site"] not in WRITES:
        return {}
    column = (network.unembedding.weight[:, channel] * network.norm.weight[channel]).cpu()
    chosen = [[token, float(column[token])] for token in answers.tolist()]
    return {"logits": _largest(column, column.abs()), "answers": chosen if len(chosen) <= NAMED else []}


def _largest(column: Tensor, size: Tensor) -> list[list[float]]:
    """Numbers and values of the tokens of largest size, without zeros."""
    best = size.argsort(descending=True, stable=True)[:NAMED].tolist()
    return [[token, float(column[token])] for token in best if float(size[token]) > 0]


def _held_out(model: SparseTransformer, circuit: Circuit, task: TokenPairTask) -> dict[str, Any]:
    """As many prompts as a browser can run, in whole pairs, and the scores of the circuit on them."""
    lengths = (task.tokens != PAD).sum(1)
    room = int((lengths.cumsum(0) * circuit.mask.numel() <= WORK).sum())
    some = task.rows(slice(max(room - room % 2, min(2, len(task)))))
    scores = evaluate_task(model.network, some.to(model.device), circuit.ablation(model.network))
    return {
        "tokens": some.tokens[some.tokens != PAD],
        "lengths": (some.tokens != PAD).sum(1),
        "right": some.right,
        "wrong": some.wrong,
        "scores": scores,
        "all": len(task),
    }


def _contexts(contexts: Contexts) -> dict[str, Any]:
    return {
        "groups": GROUPS,
        "shape": list(contexts.tokens.shape),
        "tokens": contexts.tokens,
        "values": contexts.values,
        "place": int(contexts.place),
        "active": contexts.active,
        "largest": contexts.largest,
        "smallest": contexts.smallest,
        "count": contexts.count,
    }
