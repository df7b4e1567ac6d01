"""A spectral dictionary beside n-grams and a transformer of its size: `python -m benchmarks.spectral`.

Text: generated Python idioms, the data of the shipped language models. All networks are trained for the same number of
windows, with the same optimizer and schedule; the learning rates of the dictionary and of the transformer are the best
of three on validation text. Each is then trained with three seeds and measured once on test text, in bits per token.
N-grams count the training text once. Finished measurements are kept: an interrupted command resumes. Writes
benchmarks/SPECTRAL.md and .json.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import seed_everything
from torch import Tensor, nn

from benchmarks.kneser_ney import KneserNey, counted
from benchmarks.spectral_page import page
from zoo.data import CodeData
from zoo.sequences.spectral_dictionary import SpectralDictionary
from zoo.training.language import language_loss
from zoo.training.recipe import Recipe
from zoo.utils.atomic import write_text

HERE = Path(__file__).parent
RECORD = HERE / "SPECTRAL.json"
DATA = {"idioms": 1.0, "vocabulary": 768, "length": 96, "windows": 1200, "batch_size": 16}
EPOCHS, RATES, SEEDS = 5, (3e-3, 1e-2, 3e-2), (0, 1, 2)
SIZE = {"atoms": 48, "width": 24, "taps": 8}
TUNED = ("SpectralDictionary", "transformer")  # the variants of the dictionary have its rate
TERMS = {"reconstruction": 0.1, "spectrum": 0.1}
Model = nn.Module


class Transformer(nn.Module):
    """A plain causal transformer, pre-norm, with tied embeddings.

    Args:
        vocabulary: V.
        length: most tokens of a prompt.
        width: of the residual stream.
        layers: number of layers.
        heads: of each attention.
        neurons: of each MLP.
    """

    def __init__(self, vocabulary: int, length: int, width: int, layers: int, heads: int, neurons: int) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        for table in (self.embedding, self.positions):
            nn.init.normal_(table.weight, std=0.3)
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(width, heads, neurons, **options)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of the token after each."""
        steps = tokens.shape[1]
        earlier = nn.Transformer.generate_square_subsequent_mask(steps)
        h = self.blocks(self.embedding(tokens) + self.positions.weight[:steps], mask=earlier, is_causal=True)
        return h @ self.embedding.weight.T + self.bias


def dictionary(data: CodeData, terms: dict[str, float] | None = None, **options: Any) -> SpectralDictionary:
    return SpectralDictionary(data.domain, recipe=Recipe(coefficients=terms or {}), **{**SIZE, **options})


NETWORKS: dict[str, Callable[[CodeData], Model]] = {
    "SpectralDictionary": dictionary,
    "transformer": lambda data: Transformer(len(data.domain["classes"]), data.length, 24, 2, 3, 44),
    "atoms that do not turn": lambda data: dictionary(data, frequencies="none", atoms=50),
    "with reconstruction and spectrum": lambda data: dictionary(data, TERMS),
    "started at up to 24 cycles": lambda data: dictionary(data, fastest=24.0),
    "a frequency for each dimension": lambda data: dictionary(data, frequencies="dimension", atoms=46),
}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    data = CodeData(**DATA)
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}

    def keep(key: str, measure: Callable[[], dict[str, Any]]) -> None:
        if key not in record:
            record[key] = measure()
            print(f"{key}: {record[key]}", flush=True)
            write_text(RECORD, json.dumps(record, indent=1) + "\n")

    budget = count(dictionary(data))
    keep("Kneser-Ney of equal size", lambda: n_grams(data, (2, 3, 4, 5), budget))
    keep("Kneser-Ney, not pruned", lambda: n_grams(data, (4, 5, 6), None))
    for name, make in NETWORKS.items():
        if name in TUNED:
            for rate in RATES:
                keep(f"{name}, validation, rate {rate}", lambda m=make, r=rate: trained(m, data, r, 0, "val"))
        tuned = name if name in TUNED else TUNED[0]
        best = min(RATES, key=lambda r, n=tuned: record[f"{n}, validation, rate {r}"]["bits"])
        for seed in SEEDS:
            keep(f"{name}, seed {seed}", lambda m=make, r=best, s=seed: {"rate": r, **trained(m, data, r, s, "test")})
    about = {
        "windows": len(windows(data, "test")),
        "tokens": EPOCHS * DATA["windows"] * data.length,
        "steps": EPOCHS * DATA["windows"] // DATA["batch_size"],
        "batch": DATA["batch_size"],
        "length": data.length,
        "rates": ", ".join(map(str, RATES)),
    }
    write_text(HERE / "SPECTRAL.md", page(record, tuple(NETWORKS), SEEDS, about))


def n_grams(data: CodeData, orders: tuple[int, ...], budget: int | None) -> dict[str, Any]:
    """The order that predicts validation text best, with the least cutoff of counts that keeps within the budget."""
    text = data.items("train", False).tokens.tolist()
    held = [windows(data, split).tolist() for split in ("val", "test")]
    found, start = [], time.process_time()
    for order in orders:
        counts, cutoff = counted(text, order), 1
        model = KneserNey(counts, len(data.domain["classes"]), cutoff)
        while budget is not None and model.size > budget:
            cutoff = max(cutoff + 1, round(cutoff * 1.2))
            model = KneserNey(counts, len(data.domain["classes"]), cutoff)
        found.append((model.bits(held[0]), order, cutoff, model))
    value, order, cutoff, model = min(found, key=lambda each: each[0])
    seconds = time.process_time() - start
    kept = {"order": order, "cutoff": cutoff, "size": model.size, "seconds": seconds}
    return {**kept, "validation": value, "bits": model.bits(held[1])}


def trained(make: Callable[[CodeData], Model], data: CodeData, rate: float, seed: int, split: str) -> dict[str, Any]:
    """Trains a network and measures it on held-out windows."""
    seed_everything(seed, verbose=False)
    model, batches = make(data), windows(data, "train", seed)
    start = time.process_time()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=len(batches), pct_start=0.1)
    cycles = turning(model)
    for batch in batches:
        optimizer.zero_grad()
        losses(model, batch)[0].backward()
        optimizer.step()
        schedule.step()
    model.eval()
    seconds, held = time.process_time() - start, windows(data, split)
    with torch.no_grad():
        nats = sum(float(losses(model, part)[1]) * len(part) for part in held.split(50)) / len(held)
    return {"bits": nats / math.log(2), "size": count(model), "seconds": seconds} | described(model, held, cycles)


def losses(model: Model, batch: Tensor) -> tuple[Tensor, Tensor]:
    """What is minimised, and the cross-entropy of all next tokens in nats, for windows (B, T + 1)."""
    tokens, target = batch[:, :-1], batch[:, -1]
    if not isinstance(model, SpectralDictionary):
        found = language_loss(model(tokens), tokens, target)
        return found, found
    terms = model.losses(*model.step(tokens), {"input": tokens, "target": target})
    used = [weight * terms[name] for name, weight in model.coefficients.items() if weight]
    return torch.stack(used).sum(), terms["language"]


def windows(data: CodeData, split: str, seed: int = 0) -> Tensor:
    """Windows (W, T + 1) of held-out text, or batches (N, B, T + 1) of training windows at random positions."""
    items = data.items(split, split == "train")
    if split != "train":
        return torch.stack([items.tokens[s : s + data.length + 1] for s in items.starts.tolist()]).long()
    draw = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(items.tokens) - data.length, (EPOCHS * DATA["windows"],), generator=draw)
    found = items.tokens[starts[:, None] + torch.arange(data.length + 1)].long()
    return found.unflatten(0, (-1, DATA["batch_size"]))


def count(model: Model) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def turning(model: Model) -> float | None:
    """Median of the absolute frequencies in cycles over a window; None without frequencies."""
    frequency = getattr(getattr(model, "atoms", None), "frequency", None)
    return None if frequency is None else float(frequency.detach().abs().median())


def described(model: Model, held: Tensor, before: float | None) -> dict[str, float]:
    """Of a dictionary: effective number of atoms of an explanation, and the median frequency before and after."""
    if not isinstance(model, SpectralDictionary):
        return {}
    parts = model.explain(held[:, :-1]).contributions
    assert parts is not None
    shares = parts.abs() / parts.abs().sum(1, keepdim=True).clamp_min(1e-12)
    found = {"effective": float(torch.special.entr(shares).sum(1).exp().mean())}
    after = turning(model)
    return found if before is None or after is None else {**found, "cycles before": before, "cycles after": after}


if __name__ == "__main__":
    main()
