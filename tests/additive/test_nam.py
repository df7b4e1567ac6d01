"""NAM: scores by loops over columns, hidden units and bags; penalties, bags and curves; known functions are found."""

from dataclasses import replace
from math import exp

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

import zoo
from tests.domain.test_columns import CREDIT, ROW
from tests.small_models import IMAGES, ROWS
from zoo.additive import NAM
from zoo.additive.layers.bootstrap import poisson_weights
from zoo.domain import TableDomain
from zoo.networks.feature_networks import FeatureNetworks
from zoo.training.projection_set import ProjectionSet

VALUE = TableDomain(task="regression", classes=("y",), features=("a", "b"), mean=(1.0, 0.0), std=(2.0, 1.0))


def credit_rows() -> Tensor:
    rows = [ROW | {"risk": str(risk)} for risk in (40, 50, 60, 80)]
    rows += [ROW | {"risk": "-7"}, ROW | {"risk": ""}, ROW | {"job": "?"}, ROW | {"job": "clerk", "school": "low"}]
    return torch.stack([CREDIT.preprocess(row) for row in rows])


def by_hand(networks: FeatureNetworks, net: int, value: float, copy: int, inputs: slice, row: Tensor) -> Tensor:
    """f_k of one bag and one column: a network of the number, or the constant of the indicator that is 1."""
    for f in range(inputs.start, inputs.stop):
        if row[f] == 1 and networks.indicator[f]:
            return networks.constants[copy, f]
    if net < 0:
        return torch.zeros(networks.constants.shape[-1])
    h = []
    for w, c in zip(networks.weight[net, 0].tolist(), networks.centre[net, 0].tolist(), strict=True):
        h.append(min(max(exp(w) * (value - c), 0), 1) if networks.activation == "exu" else max(w * (value - c), 0))
    hidden = torch.tensor(h, dtype=torch.float32)
    for weight, bias in zip(networks.layers, networks.biases, strict=True):
        hidden = (hidden @ weight[net] + bias[net, 0]).clamp_min(0)
    return hidden @ networks.output[net]


@pytest.mark.parametrize(("activation", "hidden", "bags"), [("relu", (4, 3), 1), ("exu", (), 2)])
@pytest.mark.parametrize("classes", [("bad", "good"), ("bad", "fair", "good")])
def test_scores_by_hand(activation: str, hidden: tuple[int, ...], bags: int, classes: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    domain, x = replace(CREDIT, classes=classes), credit_rows()
    model = NAM(domain, 5, hidden, activation, bags=bags).eval()
    for parameter in (model.networks.constants, model.bias, model.means):
        torch.nn.init.normal_(parameter)
    networks, numeric = model.networks, [k for k, c in enumerate(domain.layout) if c.numeric]
    for i, row in enumerate(x):
        total = torch.zeros(bags, model.bias.shape[1])
        for n in range(bags):
            total[n] = model.bias[n]
            for k, (column, inputs) in enumerate(zip(domain.layout, domain.slices, strict=True)):
                net = n * len(numeric) + numeric.index(k) if column.numeric else -1
                total[n] += by_hand(networks, net, float(row[inputs.start]), n, inputs, row)
        score = total.mean(0)
        scores = model(x)[i]
        expected = score if len(classes) == 3 else score[0]
        torch.testing.assert_close(scores if len(classes) == 3 else scores[1] - scores[0], expected)
    explanation = model.explain(x).check()
    assert [u.name for u in explanation.units] == [c.name for c in domain.layout]
    assert explanation.support is not None and explanation.support[0].sum(0).tolist() == [1.0] * len(domain.features)


def test_units_start_with_centres_and_weights_of_their_own() -> None:
    """Regressions of public ports: one centre for all units, and weights cut at 2, the default bound of torch."""
    torch.manual_seed(0)
    networks = NAM(VALUE, 500, (), "exu").networks
    assert networks.weight.min() >= 3 and networks.weight.max() <= 5 and abs(networks.weight.mean() - 4) < 0.05
    assert networks.centre.unique().numel() == 1000 and networks.centre.abs().max() <= 1


def test_penalties_are_those_of_the_functions_without_dropout() -> None:
    torch.manual_seed(0)
    model = NAM(VALUE, 8, (4,), dropout=0.5, feature_dropout=0.5).train()
    x, y = torch.randn(50, 2), torch.randn(50, 1)
    scores, evidence = model.step(x)
    losses = model.losses(scores, evidence, {"input": x, "target": y})
    functions = model.networks(x, dropout=False)[:, 0, :, 0]
    squares = sum(float(p.detach().square().sum()) for p in model.networks.parameters())
    torch.testing.assert_close(losses["output"], functions.square().mean())
    torch.testing.assert_close(losses["l2"], torch.tensor(squares / 2 / 2))
    torch.testing.assert_close(losses["task"], (scores - y).square().mean())


def test_feature_dropout_drops_complete_functions_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    model = NAM(VALUE, 8, (4,), dropout=0.0, feature_dropout=0.25).train()
    x = torch.randn(1, 2).expand(4000, -1)
    terms, clean = model.evidence(x).activation, model.networks(x[:1])[0, 0, :, 0]
    ratio = terms / clean
    assert {round(r, 3) for r in ratio.flatten().tolist()} == {0.0, round(4 / 3, 3)}
    torch.testing.assert_close(ratio.mean(0), torch.ones(2), atol=0.05, rtol=0)


def test_bags_learn_from_their_own_poisson_weights() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(20_000, 2), torch.randn(20_000, 1)
    counts = poisson_weights(x, 3)
    assert torch.equal(counts[7:9], poisson_weights(x[7:9], 3))
    for k, chance in enumerate((0.3679, 0.3679, 0.1839, 0.0613)):
        assert abs((counts == k).float().mean() - chance) < 0.01
    assert abs(torch.corrcoef(counts.T)[0, 1]) < 0.03
    model = NAM(VALUE, 4, (), dropout=0.0, bags=3).train()
    scores, evidence = model.step(x[:30])
    weight = torch.rand(30)
    losses = model.losses(scores, evidence, {"input": x[:30], "target": y[:30], "weight": weight})
    values = model.networks(x[:30]).sum(2)[..., 0] + model.bias[:, 0]
    expected = ((values - y[:30]).square() * counts[:30] * weight[:, None]).mean()
    torch.testing.assert_close(losses["task"], expected)


def test_centring_moves_means_into_the_bias_and_measures_curves() -> None:
    torch.manual_seed(0)
    x = credit_rows()
    model = NAM(replace(CREDIT, classes=("bad", "good")), 6, (4,), bags=2, bins=8).eval()
    torch.nn.init.normal_(model.networks.constants)
    with pytest.raises(RuntimeError, match="curves of NAM are not measured"):
        model.curves()
    before = model(x)
    model.centre(ProjectionSet(TensorDataset(x, torch.zeros(len(x)))))
    torch.testing.assert_close(model(x), before)
    activation = model.evidence(x).activation
    torch.testing.assert_close(activation.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    curves = model.curves()
    assert [c.unit for c in curves] == [u.name for u in model.units()]
    found = model.entries.bins(x)
    for k, curve in enumerate(curves):
        assert len(curve.axes[0]) == len(curve.values) == len(curve.density) and curve.error is not None
        torch.testing.assert_close(curve.values[found[:, k], 1], activation[:, k] / 2)  # every value has a bin
        torch.testing.assert_close(curve.density @ curve.values, torch.zeros(2), atol=1e-6, rtol=0)
        assert curve.density.sum() == 1
    risk = curves[0]
    assert risk.axes[0].places == pytest.approx((40, 50, 60, 80, 85))
    functions = (model.networks(x) - model.means)[..., 0]
    torch.testing.assert_close(risk.error[found[:, 0], 1], functions[:, :, 0].std(1) / 2)


def test_known_functions_are_found() -> None:
    torch.manual_seed(0)
    x = torch.rand(1000, 2) * 4 - 2
    truth = torch.stack([(2 * x[:, 0]).sin(), x[:, 1].abs()], 1)
    y = truth.sum(1, keepdim=True) + 0.1 * torch.randn(1000, 1)
    model = NAM(VALUE, 16, (16,), dropout=0.0).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        scores, evidence = model.step(x)
        terms = model.losses(scores, evidence, {"input": x, "target": y})
        optimizer.zero_grad()
        (terms["task"] + 1e-3 * terms["output"]).backward()
        optimizer.step()
    model.centre(ProjectionSet(TensorDataset(x, y), batch_size=1000))
    found, centred = model.eval().evidence(x).activation.detach(), truth - truth.mean(0)
    r2 = 1 - (found - centred).square().sum(0) / centred.square().sum(0)
    assert r2.min() > 0.99, r2
    places = torch.tensor(model.curves()[0].axes[0].places)
    expected = (2 * (places - 1) / 2).sin()  # raw values are 2 x + 1
    assert len(places) == 128 and (model.curves()[0].values[:, 0] - expected).abs().mean() < 0.1


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="NAM reads rows of a table; the data are of modality 'image'"):
        NAM(IMAGES)
    with pytest.raises(ValueError, match="activation must be one of relu, exu; got 'elu'"):
        NAM(ROWS, activation="elu")
    with pytest.raises(ValueError, match="dropout must be in"):
        zoo.create_model("nam", domain=ROWS, dropout=1.0)
