"""The page benchmarks/SPECTRAL.md."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.intervals import half_width

ABOUT = """Bits per token of {windows} held-out windows of generated Python idioms (the data of `sparse-idioms`),
mean over training seeds {seeds} with the 95 % interval of the mean (Student's t). Every model sees the
tokens of a window before the one that it predicts, and no other context. Networks were trained on
{tokens:,} tokens at random positions, in batches of {batch} windows of {length}, with Adam and one cycle
of the learning rate: {steps} steps, a short training and the same for all; how far the transformer would
come in a long one is not measured. The rates of the dictionary, which its variants
share, and of the transformer are each the best of {rates} on validation text.
N-grams count the complete training text of 2,000,000 tokens once; their order, and for the first row the
least count of an n-gram that is stored, are the best on validation text. There is nothing random about
them.

*Numbers*: parameters; of n-grams, probabilities and weights of contexts that are stored. *Atoms*:
effective number in an explanation, exp(entropy of the shares of |contributions|). *Cycles*: median
frequency of the atoms over a window of {length} tokens, before and after the training."""


def page(record: Mapping[str, Any], networks: Sequence[str], seeds: Sequence[int], about: Mapping[str, Any]) -> str:
    """The Markdown page of measurements by "model, seed N"."""
    rows = [
        "| model | numbers | bits per token | atoms | cycles | CPU seconds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in ("Kneser-Ney of equal size", "Kneser-Ney, not pruned"):
        found = record[name]
        pruned = f", counts of at least {found['cutoff']}" if found["cutoff"] > 1 else ""
        rows.append(
            f"| {name}: order {found['order']}{pruned} | {found['size']:,} | {found['bits']:.3f} |  |  | "
            f"{found['seconds']:.0f} |"
        )
    for name in networks:
        found = [record[f"{name}, seed {seed}"] for seed in seeds]
        bits = [each["bits"] for each in found]
        mean = {key: statistics.mean(each[key] for each in found) for key in found[0]}
        atoms = f"{mean['effective']:.1f}" if "effective" in mean else ""
        cycles = f"{mean['cycles before']:.2f} → {mean['cycles after']:.2f}" if "cycles after" in mean else ""
        rows.append(
            f"| {name} | {found[0]['size']:,} | {mean['bits']:.3f} ± {half_width(bits):.3f} | {atoms} | {cycles} "
            f"| {mean['seconds']:.0f} |"
        )
    shown = ABOUT.format(**about, seeds=", ".join(map(str, seeds)))
    return "\n".join(
        [
            "# A spectral dictionary as a language model",
            "",
            shown,
            "",
            *rows,
            "",
            "Created by `python -m benchmarks.spectral`.",
            "",
        ]
    )
