"""Topic model: a text as shares of topics, each a distribution over words, and an exact linear score of the shares.

Srivastava, Sutton: "Autoencoding Variational Inference for Topic Models" (ProdLDA), ICLR 2017, arXiv 1703.01488;
supervised as in Blei, McAuliffe: "Supervised Topic Models", NeurIPS 2007, arXiv 1003.0783.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from zoo.concepts.layers.topic_metrics import COHERENT, DIVERSE, TopicMetrics, diversity, npmi, together, top_words
from zoo.concepts.layers.topics import TopicDecoder, TopicEncoder
from zoo.concepts.layers.word_counts import WordCounts
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.unit_cache import UnitCache
from zoo.domain import Domain, TextDomain
from zoo.networks.target_units import assign, in_target_units
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_at_least, check_between

GROUPS = ("encoder", "decoder", "head")
NAMING = 4  # words in the name of a topic
BETAS = (0.99, 0.999)  # of Adam, as published: a high first one keeps topics from becoming all alike
RECIPE = Recipe(
    stages=(
        Stage("count_words"),
        Stage("anneal", epochs=20, train=GROUPS, anneal=True),
        Stage("train", epochs=30, train=GROUPS),
        Stage("describe"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=2e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"reconstruction": 1.0, "divergence": 1.0, "task": 20.0},
)


@register(
    "topic_model",
    modality="text",
    paper="Srivastava & Sutton, ICLR 2017 (ProdLDA)",
    small=Small(
        {"topics": 4, "widths": [8], "least": 1, "most": 1.0},
        scale={"head.weight": 5.0, "decoder.weight": 5.0},
    ),
)
class TopicModel(SelfInterpretable):
    """Explains the words of a text by few topics, and scores classes linearly from the shares of the topics.

        n = counts of V words in the text              (B, V)      see `WordCounts`
        μ, σ = encoder(n)                              (B, K)
        θ = softmax(μ + σ ε), ε normal                 (B, K)      shares of K topics; without ε outside of training
        p(word | θ) = softmax(BN(θ β) + background)    (B, V)      β (K, V)
        score_c = Σ_k θ_k W_ck + b_c

    A topic's activation is θ_k and its contribution θ_k W_ck. Its support is the chance p(k | word) ∝ θ_k φ_kw of each
    token that is one of the V words, φ_k = p(word | topic k alone), and 0 at others. The contribution of topic k at
    token t is its contribution times its support there, divided by the sum of its supports: contributions of the tokens
    add up to the score too. They say which words speak of the topic; the encoder reads all words at once.

    The action `count_words` chooses the words: the most frequent among those in at least `least` texts and at most
    `most` of all. Names of topics are their most relevant words, see `relevance`. The action `describe` measures each
    topic's mean share and coherence on the training texts, and moves the score of the mean shares into the bias, so
    that contributions tell how a text differs from the average (scores stay: shares add up to 1).

    Loss terms, means over texts: reconstruction (-Σ n log p); divergence (from a prior of the shares, the Laplace
    approximation of a symmetric Dirichlet distribution; its weight rises from 0 to 1 in a stage with `anneal`); task.
    The first two grow with the length of a text, so the coefficient of the task must as well: 10 to 100. Metrics: see
    `TopicMetrics`.

    Differs from the published code: the logits of topics are normalised with a learned scale, so that a text can be of
    few topics; logits of words start at the words' frequency.

    Args:
        domain: what inputs and outputs mean (`data.domain`), of texts.
        topics: K.
        words: largest number of words, V.
        widths: of the encoder's hidden layers.
        dropout: of the encoder, in [0, 1).
        concentration: α of the prior; below 1, texts of few topics.
        least: number of training texts that a word must be in.
        most: largest share of the training texts that a word may be in.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: encoder, decoder, head.

    Raises:
        ValueError: a domain of other than texts, or a number out of range.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    share: Tensor
    coherence: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        topics: int = 20,
        words: int = 1000,
        widths: Sequence[int] = (100, 100),
        dropout: float = 0.2,
        concentration: float = 1.0,
        least: int = 5,
        most: float = 0.5,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not isinstance(self.domain, TextDomain):
            raise ValueError(f"TopicModel reads texts; got a domain of {self.domain.noun}.")
        check_at_least(2, topics=topics)
        check_at_least(1, words=words, least=least)
        check_between(0, 1, most=most)
        self.least, self.most = least, most
        self.words = WordCounts(self.domain, words)
        self.encoder = TopicEncoder(self.words.count, topics, widths, dropout, concentration)
        self.decoder = TopicDecoder(topics, self.words.count)
        self.head = in_target_units(nn.Linear(topics, len(self.domain.classes)), self.domain)
        self.register_buffer("share", torch.zeros(topics))
        self.register_buffer("coherence", torch.zeros(topics))
        self.topic_metrics = TopicMetrics()
        self.space = score_space(self.domain)
        self._units = UnitCache()

    def evidence(self, x: Tensor) -> Evidence:
        counts, used = self.words(x), self.words.used
        mean, log_variance = self.encoder(counts)
        logits = mean + (0.5 * log_variance).exp() * torch.randn_like(mean) if self.training else mean
        theta = logits.softmax(1)
        state = {
            "reconstruction": -(counts * self.decoder(theta, used)).sum(1),
            "divergence": self.encoder.divergence(mean, log_variance),
            "words": counts.sum(1),
        }
        if self.training:
            return Evidence(theta, None, state)
        column, known = self.words.columns(x)
        chances = theta[..., None] * self.decoder.distributions(used)[:, column].transpose(0, 1)  # (B, K, T)
        support = chances / chances.sum(1, keepdim=True).clamp_min(1e-30) * known[:, None]
        return Evidence(theta, support, state)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {
            "reconstruction": evidence.state["reconstruction"].mean(),
            "divergence": self._annealed * evidence.state["divergence"].mean(),
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights")),
        }

    @property
    def _annealed(self) -> float:
        """The weight of the divergence in the current epoch."""
        stage = self.stage
        if stage is None or not stage.anneal:
            return 1.0
        return (stage_at(self.stages, self.current_epoch).epoch + 1) / stage.epochs

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        values: dict[str, tuple[Tensor, ...]] = {
            "perplexity": (evidence.state["reconstruction"], evidence.state["words"])
        }
        if split != "train" and self.described:
            values |= {"coherence": (self.coherence.mean(),), "diversity": (diversity(self.top_words(DIVERSE)),)}
        found = self.topic_metrics.update(split, values)
        return {**super().update_metrics(split, scores, evidence, batch), **found}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer = super().configure_optimizers()
        for group in optimizer.param_groups:
            if "betas" in group:
                group["betas"] = BETAS
        return optimizer

    def check_recipe(self) -> None:
        trains = next((i for i, stage in enumerate(self.stages) if stage.trained), 0)
        counts = "count_words" in [stage.name for stage in self.stages[:trains]]
        if not counts and not self.words.used.any():
            raise ValueError("no stage chooses the words before the training; add {name: count_words} first.")

    def on_stage_start(self, stage: Stage) -> None:
        if stage.trained:
            self.share.zero_()

    def require_ready(self) -> None:
        if not self.words.used.any():
            raise RuntimeError("this topic model has no words yet; train it, or run its action `count_words`.")

    # Topics

    @property
    def described(self) -> bool:
        """Whether share and coherence of the topics are measured, see `describe`."""
        return bool(self.share.sum() > 0)

    def top_words(self, count: int) -> Tensor:
        """The columns (K, n) of the most relevant words of each topic, n at most `count`."""
        return top_words(self.decoder.distributions(self.words.used), self.words.frequency, count)

    def units(self) -> tuple[Unit, ...]:
        norm = self.decoder.norm
        tensors = [self.decoder.weight, self.decoder.background, self.words.word, self.share]
        return self._units.get([*tensors, *norm.buffers()], self._build_units)

    @torch.no_grad()
    def _build_units(self) -> list[Unit]:
        if not self.words.used.any():
            return [Unit(f"topic {k + 1}", "concept") for k in range(len(self.share))]
        names, units = self.words.names(), []
        for k, columns in enumerate(self.top_words(COHERENT).tolist()):
            top = [names[column] for column in columns]
            source: dict[str, Any] = {"supervision": "discovered", "words": top}
            if self.described:
                source |= {"mean share": round(self.share[k].item(), 4), "NPMI": round(self.coherence[k].item(), 3)}
            units.append(Unit(f"topic {k + 1} ({', '.join(top[:NAMING])})", "concept", None, source))
        return units

    # Actions

    @action
    def count_words(self, projection_set: ProjectionSet) -> None:
        """Chooses the words, and starts from their frequencies in the training texts."""
        self.words.choose(projection_set, self.least, self.most)
        self.decoder.start(self.words.frequency)

    @action
    def describe(self, projection_set: ProjectionSet) -> None:
        """Measures share and coherence of the topics; moves the score of the mean shares into the bias."""
        total = torch.zeros_like(self.share, dtype=torch.double)
        pairs = torch.zeros(self.words.count, self.words.count, dtype=torch.double, device=self.device)
        for batch in projection_set:
            counts = self.words(batch["input"])
            total += self.encoder(counts)[0].softmax(1).sum(0)
            pairs += together(counts)
        texts = len(projection_set)
        self.share.copy_(projection_set.total(total) / texts)
        self.coherence.copy_(npmi(projection_set.total(pairs), texts, self.top_words(COHERENT)))
        weight, bias = self.head.weight, self.head.bias
        mean = weight @ (self.share / self.share.sum())
        assign(self.head, weight - mean[:, None], bias + mean)
