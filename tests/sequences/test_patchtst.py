"""PatchTST against its formula in NumPy, and what its contributions depend on."""

from math import erf

import numpy as np
import pytest
import torch

from zoo.domain import SeriesDomain, TextDomain
from zoo.sequences import PatchTST

T, H, V = 20, 3, 2
NAMES = ("heat", "load")
FORECAST = SeriesDomain(
    classes=tuple(f"{v} {h} steps ahead" for v in NAMES for h in range(1, H + 1)),
    variables=NAMES,
    length=T,
    mean=(10.0, -2.0),
    std=(3.0, 0.5),
    horizon=H,
    task="regression",
)
CLASSES = SeriesDomain(classes=("a", "b", "c"), variables=NAMES, length=T)
SIZES = {"patch": 6, "stride": 4, "width": 8, "layers": 2, "heads": 2, "hidden": 12}


def small(domain: SeriesDomain = FORECAST, **options: object) -> PatchTST:
    """A model whose parameters and running statistics are all drawn."""
    torch.manual_seed(0)
    model = PatchTST(domain, **{**SIZES, **options})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        for norm in (n for layer in model.trunk.layers for n in layer.norms):
            norm.running_mean.copy_(torch.randn(norm.running_mean.shape, generator=generator) * 0.3)
            norm.running_var.copy_(torch.rand(norm.running_var.shape, generator=generator) + 0.5)
    return model.eval()


def batch(count: int = 3) -> torch.Tensor:
    return torch.randn(count, T, V, generator=torch.Generator().manual_seed(2))


def trunk_by_formula(model: PatchTST, x: np.ndarray) -> np.ndarray:
    """States (P, D) of one series (T,), one patch and one head at a time."""
    p = {name: value.detach().double().numpy() for name, value in model.trunk.state_dict().items()}
    longer = np.concatenate([x, np.repeat(x[-1], 4)])
    z = np.stack([longer[s : s + 6] for s in range(0, len(longer) - 5, 4)])
    z = z @ p["embed.weight"].T + p["embed.bias"] + p["position"]
    carried = [np.zeros((len(z), len(z)))] * 2
    for i in range(2):
        of = {name.removeprefix(f"layers.{i}."): value for name, value in p.items()}

        def linear(name: str, y: np.ndarray, of: dict = of) -> np.ndarray:
            return y @ of[f"{name}.weight"].T + of[f"{name}.bias"]

        def norm(k: int, y: np.ndarray, of: dict = of) -> np.ndarray:
            centred = y - of[f"norms.{k}.running_mean"]
            scaled = centred / np.sqrt(of[f"norms.{k}.running_var"] + 1e-5)
            return scaled * of[f"norms.{k}.weight"] + of[f"norms.{k}.bias"]

        value, mixed = linear("value", z), []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            if model.trunk.mixing == "none":
                weights = np.eye(len(z))
            else:
                scores = linear("query", z)[:, part] @ linear("key", z)[:, part].T / 2 + carried[head]
                carried[head] = scores
                near = np.abs(np.subtract.outer(range(len(z)), range(len(z)))) <= 1
                weights = np.exp(scores) * (near if model.trunk.mixing == "window" else 1)
                weights = weights / weights.sum(1, keepdims=True)
            mixed.append(weights @ value[:, part])
        z = norm(0, z + linear("out", np.concatenate(mixed, 1)))
        inner = linear("first", z)
        gelu = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
        z = norm(1, z + linear("second", gelu))
    return z


@pytest.mark.parametrize("mixing", ["none", "window", "full"])
@pytest.mark.parametrize("individual", [False, True])
def test_forecasts_follow_the_formula(mixing: str, individual: bool) -> None:
    model, x = small(mixing=mixing, individual=individual), batch(1)
    series = x[0].double().numpy()
    expected = []
    for c in range(V):
        mu, sigma = series[:, c].mean(), np.sqrt(series[:, c].var() + 1e-5)
        gamma, beta = model.head.gamma[c].item(), model.head.beta[c].item()
        z = trunk_by_formula(model, (series[:, c] - mu) / sigma * gamma + beta)
        rows = slice(H * c, H * c + H) if individual else slice(None)
        weight, bias = (t.detach().double().numpy()[rows] for t in (model.head.linear.weight, model.head.linear.bias))
        for h in range(H):
            normed = weight[h] @ z.flatten() + bias[h]
            value = (normed - beta) / (gamma + 1e-10) * sigma + mu
            expected.append(FORECAST.mean[c] + FORECAST.std[c] * value)
    np.testing.assert_allclose(model(x)[0].detach().numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("individual", [False, True])
def test_classes_follow_the_formula(individual: bool) -> None:
    model, x = small(CLASSES, individual=individual), batch(1)
    z = np.stack([trunk_by_formula(model, x[0, :, c].double().numpy()) for c in range(V)])
    weight, bias = (t.detach().double().numpy() for t in (model.head.linear.weight, model.head.linear.bias))
    each = [weight[:, z[0].size * c * individual :][:, : z[0].size] @ z[c].flatten() for c in range(V)]
    np.testing.assert_allclose(model(x)[0].detach().numpy(), sum(each) / V + bias, rtol=1e-4, atol=1e-4)


def test_a_forecast_never_depends_on_another_variable() -> None:
    model, x = small(), batch()
    other = x.clone()
    other[..., 1] = torch.randn(3, T) * 50
    for step in range(H):  # of "heat"
        told, again = model.explain(x, step), model.explain(other, step)
        assert torch.equal(told.contributions, again.contributions)
        assert torch.equal(told.scores[:, :H], again.scores[:, :H])
    assert not torch.equal(told.scores[:, H:], again.scores[:, H:])
    of_other = [unit.source["variable"] == "load" for unit in model.units()]
    assert told.contributions[:, of_other].abs().max() == 0


@pytest.mark.parametrize(("mixing", "reach"), [("none", 0), ("window", 2), ("full", 5)])
def test_a_patch_depends_on_the_patches_that_the_choice_of_mixing_says(mixing: str, reach: int) -> None:
    model, x = small(CLASSES, mixing=mixing), batch(1)
    before = model.explain(x, 0).contributions[0].view(V, -1)
    changed = x.clone()
    changed[0, 0, 0] += 9  # only the first patch of "heat" has step 0
    moved = (model.explain(changed, 0).contributions[0].view(V, -1) - before).abs() > 1e-6
    assert moved[0].nonzero().flatten().tolist() == list(range(min(reach, 4) + 1))
    assert not moved[1].any()
    words = {"none": "it alone", "window": "at most 2 away", "full": "all patches of its variable"}
    assert words[mixing] in model.locality()


def test_units_and_their_places() -> None:
    model = small()
    names = [unit.name for unit in model.units()]
    assert names[:2] == ["heat, 20 to 15 steps ago", "heat, 16 to 11 steps ago"]
    assert names[4:6] == ["heat, 4 to 1 steps ago", "heat, level"] and len(names) == 2 * 6
    support = model.explain(batch(1), "load 2 steps ahead").support[0]
    assert support[4, :, 0].nonzero().flatten().tolist() == [16, 17, 18, 19] and support[4, :, 1].sum() == 0
    assert support[5].sum(0).tolist() == [20, 0]
    told = model.explain(batch(1), "load 2 steps ahead")
    every = told.details["horizon"][0]  # (K, H)
    torch.testing.assert_close(every[6:, 1], told.contributions[0, 6:])
    torch.testing.assert_close(every[:6].sum(0) + 10, told.scores[0, :3], rtol=1e-5, atol=1e-4)
    assert PatchTST(CLASSES, **SIZES).units()[0].name == "heat, steps 0 to 5"


def test_level_of_a_constant_series_is_its_value() -> None:
    """With a trained γ of 1 and β, b of 0, a flat look-back is continued by itself, whatever the patches say."""
    torch.manual_seed(0)
    model = PatchTST(FORECAST, **SIZES).eval()
    with torch.no_grad():
        model.head.linear.bias.zero_()
    told = model.explain(torch.full((1, T, V), 2.0), 0)
    level = told.contributions[0, 5]
    torch.testing.assert_close(told.bias[0] + level, torch.tensor(10 + 3 * 2.0))


def test_losses_are_in_deviations_of_the_training_data() -> None:
    model, x = small().train(), batch()
    scores, evidence = model.step(x)
    target = scores.detach() + torch.tensor([3.0] * H + [0.5] * H)  # one deviation each
    assert evidence.support is None
    torch.testing.assert_close(model.losses(scores, evidence, {"target": target})["task"], torch.tensor(1.0))


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (FORECAST, {"patch": 21}, "patches are at most as long as the series of 20 steps .* got patch 21"),
        (FORECAST, {"stride": 7}, "not further apart than they are long; got patch 6 and stride 7"),
        (FORECAST, {"heads": 3}, "heads must divide width; got 3 heads and width 8"),
        (FORECAST, {"layers": 0}, "layers must be at least 1"),
        (FORECAST, {"mixing": "some"}, "mixing must be one of none, window, full; got 'some'"),
        (TextDomain(classes=("a", "b"), vocabulary=("x",), length=4), {}, "PatchTST reads series; got a domain of"),
    ],
)
def test_what_cannot_be_built(domain: SeriesDomain, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatchTST(domain, **{**SIZES, **options})


def test_a_horizon_needs_a_name_for_each_value() -> None:
    with pytest.raises(ValueError, match="4 future steps of 2 variables are 8 values; got 1 names"):
        SeriesDomain(classes=("a",), variables=NAMES, length=T, horizon=4, task="regression")
