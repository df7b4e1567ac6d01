"""What additive and local forecasts cost: `python -m benchmarks.forecasting`.

Trains PatchTST with `mixing` full and none, the same trunk with a nonlinear head (a black box), and DLinear on series
that statsmodels ships (`pip install ".[forecast]"`), beside the naive and the seasonal naive forecast. The rate
and the epoch are those of the smallest error on the validation part; the test part is looked at once, with the choice
made. Errors are in deviations of the training part. Finished sets are kept: an interrupted command resumes. Writes
benchmarks/FORECASTING.md and .json.
"""

import argparse
import copy
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.runs import Record
from zoo.data import Forecast
from zoo.domain import Domain, SeriesDomain
from zoo.sequences import PatchTST
from zoo.sequences.layers.patch_heads import ForecastHead

SETS: dict[str, dict[str, Any]] = {
    "co2": {"lookback": 104, "horizon": 26, "missing": "interpolate", "val_fraction": 0.15, "stride": 2},
    "elnino": {"lookback": 60, "horizon": 12, "val_fraction": 0.2},
}
SEASON = {"co2": 52, "elnino": 12}
ABOUT = {
    "co2": "CO₂ at Mauna Loa, weekly 1958–2001 (59 missing weeks interpolated): 104 weeks → 26 weeks",
    "elnino": "sea surface temperature, monthly 1950–2010: 60 months → 12 months",
}
RATES, EPOCHS, BATCH, SEEDS = (2e-3, 1e-2), 20, 64, (0, 1, 2)
SIZES = {"width": 16, "layers": 3, "heads": 4, "hidden": 128, "dropout": 0.1}
LAWS = {
    "PatchTST, mixing none": "sum of terms, each of its own patch and the look-back's mean and deviation",
    "PatchTST, mixing full": "sum of terms, one for each patch, each of all patches",
    "black box": "none (nonlinear head)",
    "DLinear": "linear in every step",
    "naive": "the last value",
    "seasonal naive": "the value one season before",
}


class DLinear(nn.Module):
    """Zeng et al.: "Are Transformers Effective for Time Series Forecasting?", AAAI 2023: a linear map of the moving
    average over 25 steps plus one of the rest, the same for all variables."""

    def __init__(self, domain: SeriesDomain) -> None:
        super().__init__()
        self.trend, self.rest = (nn.Linear(domain.length, domain.horizon) for _ in range(2))
        for layer in (self.trend, self.rest):
            nn.init.constant_(layer.weight, 1 / domain.length)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mT
        longer = torch.cat([x[..., :1].expand(-1, -1, 12), x, x[..., -1:].expand(-1, -1, 12)], 2)
        trend = nn.functional.avg_pool1d(longer, 25, stride=1)
        return (self.trend(trend) + self.rest(x - trend)).flatten(1)


class BlackBox(nn.Module):
    """PatchTST with a hidden layer in its head, so that forecasts are not a sum over patches."""

    def __init__(self, model: PatchTST, domain: SeriesDomain) -> None:
        super().__init__()
        assert isinstance(model.head, ForecastHead)
        self.trunk, self.head = model.trunk, model.head
        inputs = model.head.linear.in_features
        self.mlp = nn.Sequential(nn.Linear(inputs, 64), nn.GELU(), nn.Linear(64, domain.horizon))

    def forward(self, x: Tensor) -> Tensor:
        series, rest = self.head.prepare(x.mT)
        z = self.trunk(series.flatten(0, 1)).unflatten(0, (-1, x.shape[2]))
        normed = self.mlp(z.flatten(2))
        gamma, beta = self.head.gamma[:, None], self.head.beta[:, None]
        return ((normed - beta) / gamma * rest[..., 1:] + rest[..., :1]).flatten(1)


class Scaled(nn.Module):
    """The forecasts of a PatchTST in deviations of the training part."""

    def __init__(self, model: PatchTST) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        head = self.model.head
        assert isinstance(head, ForecastHead)
        values = self.model.step(x)[0].unflatten(1, (-1, head.horizon))
        return ((values - head.mean[:, None]) / head.scale[:, None]).flatten(1)


def build(name: str, domain: SeriesDomain) -> nn.Module:
    """A network that is to be trained; it gives scaled values (B, V H)."""
    if name == "DLinear":
        return DLinear(domain)
    model = PatchTST(domain, mixing="none" if name.endswith("none") else "full", **SIZES)
    return BlackBox(model, domain) if name == "black box" else Scaled(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    record = Record("FORECASTING", page)
    for name in SETS:
        record.keep(name, measured, name)
    print(page(record.found))


def measured(name: str) -> dict[str, Any]:
    """The errors of all models on one set, by model."""
    data = Forecast(f"statsmodels:{name}", **SETS[name])
    domain = Domain.from_dict(data.domain)
    assert isinstance(domain, SeriesDomain)
    parts = {split: tensors(data, domain, split) for split in ("train", "val", "test")}
    found: dict[str, Any] = {}
    for model in ("PatchTST, mixing none", "PatchTST, mixing full", "black box", "DLinear"):
        runs = {rate: [trained(model, domain, parts, rate, seed) for seed in SEEDS] for rate in RATES}
        validation = {rate: mean([run["val"] for run in of]) for rate, of in runs.items()}
        rate = min(validation, key=lambda key: validation[key])
        found[model] = {
            "lr": rate,
            "epochs": [run["epoch"] for run in runs[rate]],
            "validation mse": {str(key): value for key, value in validation.items()},
            "test": [errors(run["network"], *parts["test"]) for run in runs[rate]],
        }
        print(f"{name}, {model}: {found[model]}", flush=True)
    horizon, season = domain.horizon, SEASON[name]
    for model, back in (("naive", 1), ("seasonal naive", season)):
        steps = [-back + (h % back) for h in range(horizon)]
        forecast = parts["test"][0][:, steps].mT.flatten(1)
        found[model] = {"test": [distance(forecast, parts["test"][1])]}
    return found


def tensors(data: Forecast, domain: SeriesDomain, split: str) -> tuple[Tensor, Tensor]:
    """Inputs (N, T, V) and scaled targets (N, V H) of a part."""
    items = data.items(split, False)
    scaled = domain.normalise(items.targets.unflatten(1, (-1, domain.horizon)).mT).mT
    return items.inputs.contiguous(), scaled.flatten(1)


def trained(name: str, domain: SeriesDomain, parts: dict[str, Any], rate: float, seed: int) -> dict[str, Any]:
    """A network as it was after the epoch of smallest validation error."""
    torch.manual_seed(seed)
    network = build(name, domain)
    x, y = parts["train"]
    optimizer = torch.optim.Adam(network.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    best: dict[str, Any] = {"val": float("inf")}
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for rows in torch.randperm(len(x)).split(BATCH):
            if len(rows) > 1:
                optimizer.zero_grad()
                (network(x[rows]) - y[rows]).square().mean().backward()
                optimizer.step()
        schedule.step()
        error = errors(network, *parts["val"])["mse"]
        if error < best["val"]:
            best = {"val": error, "epoch": epoch, "network": copy.deepcopy(network)}
    return best


@torch.no_grad()
def errors(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, float]:
    """Mean squared and mean absolute error over windows, variables and future steps."""
    network.eval()
    return distance(network(x), y)


def distance(forecast: Tensor, y: Tensor) -> dict[str, float]:
    """The errors of forecasts (N, V H)."""
    apart = forecast - y
    return {"mse": float(apart.square().mean()), "mae": float(apart.abs().mean())}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def page(record: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = ["# Forecasting: what additive and local forecasts cost", ""]
    rates = " or ".join(f"{rate:g}" for rate in RATES)
    lines += [
        "Written by `python -m benchmarks.forecasting`. Errors on the last fifth of each series, in deviations of its",
        f"training part; mean and range over {len(SEEDS)} seeds. Learning rate ({rates}) and epoch were chosen on the",
        "validation part. The black box is PatchTST with a hidden layer in its head.",
    ]
    for name, found in record.items():
        lines += [
            "",
            f"## {name}",
            "",
            f"{ABOUT[name]}.",
            "",
            "| model | MSE | MAE | a forecast is |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {model} | {cell(row, 'mse')} | {cell(row, 'mae')} | {LAWS[model]} |" for model, row in found.items()
        ]
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any], what: str) -> str:
    """Mean and range of an error."""
    values = [run[what] for run in row["test"]]
    text = f"{mean(values):.4f}"
    return text if len(values) == 1 else f"{text} ({min(values):.4f}–{max(values):.4f})"


if __name__ == "__main__":
    main()
