"""RRL: scores are those of its rules, gradients those of their continuous form; known rules are found."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset, TensorDataset

import zoo
from tests.small_models import IMAGES, ROWS
from zoo.concepts import RRL
from zoo.core.evidence import Evidence
from zoo.domain import Column, TableDomain
from zoo.training.projection_set import ProjectionSet


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    model = zoo.create_model("rrl", domain=ROWS, rules=4, thresholds=2, temperature=2.0).eval()
    x = torch.randn(6, 3)
    places = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor([1 / 3, 2 / 3]))
    for i, row in enumerate(x):
        above = [float(value > place) for value in row for place in places]
        literals = [*above, *(1 - v for v in above)]
        holds = []
        for weights, join in ((model.rules.conjunctions, all), (model.rules.disjunctions, any)):
            holds += [float(join(v > 0 for v, w in zip(literals, rule, strict=True) if w > 0.5)) for rule in weights]
        expected = (model.head.weight @ torch.tensor(holds) + model.head.bias) / 2.0
        torch.testing.assert_close(model(x)[i], expected)


def test_training_has_the_value_of_rules_and_the_gradient_of_their_continuous_form() -> None:
    torch.manual_seed(0)
    model = zoo.create_model("rrl", domain=ROWS, rules=4, thresholds=2).train()
    x = torch.randn(6, 3)
    literals = model.literals(x)
    evidence = model.evidence(x)
    torch.testing.assert_close(evidence.activation, model.rules.holds(literals))
    (grafted,) = torch.autograd.grad(evidence.activation.sum(), model.rules.conjunctions)
    (soft,) = torch.autograd.grad(model.rules(literals).sum(), model.rules.conjunctions)
    torch.testing.assert_close(grafted, soft)
    assert isinstance(evidence, Evidence)


def test_literals_speak_in_the_units_of_the_table() -> None:
    domain = TableDomain(classes=("a", "b"), features=("age",), mean=(40.0,), std=(10.0,))
    model = zoo.create_model("rrl", domain=domain, rules=2, thresholds=3).eval()
    assert model.literal_names() == [
        *(f"age > {v}" for v in ("33.26", "40", "46.74")),
        *(f"age <= {v}" for v in ("33.26", "40", "46.74")),
    ]
    assert model.literals(domain.normalise(torch.tensor([[41.0]]))).tolist() == [[1, 1, 0, 0, 0, 1]]


def test_simplified_rules_have_the_same_scores_where_they_were_measured() -> None:
    """Implied literals, equal rules, and rules that always or never hold on the training set are dropped."""
    domain = TableDomain(classes=("a", "b"), features=("age", "pay"), mean=(40.0, 0.0), std=(10.0, 1.0))
    model = RRL(domain, rules=4, thresholds=3).eval()  # literals: age > 33.26, 40, 46.74, pay > ..., then <=
    with torch.no_grad():
        for weight, rows in (
            (model.rules.conjunctions, ([0, 2, 9], [2, 9], [0, 6], [2, 6])),
            (model.rules.disjunctions, ([0, 1, 8], [0, 8], [4], [5, 9, 11])),
        ):
            weight.fill_(0.2)
            for rule, literals in zip(weight, rows, strict=True):
                rule[literals] = 0.9
        model.head.weight.normal_()
    torch.manual_seed(0)
    x = torch.randn(400, 2)
    target = (x[:, 0] > 0.6744898).long()
    before, weight = model(x).detach(), model.head.weight.detach().clone()
    model.simplify(ProjectionSet(TensorDataset(x, target), batch_size=64))
    torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)
    names = [unit.name for unit in model.units() if "pruned" not in unit.source]
    assert names == ["age > 46.74 and pay <= -0.6745", "pay > 0"]  # the first was age > 33.26 and age > 46.74 and ...
    assert model.alive.tolist() == [True, False, False, False, False, False, True, False]
    torch.testing.assert_close(model.head.weight[:, 0], weight[:, 0] + weight[:, 1])
    first, second = sorted(model.rule_table(), key=lambda rule: rule.text)
    holds = (x[:, 0] > 0.6744898) & (x[:, 1] <= -0.6744898)
    assert first.support == pytest.approx(holds.float().mean().item())
    assert first.outcome == float(first.conclusion == "b") and second.text == "pay > 0"
    assert f"if pay > 0 (holds for {(x[:, 1] > 0).float().mean():.1%} of the rows, " in str(second)


def test_rules_whose_texts_are_rounded_alike_stay_two_rules() -> None:
    """Regression: rules were merged by their texts, so thresholds that look alike changed the scores."""
    domain = TableDomain(classes=("a", "b"), features=("year",), mean=(20000.0,), std=(0.5,))
    model = RRL(domain, rules=2, thresholds=3, negations=False).eval()
    with torch.no_grad():
        model.rules.disjunctions.fill_(0.0)
        model.rules.conjunctions.copy_(torch.tensor([[0.9, 0, 0], [0, 0.9, 0]]))
    assert len(set(model.literal_names())) == 1  # all are "year > 2e+04"
    x = torch.linspace(-2, 2, 41)[:, None]
    before = model(x).detach()
    model.simplify(ProjectionSet(TensorDataset(x, (x[:, 0] > 0).long())))
    assert model.alive.tolist() == [True, True, False, False]
    torch.testing.assert_close(model(x), before)


def test_rules_of_a_regression_have_the_mean_of_the_target() -> None:
    domain = TableDomain(classes=("price",), features=("size",), task="regression")
    model = RRL(domain, rules=1, thresholds=1, negations=False).eval()
    with torch.no_grad():
        model.rules.conjunctions.fill_(0.9)
        model.rules.disjunctions.fill_(0.9)
    assert str(model.rule_table()[0]).endswith(" if size (not measured on data)")
    x, y = torch.tensor([[0.0], [1.0], [1.0], [0.0]]), torch.tensor([[1.0], [5.0], [7.0], [3.0]])
    model.simplify(ProjectionSet(TensorDataset(x, y)))
    (rule,) = model.rule_table()  # conjunction and disjunction of one literal are one rule
    assert (rule.text, rule.support, rule.outcome) == ("size", 0.5, 6.0)
    assert str(rule).endswith("if size (holds for 50.0% of the rows, mean 6)")


LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def end_games() -> tuple[Tensor, Tensor]:
    """All 958 final boards of tic-tac-toe if x begins: 27 one-hot features, and whether x has won."""
    boards: set[tuple[int, ...]] = set()
    seen: set[tuple[int, ...]] = set()

    def wins(board: tuple[int, ...], who: int) -> bool:
        return any(all(board[i] == who for i in line) for line in LINES)

    def play(board: tuple[int, ...], who: int) -> None:
        if board in seen:
            return
        seen.add(board)
        if wins(board, 1) or wins(board, 2) or 0 not in board:
            boards.add(board)
            return
        for i in range(9):
            if board[i] == 0:
                play((*board[:i], who, *board[i + 1 :]), 3 - who)

    play((0,) * 9, 1)
    ordered = sorted(boards)
    x = F.one_hot(torch.tensor(ordered), 3).flatten(1).float()
    return x, torch.tensor([int(wins(board, 1)) for board in ordered])


class EndGames(Dataset):
    def __init__(self) -> None:
        self.inputs, self.targets = end_games()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        return {"input": self.inputs[i], "target": self.targets[i]}


def lines_found(model: RRL) -> int:
    """How many of the lines of three x are rules with a weight for the win."""
    slopes = (model.head.weight[1] - model.head.weight[0]).tolist()
    found = {unit.name for unit, weight in zip(model.units(), slopes, strict=True) if weight > 0.1}
    return sum(f"{a} is x and {b} is x and {c} is x" in found for a, b, c in LINES)


@torch.no_grad()
def errors(model: RRL, data: EndGames) -> int:
    return int((model.eval()(data.inputs).argmax(1) != data.targets).sum())


def test_rules_of_tic_tac_toe() -> None:
    data = EndGames()
    assert len(data) == 958 and int(data.targets.sum()) == 626
    features = tuple(f"{cell} is {what}" for cell in range(9) for what in ("empty", "x", "o"))
    domain = TableDomain(classes=("no win", "x wins"), features=features)
    torch.manual_seed(0)
    model = RRL(domain, rules=64, thresholds=1, negations=False, recipe={"coefficients": {"weight": 1e-5}})
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(1000):
        if step % 50 == 0 and lines_found(model) >= 3 and not errors(model, data):
            break
        model.train()
        scores, evidence = model.step(data.inputs)
        terms = model.losses(scores, evidence, {"target": data.targets})
        loss = sum(model.coefficients[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.rules.clamp()
    model.eval()
    explanation = model.explain(data.inputs).check()
    assert torch.equal(explanation.scores.argmax(1), data.targets) and lines_found(model) >= 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": 0}, "rules must be at least 1; got 0"),
        ({"thresholds": 0}, "thresholds must be at least 1; got 0"),
        ({"temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"domain": IMAGES}, "RRL reads rows of a table; the data are of modality 'image'"),
    ],
)
def test_bad_arguments(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("rrl", **{"domain": ROWS, **change})


def test_levels_and_missing_codes_are_literals_of_their_own() -> None:
    columns = (Column(name="age", missing=("",)), Column(name="job", kind="category", levels=("clerk", "pilot")))
    domain = TableDomain(classes=("a", "b"), columns=columns)
    model = RRL(domain, rules=2, thresholds=3)
    names = model.literal_names()
    assert names[3:6] == ["age is missing"] * 3 and names[-3:] == ["not job = pilot"] * 3
    with torch.no_grad():
        model.rules.conjunctions.zero_()
        model.rules.disjunctions.zero_()
        model.rules.conjunctions[0, [6, 8]] = 0.9  # "job = clerk" for the first and the last threshold
        model.rules.conjunctions[1, 7] = 0.8
        model.head.weight.copy_(torch.tensor([[0.0, 0, 0, 0], [1.0, 2, 0, 0]]))
    x = torch.stack([domain.preprocess({"age": "1", "job": job}) for job in ("clerk", "pilot")])
    before = model.eval()(x)
    model.simplify(ProjectionSet(TensorDataset(x, torch.tensor([0, 1])), batch_size=2))
    assert torch.allclose(model(x), before)
    assert [rule.text for rule in model.rule_table()] == ["job = clerk"]
