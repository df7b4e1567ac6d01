"""Quality of the bridges between a sparse and a dense network, and steering of the dense network by a sparse node.

`python -m benchmarks.bridges --run runs/bridge_idioms_cpu` writes benchmarks/BRIDGES.md and .json: for every site, the
error of encoder and decoder, and the cost of continuing in the other network from there, in nats per token on test data
(KL divergence from the prediction of the dense network, and language loss). Then, for token-pair tasks: the eight read
nodes of the sparse network with the largest effect on its own answers are candidates; the one with the largest effect
on the dense network, both on training pairs, steers the dense network on held-out pairs, compared with random
directions of the same size.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo.circuits import BridgedTransformer, TokenPairTask, rank_reads, steer
from zoo.circuits.network.bridge_losses import kl_divergence, log_probabilities, nmse, residual_streams, run_from_sites
from zoo.circuits.network.transformer import SparseNetwork
from zoo.cli.checkpoint_data import data_of
from zoo.data.synthetic.code_tasks import encode, find_task
from zoo.domain.text import PAD
from zoo.training.language import next_tokens
from zoo.training.projection_set import ProjectionSet

HERE = Path(__file__).parent
CANDIDATES = 8
TASKS = ("single_double_quote", "while_return_true")  # the tasks of the paper's figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=Path, default=Path("runs/bridge_idioms_cpu"), help="folder of a run with its checkpoint"
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--random", type=int, default=16, help="number of random directions")
    parser.add_argument("--output", type=Path, default=HERE / "BRIDGES")
    options = parser.parse_args()
    model = zoo.load(options.run / "checkpoint").to("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(model, BridgedTransformer):
        raise ValueError(f"{options.run} holds a {type(model).__name__}; expected a bridged_transformer.")
    tokens = ProjectionSet(data_of(options.run / "checkpoint", None, [], "").test_dataset(), device=model.device)
    record = {**bridges(model, tokens), "steering": {}}
    for task in options.tasks:
        record["steering"][task] = steering(model, task, options.pairs, options.random)
    options.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    options.output.with_suffix(".md").write_text(report(record), encoding="utf-8")
    print(report(record))


@torch.no_grad()
def bridges(model: BridgedTransformer, tokens: ProjectionSet) -> dict[str, Any]:
    """Language losses and errors of every site, as means over batches weighted by their numbers of tokens."""
    total, count = {}, 0
    for batch in tokens:
        weight = int((batch["input"] != PAD).sum())
        for name, value in measure(model, batch["input"], batch["target"]).items():
            total[name] = total.get(name, 0.0) + weight * value
        count += weight
    mean = {name: float(value / count) for name, value in total.items()}
    sites = []
    for i in range(model.sites):
        title = f"layer {i // 2} {'MLP' if i % 2 else 'attention'}"
        sites.append({"site": title, **{n.removeprefix(f"{i} "): v for n, v in mean.items() if n.startswith(f"{i} ")}})
    return {"sparse": mean["sparse"], "dense": mean["dense"], "sites": sites}


def measure(model: BridgedTransformer, tokens: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The measurements of one batch; those of a site begin with its number."""
    sparse, dense, real = model.sparse.network, model.dense, tokens != PAD
    following = next_tokens(tokens, target)

    def language(network: SparseNetwork, residual: Tensor) -> Tensor:
        found = log_probabilities(network, residual, tokens)
        return F.nll_loss(found.flatten(0, 1), following.flatten(), ignore_index=PAD)

    ours, theirs = residual_streams(sparse, tokens), residual_streams(dense, tokens)
    reference = log_probabilities(dense, theirs[-1], tokens)
    found = {"sparse": language(sparse, ours[-1]), "dense": language(dense, theirs[-1])}
    for i in range(model.sites):
        for name, network, stream, target_stream in (
            ("to sparse", sparse, model.encode(i, theirs[i]), ours[i]),
            ("to dense", dense, model.decode(i, ours[i]), theirs[i]),
        ):
            residual = run_from_sites(network, {i: stream})[i]
            found[f"{i} {name} nmse"] = nmse(stream, target_stream, real)
            found[f"{i} {name} kl"] = kl_divergence(network, residual, tokens, reference)
            found[f"{i} {name} nats"] = language(network, residual)
    return found


def steering(model: BridgedTransformer, name: str, pairs: int, random: int) -> dict[str, Any]:
    """Steers by the node with the largest effect on the dense network, among candidates; mean probabilities."""
    (train, other), (held_out, held_out_other) = (prompts(model, name, pairs, split) for split in ("train", "held_out"))
    nodes = dict(rank_reads(model, train, other)[:CANDIDATES])
    moved = {node: steer(model, train, other, node, strengths=(1.0,)).dense.mean().item() for node in nodes}
    node = max(moved, key=moved.__getitem__)
    found = steer(model, held_out, held_out_other, node, random=random)
    each = found.random.mean(2)
    return {
        "node": f"layer {node.layer} {node.site} {node.channel}",
        "rise": nodes[node],
        "prompts": len(held_out),
        "strengths": list(found.strengths),
        "dense": found.dense.mean(1).tolist(),
        "sparse": found.sparse.mean(1).tolist(),
        "random": each.mean(0).tolist(),
        "random_range": [each.amin(0).tolist(), each.amax(0).tolist()],
        "counterfactual": found.counterfactual.mean().item(),
    }


def prompts(model: BridgedTransformer, name: str, pairs: int, split: str) -> tuple[TokenPairTask, Tensor]:
    """Prompts of a task, and the other prompt of each pair; pairs of different lengths are skipped."""
    found = encode(find_task(name), model.domain, pairs, split)  # pyright: ignore[reportArgumentType]
    lengths = (found.prompts != PAD).sum(2)
    same = lengths[:, 0] == lengths[:, 1]
    if not bool(same.any()):
        raise ValueError(f"no pair of '{name}' has two prompts of the same number of tokens, which steering needs.")
    task = TokenPairTask.of_pairs(found.prompts[same], found.answers[same])
    return task, task.tokens.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def report(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    lines = [
        "# Bridges between a sparse and a dense network",
        "",
        f"Language loss on test data in nats per token: sparse {record['sparse']:.3f}, dense {record['dense']:.3f}. "
        "Each row is a run that continues in the other network from that site on. *KL*: divergence from the prediction "
        "of the dense network. *Loss*: language loss. An NMSE of 1 is that of the mean.",
        "",
        "| site | to sparse: NMSE | KL | loss | to dense: NMSE | KL | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for site in record["sites"]:
        cells = (site[f"{way} {what}"] for way in ("to sparse", "to dense") for what in ("nmse", "kl", "nats"))
        lines.append(f"| {site['site']} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    for task, found in record["steering"].items():
        low, high = found["random_range"]
        lines += [
            "",
            f"## Steering: {task}",
            "",
            f"Mean two-way probability of the other prompt's answer on {found['prompts']} held-out prompts, steered by "
            f"{found['node']} (chosen on training pairs). On the other prompts themselves, the dense network gives it "
            f"{found['counterfactual']:.3f}.",
            "",
            "| strength | dense network | sparse network | dense, random directions (range) |",
            "|---|---|---|---|",
        ]
        for i, strength in enumerate(found["strengths"]):
            lines.append(
                f"| {strength:.1f} | {found['dense'][i]:.3f} | {found['sparse'][i]:.3f} | {found['random'][i]:.3f} "
                f"({low[i]:.3f} to {high[i]:.3f}) |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
