"""TopicModel: loss and contributions by hand, planted topics, contributions of tokens, words and metrics."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from tests import toy
from tests.small_models import SENTENCES, Examples, topic_model
from zoo.concepts import TopicModel
from zoo.concepts.layers.topic_metrics import Perplexity, diversity, npmi, together
from zoo.concepts.layers.word_counts import WordCounts
from zoo.domain import TextDomain
from zoo.domain.text import FIRST, PAD, UNKNOWN
from zoo.training.projection_set import ProjectionSet
from zoo.training.stages import Stage

PLANTED, EACH = 5, 6  # topics, words of each
CORPUS = TextDomain(
    classes=("a", "b", "c"), vocabulary=tuple(f"t{k}w{i}" for k in range(5) for i in range(6)), length=16
)


class Corpus(Dataset):
    """Texts of 16 words, of which about three quarters are of one topic; the class is this topic modulo 3."""

    def __init__(self, count: int, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.topic = torch.randint(PLANTED, (count, 1), generator=draw)
        other = torch.randint(PLANTED, (count, 16), generator=draw)
        topic = torch.where(torch.rand(count, 16, generator=draw) < 0.75, self.topic, other)
        self.inputs = FIRST + EACH * topic + torch.randint(EACH, (count, 16), generator=draw)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input": self.inputs[i], "target": self.topic[i, 0] % 3}


class Texts(LightningDataModule):
    def __init__(self, train: Dataset, test: Dataset) -> None:
        super().__init__()
        self.train, self.test = train, test

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, 50, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.test, 100)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, 100)

    def projection_dataset(self) -> Dataset:
        return self.train


def test_loss_and_contributions_by_hand() -> None:
    small = topic_model(dropout=0.0, concentration=0.5)
    model, x = small.model, small.inputs
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for norm in (model.encoder.mean[1], model.encoder.log_variance[1], model.decoder.norm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    w = {name: value.double().numpy() for name, value in model.state_dict().items() if value.is_floating_point()}
    numbers = x.numpy()
    counts = np.stack([(numbers == n).sum(1) for n in model.words.word.tolist()], 1)

    def normalised(h: np.ndarray, name: str) -> np.ndarray:
        h = (h - w[f"{name}.running_mean"]) / np.sqrt(w[f"{name}.running_var"] + 1e-5)
        return h * w.get(f"{name}.weight", 1.0) + w.get(f"{name}.bias", 0.0)

    def softmax(h: np.ndarray) -> np.ndarray:
        return np.exp(h) / np.exp(h).sum(1, keepdims=True)

    h = np.log1p(np.exp(counts @ w["encoder.hidden.0.weight"].T + w["encoder.hidden.0.bias"]))
    mu, log_variance = (
        normalised(h @ w[f"encoder.{name}.0.weight"].T + w[f"encoder.{name}.0.bias"], f"encoder.{name}.1")
        for name in ("mean", "log_variance")
    )
    theta, beta, background = softmax(mu), w["decoder.weight"], w["decoder.background"]
    words = softmax(normalised(theta @ beta, "decoder.norm") + background)
    reconstruction = -(counts * np.log(words)).sum(1)
    # Laplace's approximation of Dirichlet(0.5, 0.5, 0.5, 0.5), by the published sums.
    alpha, topics = np.full(4, 0.5), 4
    prior = 1 / alpha * (1 - 2 / topics) + (1 / alpha).sum() / topics**2
    prior_mean = np.log(alpha) - np.log(alpha).mean()
    sigma = np.exp(log_variance)
    divergence = 0.5 * (
        (sigma / prior).sum(1)
        + ((prior_mean - mu) ** 2 / prior).sum(1)
        - topics
        + (np.log(prior) - log_variance).sum(1)
    )
    scores = theta @ w["head.weight"].T + w["head.bias"]
    target = np.array([0, 1, 2, 0, 1])
    task = -np.log(softmax(scores)[np.arange(5), target]).mean()

    found, evidence = model.step(x)
    terms = model.losses(found, evidence, {"input": x, "target": torch.tensor(target)})
    expected = {"reconstruction": reconstruction.mean(), "divergence": divergence.mean(), "task": task}
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name

    explanation = model.explain(x, torch.tensor(target), reference="zero").check()
    contributions = theta * w["head.weight"][target]
    np.testing.assert_allclose(explanation.contributions.numpy(), contributions, rtol=1e-4, atol=1e-5)
    pure = softmax(normalised(beta, "decoder.norm") + background)  # (K, V)
    column = {n: i for i, n in enumerate(model.words.word.tolist())}
    expected_map = np.zeros(numbers.shape)
    for b in range(5):
        chances = np.zeros((topics, numbers.shape[1]))
        for t, n in enumerate(numbers[b].tolist()):
            if n in column:
                joint = theta[b] * pure[:, column[n]]
                chances[:, t] = joint / joint.sum()
        expected_map[b] = (contributions[b][:, None] * chances / chances.sum(1, keepdims=True)).sum(0)
    np.testing.assert_allclose(explanation.attribution().numpy(), expected_map, rtol=1e-4, atol=1e-5)
    totals = explanation.attribution().sum(1) + explanation.bias
    torch.testing.assert_close(totals, found.gather(1, torch.tensor(target)[:, None])[:, 0], rtol=1e-4, atol=1e-5)


def test_training_draws_shares_from_the_normal_distribution() -> None:
    small = topic_model(dropout=0.0)
    model = small.model.train()
    torch.manual_seed(3)
    theta = model.evidence(small.inputs).activation
    torch.manual_seed(3)
    mean, log_variance = model.encoder(model.words(small.inputs))
    expected = (mean + (log_variance / 2).exp() * torch.randn(5, 4)).softmax(1)
    torch.testing.assert_close(theta, expected)


def test_planted_topics_are_recovered() -> None:
    stages = [
        {"name": "count_words"},
        {"name": "anneal", "epochs": 10, "train": ["encoder", "decoder", "head"], "anneal": True},
        {"name": "train", "epochs": 15, "train": ["encoder", "decoder", "head"]},
        {"name": "describe"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    recipe = {"stages": stages, "lr": 0.01, "coefficients": {"task": 10.0}}
    model, data = TopicModel(CORPUS, topics=PLANTED, widths=[32], recipe=recipe), Texts(Corpus(800, 0), Corpus(100, 1))
    trainer = toy.fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    found = {name.removeprefix("test/"): float(value) for name, value in trainer.callback_metrics.items()}
    planted = [{word[:2] for word in unit.source["words"][:EACH]} for unit in model.units()]
    assert sorted(next(iter(topic)) for topic in planted if len(topic) == 1) == [f"t{k}" for k in range(PLANTED)]
    assert found["accuracy"] > 0.95 and 6 < found["perplexity"] < 30
    assert found["coherence"] == pytest.approx(float(model.coherence.mean()), abs=1e-6)
    explanation = model.explain(data.test.inputs).check()
    right = explanation.support.argmax(1)  # the topic of each word
    own = torch.tensor([int(next(iter(topic))[1]) for topic in planted])[right]
    assert (own == (data.test.inputs - FIRST) // EACH).float().mean() > 0.95
    mean_share = model.eval().evidence(data.train.inputs).activation.mean(0)
    assert (model.head.weight @ mean_share).abs().max() < 1e-4  # what the average text has is in the bias


def test_words_are_the_most_frequent_of_those_neither_rare_nor_everywhere() -> None:
    texts = ["good good food", "good bad", "good place quiet", "bad bad unheard place", "good food"]
    x = torch.stack([SENTENCES.preprocess(text) for text in texts])
    counts = WordCounts(SENTENCES, 3)
    counts.choose(ProjectionSet(Examples(x), batch_size=2), least=2, most=0.7)
    assert counts.names() == ["bad", "food", "place"] and counts.used.all()
    torch.testing.assert_close(counts.frequency, torch.tensor([3 / 7, 2 / 7, 2 / 7]))
    assert counts(x).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [2, 0, 1], [0, 1, 0]]
    few = WordCounts(SENTENCES, 9)
    few.choose(ProjectionSet(Examples(x)), least=3, most=1.0)
    assert few.names() == ["good", *[""] * 5] and few.used.tolist() == [True] + [False] * 5
    assert few(torch.tensor([[PAD, UNKNOWN, FIRST]])).sum() == 1
    with pytest.raises(ValueError, match="no word is in at least 4 and at most 50% of the 5 training texts"):
        few.choose(ProjectionSet(Examples(x)), least=4, most=0.5)


def test_metrics_by_hand() -> None:
    counts = torch.tensor([[1.0, 2, 0], [1, 0, 1], [3, 1, 0], [0, 0, 1]])
    pairs = together(counts)
    assert pairs.tolist() == [[3, 2, 1], [2, 2, 0], [1, 0, 2]]
    first = math.log((2 / 4) / (3 / 4 * 2 / 4)) / -math.log(2 / 4)
    second = math.log((1 / 4) / (3 / 4 * 2 / 4)) / -math.log(1 / 4)
    expected = torch.tensor([first, (first + second - 1) / 3])
    torch.testing.assert_close(npmi(pairs, 4, torch.tensor([[0, 1], [1, 0]]))[:1], expected[:1])
    torch.testing.assert_close(npmi(pairs, 4, torch.tensor([[0, 1, 2]])), expected[1:])
    assert diversity(torch.tensor([[0, 1], [1, 2]])) == 0.75
    perplexity = Perplexity()
    perplexity.update(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]))
    assert perplexity.compute().item() == pytest.approx(math.exp(2))


def test_the_weight_of_the_divergence_rises() -> None:
    train = ["encoder", "decoder", "head"]
    stages = [{"name": "count_words"}, {"name": "rise", "epochs": 4, "train": train, "anneal": True}]
    model = topic_model(recipe={"stages": [*stages, {"name": "train", "epochs": 2, "train": train}]}).model.train()
    assert model._annealed == 1.0
    assert all(group["betas"] == (0.99, 0.999) for group in model.configure_optimizers().param_groups)
    weights: list[float] = []
    losses = model.losses

    def noted(*given: Any) -> dict[str, torch.Tensor]:
        if model.training:
            weights.append(model._annealed)
        return losses(*given)

    model.losses = noted
    rows = Examples(topic_model().inputs)
    toy.fit(model, Texts(rows, rows))
    assert weights == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_what_is_missing_is_told() -> None:
    stages = (Stage("train", epochs=1, train=("encoder",)), Stage("count_words"), Stage("b", epochs=1, train=()))
    model = TopicModel(SENTENCES, recipe={"stages": stages})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"add \{name: count_words\} first"):
        model.check_recipe()
    with pytest.raises(RuntimeError, match="has no words yet"):
        model.eval().explain(topic_model().inputs)
    with pytest.raises(ValueError, match="TopicModel reads texts; got a domain of images"):
        TopicModel(toy.COLOURS)
