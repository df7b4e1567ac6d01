"""Rule heads: they find rules that are known, and say them in words."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

import zoo
from tests.small_models import IMAGES, ROWS
from tests.toy import fit
from zoo.concepts import DCR, LEN, RRL
from zoo.concepts.dcr import RuleBuilder, agreement
from zoo.concepts.len import EntropyHead, formula_of
from zoo.concepts.rrl import Rules
from zoo.core.evidence import Evidence
from zoo.data import ConceptToy
from zoo.domain import TableDomain


def xor_with_noise(rows: int = 1000, noise: int = 100) -> tuple[Tensor, Tensor]:
    """Binary concepts of which the first two decide."""
    concepts = torch.randint(0, 2, (rows, 2 + noise), generator=torch.Generator().manual_seed(0)).float()
    return concepts, (concepts[:, 0] != concepts[:, 1]).long()


def test_entropy_network_finds_two_of_a_hundred_and_two_concepts() -> None:
    torch.manual_seed(0)
    concepts, target = xor_with_noise()
    head = EntropyHead(102, 2, hidden=20, temperature=0.6)
    optimizer = torch.optim.AdamW(head.parameters(), 0.02)
    wanted = F.one_hot(target, 2).float()
    for _ in range(400):
        loss = F.binary_cross_entropy_with_logits(head(concepts), wanted) + 1e-3 * head.entropy()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = head(concepts).argmax(1)
    assert torch.equal(predicted, target)
    for c in range(2):
        assert head.kept()[c].nonzero().flatten().tolist() == [0, 1]
        formula = formula_of(concepts.bool(), predicted == c, target == c, head.kept()[c], terms=8)
        assert int((formula != 0).sum()) == 4 and len(formula) == 2  # complexity 4: two terms of two literals
        holds = ((2 * concepts - 1)[:, None] * formula == formula.abs()).all(2).any(1)
        assert torch.equal(holds, target == c)


def test_attention_and_entropy_by_hand() -> None:
    head = EntropyHead(3, 2, hidden=4, temperature=0.7)
    alpha = (head.weight.abs().sum(1) / 0.7).softmax(1)
    torch.testing.assert_close(head.attention(), alpha / alpha.amax(1, keepdim=True))
    torch.testing.assert_close(head.entropy(), -(alpha * alpha.log()).sum(1).mean())
    x = torch.rand(5, 3)
    for c in range(2):
        hidden = F.leaky_relu((x * head.attention()[c]) @ head.weight[c].T + head.bias[c])
        torch.testing.assert_close(head(x)[:, c], hidden @ head.out[c] + head.offset[c])


def test_attention_does_not_overflow() -> None:
    head = EntropyHead(3, 1, hidden=2, temperature=1e-3)
    with torch.no_grad():
        head.weight.mul_(1e3)
    assert head.attention().isfinite().all() and head.entropy().isfinite()


def test_formulas_lose_literals_that_do_not_matter() -> None:
    present = torch.tensor(list(product((False, True), repeat=3)))
    target = present[:, 0] & present[:, 1]
    formula = formula_of(present, target, target, torch.ones(3, dtype=torch.bool), terms=4)
    assert formula.tolist() == [[1, 1, 0]]


def test_logic_explained_network_from_inputs_to_formulas() -> None:
    torch.manual_seed(0)
    data = ConceptToy("xor", count=900, batch_size=128)
    stages = [
        {"name": "concepts", "epochs": 40, "train": ["backbone", "concepts"]},
        {"name": "head", "epochs": 40, "train": ["head"]},
        {"name": "extract"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    model = LEN(data.domain, backbone={"name": "mlp", "widths": [32]}, recipe={"stages": stages, "lr": 0.01})
    trainer = fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.95
    assert model.complexity().tolist() == [4, 4]
    x, y = "x above 0.5", "y above 0.5"
    assert set(model.formulas()["different"].split(" or ")) == {f"({x} and not {y})", f"(not {x} and {y})"}
    assert set(model.formulas()["same"].split(" or ")) == {f"({x} and {y})", f"(not {x} and not {y})"}


def test_reasoner_recovers_the_four_rules_of_xor() -> None:
    torch.manual_seed(0)
    data = ConceptToy("xor", count=2000, batch_size=256)
    stages = [{"name": "joint", "epochs": 60, "train": ["backbone", "concepts", "head"]}]
    model = DCR(
        data.domain,
        backbone={"name": "mlp", "widths": [32]},
        width=8,
        temperature=4.0,
        recipe={"stages": stages, "lr": 0.01},
    )
    trainer = fit(model, data)
    trainer.test(model, datamodule=data, verbose=False)
    assert trainer.callback_metrics["test/accuracy"] > 0.95
    model.eval()
    counts = model.rule_counts(torch.stack([item["input"] for item in data.test_dataset()]))
    x, y = "x above 0.5", "y above 0.5"
    for name, wanted in (
        ("different", {f"{x} and not {y}", f"not {x} and {y}"}),
        ("same", {f"{x} and {y}", f"not {x} and not {y}"}),
    ):
        assert {rule for rule, _ in counts[name].most_common(2)} == wanted
        assert sum(counts[name][rule] for rule in wanted) > 0.9 * counts[name].total()


def test_truth_of_a_rule_by_hand() -> None:
    model = zoo.create_model("dcr", domain=ROWS, backbone="mlp", width=4).eval()
    with torch.no_grad():
        scores, evidence = model.step(torch.randn(4, 3))
        s, r = model._rule(evidence)
        p = evidence.activation
        for b, c in product(range(4), range(3)):
            parts = []
            for i in range(5):
                a, t = s[b, i, c].item(), p[b, i].item()
                parts.append(max(min(max(1 - a, t), max(a, 1 - t)), 1 - r[b, i, c].item()))
            assert scores[b, c].item() == pytest.approx(min(parts), abs=1e-6)
    assert agreement(torch.tensor(1.0), torch.tensor(0.2)).item() == pytest.approx(0.2)


def test_a_temperature_of_a_hundred_selects_nothing() -> None:
    embeddings = torch.randn(6, 5, 4)
    torch.manual_seed(0)
    sharp = RuleBuilder(4, 2, 2.0)(embeddings)[1]
    torch.manual_seed(0)
    flat = RuleBuilder(4, 2, 100.0)(embeddings)[1]
    assert flat.min() > 0.999 and sharp.std() > 1e-3


def end_games() -> tuple[Tensor, Tensor]:
    """All 958 final boards of tic-tac-toe if x begins: 27 one-hot features, and whether x has won."""
    lines = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6)]
    boards: set[tuple[int, ...]] = set()

    def wins(board: tuple[int, ...], who: int) -> bool:
        return any(all(board[i] == who for i in line) for line in lines)

    def play(board: tuple[int, ...], who: int) -> None:
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


def test_rules_of_tic_tac_toe() -> None:
    data = EndGames()
    assert len(data) == 958 and int(data.targets.sum()) == 626
    features = tuple(f"{cell} is {what}" for cell in range(9) for what in ("empty", "x", "o"))
    domain = TableDomain(classes=("no win", "x wins"), features=features)
    torch.manual_seed(0)
    model = RRL(domain, rules=64, thresholds=1, negations=False, recipe={"coefficients": {"weight": 1e-5}})
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1000])
    for _ in range(1500):
        model.train()
        scores, evidence = model.step(data.inputs)
        terms = model.losses(scores, evidence, {"target": data.targets})
        loss = sum(model.coefficients[name] * term for name, term in terms.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        model.rules.clamp()
    model.eval()
    explanation = model.explain(data.inputs).check()
    assert torch.equal(explanation.scores.argmax(1), data.targets)
    slopes = (model.head.weight[1] - model.head.weight[0]).tolist()
    found = {unit.name for unit, weight in zip(model.units(), slopes, strict=True) if weight > 0.1}
    rows = [
        f"{a} is x and {b} is x and {c} is x" for a, b, c in ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 4, 8), (2, 4, 6))
    ]
    assert sum(row in found for row in rows) >= 3  # rules of three literals: a line of x


def test_rules_are_exactly_what_holds() -> None:
    rules, literals = Rules(4, 2, (0.999, 8, 1)), torch.tensor(list(product((0.0, 1.0), repeat=4)))
    with torch.no_grad():
        rules.conjunctions.copy_(torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0]]))
        rules.disjunctions.copy_(torch.tensor([[0, 1.0, 0, 1], [0, 0, 0, 0]]))
    holds = rules.holds(literals)
    assert torch.equal(holds[:, 0].bool(), (literals[:, 0] > 0) & (literals[:, 2] > 0))
    assert torch.equal(holds[:, 2].bool(), (literals[:, 1] > 0) | (literals[:, 3] > 0))
    assert (holds[:, 1] == 1).all() and (holds[:, 3] == 0).all()
    torch.testing.assert_close(rules(literals), holds, rtol=0, atol=2e-2)  # binary weights: the continuous form agrees


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


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("len", {"hidden": 0, "backbone": "mlp"}, "expected hidden, terms >= 1 and temperature > 0; got 0, 8, 0.6"),
        ("dcr", {"temperature": 0.0, "backbone": "mlp"}, "temperature > 0 and a classification; got 16, 0.0"),
        ("rrl", {"rules": 0}, "expected rules, thresholds >= 1 and temperature > 0; got 0, 9 and 1.0"),
        ("rrl", {"domain": IMAGES}, "RRL reads rows of a table; the data are of modality 'image'"),
    ],
)
def test_what_cannot_be(name: str, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model(name, **{"domain": ROWS, **change})


def test_an_explanation_says_the_formula_and_whether_it_holds() -> None:
    model = LEN(ROWS, backbone={"name": "mlp", "widths": [4]}).eval()
    model.formula[0, 0, 0], model.formula[0, 1, 1], model.formula[0, 1, 2] = 1, -1, 1  # round or (not large and red)
    activation = torch.tensor([[0.9, 0.9, 0.1, 0.8, 0.1], [0.1, 0.2, 0.9, 0.0, 0.1], [0.1, 0.9, 0.9, 0.0, 0.1]])
    assert model.holds(activation > 0.5).tolist() == [[True, False, False], [True, False, False], [False] * 3]
    said = model.statements({"activation": activation, "target": torch.tensor([0, 0, 0])})
    start = "circle if round or (not large and red): "
    assert said == (f"{start}true here", f"{start}true here", f"{start}not true here")
    assert model.statements({"activation": activation, "target": torch.tensor([1, 2, 1])}) == ("", "", "")
    scores = torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 1.0, 0]])
    torch.testing.assert_close(model.fidelity(scores, activation), torch.tensor([2 / 3, 1 / 3, 1.0]))
    accuracy = model.formula_accuracy(activation, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(accuracy, torch.tensor([2 / 3, 1.0, 1.0]))


def test_rules_are_said_on_pages_and_in_files() -> None:
    torch.manual_seed(0)
    model = DCR(ROWS, backbone={"name": "mlp", "widths": [4]}, width=4).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(4, 3)
    rules = model.rules(x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    explanation = model.explain(x)
    for i, rule in enumerate(rules):
        one = explanation[i]
        assert one.statements == (f"{one.target_names[0]} if {rule}: truth {one.score.item():.3f}",)
        assert one.to_dict()[0]["statement"] == one.statements[0]
        assert one.statements[0] in str(one) and one.statements[0] in one._repr_html_()
    with pytest.raises(ValueError, match="Add a batch dimension"):
        model.rules(x[0])


def test_units_of_no_sum_are_ranked_by_what_they_decide() -> None:
    model = DCR(ROWS, backbone={"name": "mlp", "widths": [4]}, width=4).eval()
    explanation = model.explain(torch.randn(4, 3))
    moved = (explanation.details["present"] - explanation.details["absent"]).abs()
    assert torch.equal(explanation.importance, moved)
    assert [t.index for t in explanation.top(5)[0]] == moved[0].sort(descending=True, stable=True).indices.tolist()
    assert "ranked by how much the score depends on them" in str(explanation)
