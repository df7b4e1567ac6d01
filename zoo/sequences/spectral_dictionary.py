"""Spectral dictionaries: a language model whose scores are sums over atoms that vary over positions as sinusoids.

Kiruluta: "From Attention to Atoms: Spectral Dictionary Learning for Fast, Interpretable Language Models", 2025,
arXiv 2505.00033. Experimental: see "How well it works" below.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain
from zoo.domain.text import PAD
from zoo.sequences.layers.spectral_atoms import KINDS, SpectralAtoms
from zoo.training.batch import Batch
from zoo.training.language import Nats, language_loss, last_positions, next_tokens
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_at_least, check_between, check_choice
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(Stage("train", epochs=20, train=("embedding", "mixing", "atoms", "bias"), cosine=True),),
    lr=2e-2,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"language": 1.0, "reconstruction": 0.0, "spectrum": 0.0},
)
FRAME = 16  # tokens of a frame of the short-time Fourier transform
NAMED, PROBES = 2, 16  # tokens in the name of an atom; positions at which they are looked for


@register(
    "spectral_dictionary",
    modality="code",
    paper="Kiruluta, arXiv 2505.00033, 2025 (experimental)",
    small=Small(
        {"atoms": 6, "width": 4, "taps": 3},
        scale={"embedding.weight": 3.0},
        draw={"bias": 0.5},
        variants={
            "dimension": Small({"frequencies": "dimension"}),
            "constant": Small({"frequencies": "none"}),
        },
    ),
)
class SpectralDictionary(SelfInterpretable):
    """Predicts the next token by a sum over atoms, sinusoids over the positions of the prompt. Experimental.

        C_tk = relu(c_k + Σ_j ⟨κ_kj, u_{x_{t-j}}⟩)          j = 0 ... taps - 1: the last tokens, convolved
        S_k(t) = a_k sin(2π f_k t / T + φ_k)                (D,), the atom at position t of T
        score_v = b_v + Σ_k C_tk ⟨S_k(t), u_v⟩              u: one embedding (V, D) of what is read and predicted

    The units are the atoms, their activation is C_tk, and the contribution C_tk ⟨S_k(t), u_v⟩ is exact: nothing else
    reaches the score but the bias. What an atom gives to a token is a sinusoid over positions, the detail "wave"
    (B, K, T), with the period T / f_k. Its support is how much each of the last tokens moves C_tk, by length relative
    to the token that moves it most; these terms are exact too, below the ReLU. Tokens further back than `taps` change
    nothing.

    How well it works: coefficients know the last tokens and not the position, so an atom that turns makes the same
    context predict other tokens elsewhere in the window. `benchmarks/SPECTRAL.md` measures that: frequencies become
    lower in training, atoms that do not turn at all (`frequencies="none"`) predict as well, and those that start to
    turn many times in a window predict much worse.

        loss = language                     cross-entropy of all next tokens
             + 0 reconstruction             mean squared difference of Σ_k C_tk S_k(t) from the embedding of token t + 1
             + 0 spectrum                   mean difference of the magnitudes of their short-time Fourier transforms

    Differs from the published description, of which there is no code: the convolution reads no later token, and the
    embeddings to be reconstructed, which carry no gradient, are those of the next tokens (there: of the same tokens,
    which are the input); the output is the tied embedding alone, no mixture with a distribution of words to copy, which
    would not be a sum; coefficients are at least 0, so that an atom is used or not; one frequency for each atom, unless
    `frequencies` is "dimension" as published; no Gaussian mixture of coefficients. Weights of the losses are not
    published; those of reconstruction and spectrum are 0 here, because both did not help to predict held-out text.

    Args:
        domain: inputs and outputs (`data.domain`); the classes are the tokens.
        atoms: K.
        width: D.
        taps: tokens that the coefficients read.
        frequencies: "atom", "dimension" or "none", see `zoo.sequences.layers.spectral_atoms.SpectralAtoms`.
        fastest: frequencies start between 0 and this many cycles over the T tokens of a window.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: embedding, mixing, atoms, bias.

    Raises:
        ValueError: sizes out of range, or an unknown value of `frequencies`.
    """

    default_recipe = RECIPE
    weighs_classes = False

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        atoms: int = 64,
        width: int = 64,
        taps: int = 8,
        frequencies: Literal["atom", "dimension", "none"] = "atom",
        fastest: float = 1.0,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, atoms=atoms, width=width, taps=taps)
        check_choice(KINDS, frequencies=frequencies)
        length = self.domain.shape[0]
        check_between(0, length / 2, fastest=fastest)  # faster ones look like slower ones
        self.embedding = nn.Embedding(len(self.domain.classes), width)
        nn.init.normal_(self.embedding.weight, std=0.3)
        self.mixing = nn.Conv1d(width, atoms, taps)
        self.atoms = SpectralAtoms(atoms, width, length, frequencies, fastest)
        self.bias = nn.Parameter(torch.zeros(len(self.domain.classes)))
        self.nats = Nats()
        self._cache = UnitCache()

    def evidence(self, x: Tensor) -> Evidence:
        rows, last = last_positions(x)
        read = F.pad(self.embedding(x), (0, 0, self.mixing.kernel_size[0] - 1, 0))  # zeros before the first token
        coefficients = self.mixing(read.transpose(1, 2)).relu().transpose(1, 2)  # (B, T, K)
        state = {"coefficients": coefficients, "position": last, "atoms": self.atoms(last)}
        support = None if self.training else self._support(x, read, last)
        return Evidence(coefficients[rows, last], support, state)

    def _support(self, x: Tensor, read: Tensor, last: Tensor) -> Tensor:
        """How much each token moves the coefficients of the last one, (B, K, T) in [0, 1]."""
        taps = torch.arange(self.mixing.kernel_size[0], device=x.device)
        place = last[:, None] + taps  # in `read`, which has taps - 1 zeros before
        vectors = read.gather(1, place[..., None].expand(-1, -1, read.shape[2]))
        moved = torch.einsum("bjd,kdj->bkj", at_least_fp32(vectors), at_least_fp32(self.mixing.weight)).abs()
        moved = moved / moved.amax(2, keepdim=True).clamp_min(1e-12)
        padded = moved.new_zeros(x.shape[0], moved.shape[1], read.shape[1])
        padded = padded.scatter(2, place[:, None].expand(-1, moved.shape[1], -1), moved)
        return padded[..., len(taps) - 1 :]

    def readout(self, evidence: Evidence) -> Tensor:
        made = torch.einsum("bk,bkd->bd", evidence.activation, evidence.state["atoms"])
        return F.linear(made, at_least_fp32(self.embedding.weight), at_least_fp32(self.bias))

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self._along(evidence, at_least_fp32(self.embedding.weight)[target]), at_least_fp32(self.bias)[target]

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        rows = evidence.activation.shape[0]
        mean = at_least_fp32(self.embedding.weight).mean(0).expand(rows, -1)
        return self._along(evidence, mean), at_least_fp32(self.bias).mean().expand(rows)

    def _along(self, evidence: Evidence, direction: Tensor) -> Tensor:
        """Contributions (B, K) to the score of a token whose embedding is `direction` (B, D)."""
        return evidence.activation * torch.einsum("bkd,bd->bk", evidence.state["atoms"], direction)

    def slopes(self, evidence: Evidence) -> None:
        """None, because (B, K, V) numbers would be too many."""

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """What each atom would give to the target at each position, for a coefficient of 1: "wave" (B, K, T)."""
        positions = torch.arange(self.domain.shape[0], device=target.device)
        wave = torch.einsum(
            "tkd,bd->bkt", at_least_fp32(self.atoms(positions)), at_least_fp32(self.embedding.weight)[target]
        )
        return {"wave": wave}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        taps = self.mixing.kernel_size[0]
        turning = "" if self.atoms.frequencies == "none" else " and their position in the window"
        return (f"The prediction depends on the last {taps} tokens{turning}, and on nothing else.",) * len(
            terms["activation"]
        )

    def units(self) -> tuple[Unit, ...]:
        return self._cache.get(self.parameters(), lambda: self._build_units())

    @torch.no_grad()
    def _build_units(self) -> Iterator[Unit]:
        """Each atom, named by the tokens that it can give most to."""
        positions = torch.linspace(0, self.domain.shape[0] - 1, PROBES, device=self.bias.device).round()
        best = torch.full((len(self.atoms.amplitude), len(self.bias)), -torch.inf, device=self.bias.device)
        for at in self.atoms(positions):
            best = torch.maximum(best, at_least_fp32(at) @ at_least_fp32(self.embedding.weight).T)
        first = best.topk(min(NAMED, best.shape[1])).indices.tolist()
        moved = torch.einsum("vd,kdj->kjv", at_least_fp32(self.embedding.weight), at_least_fp32(self.mixing.weight))
        strongest = moved.flatten(1).argmax(1).tolist()  # its last tap is for the last token
        for k, (tokens, period) in enumerate(zip(first, self.atoms.periods(), strict=True)):
            names = [self.domain.classes[token] for token in tokens]
            tap, token = divmod(strongest[k], best.shape[1])
            back = moved.shape[1] - 1 - tap
            where = f"{back} before the last token" if back else "as the last token"
            text = f"fires most on {self.domain.classes[token]} {where}; gives most to {', '.join(names)}"
            source: dict[str, Any] = {"text": text if period is None else f"{text}; period {period:,.0f} tokens"}
            yield Unit(f"atom {k + 1} ({', '.join(names)})", "atom", source=source | {"period": period})

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        tokens = batch["input"]
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        made = torch.einsum("btk,tkd->btd", evidence.state["coefficients"], self.atoms(positions))
        logits = F.linear(made, self.embedding.weight, self.bias)
        following = next_tokens(tokens, batch["target"])
        real = (following != PAD)[..., None]
        made, wanted = at_least_fp32(made) * real, at_least_fp32(self.embedding(following).detach()) * real
        return {
            "language": language_loss(logits, tokens, batch["target"]),
            "reconstruction": (made - wanted).square().sum() / (real.sum() * made.shape[2]).clamp_min(1),
            "spectrum": (magnitudes(made) - magnitudes(wanted)).abs().mean(),
        }

    @torch.no_grad()
    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        nats = self.nats.record(split, self.losses(scores, evidence, batch)["language"], len(scores))
        return {**super().update_metrics(split, scores, evidence, batch), "nats": nats}


def magnitudes(vectors: Tensor) -> Tensor:
    """Magnitudes of the short-time Fourier transform of each number of vectors (B, T, D) over time.

    Frames of 16 tokens, or T if that is less, with a Hann window; half of a frame apart.
    """
    lines = vectors.transpose(1, 2).flatten(0, 1)
    frame = min(FRAME, lines.shape[1])
    window = torch.hann_window(frame, device=lines.device, dtype=lines.dtype)
    found = torch.stft(lines, frame, max(frame // 2, 1), window=window, center=False, return_complex=True)
    return torch.view_as_real(found).square().sum(-1).add(1e-12).sqrt()  # has a gradient at 0 too
