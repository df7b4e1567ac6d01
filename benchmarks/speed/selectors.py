"""Selectors: a training step relative to that of the black box on as many inputs, and the passes of a prediction.

Sizes are those of shipped configs. The black box trains on one row for each mask and imputation that the selector
draws. `zoo` is the step of the selector: its own network, and the predictor on all draws; REBAR reads its control
variates as well.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import zoo
from benchmarks.harness import Case, Goal, training_step
from zoo.domain import ImageDomain, TableDomain
from zoo.training.black_box import BlackBox
from zoo.training.staged_module import StagedModule

MASKS, IMPUTATIONS = 4, 4
VARIATES = "the control variates are two more passes of the predictor"
SMALL = "the network is so small that the many small operations of masks and imputations take about as long"
ESTIMATORS = {
    "pathwise, 4 of the elements": {"law": "subset", "estimator": "pathwise", "size": 4},
    "score function": {"estimator": "reinforce", "baseline": "others"},
    "REBAR": {"estimator": "rebar"},
}
WORLDS = {
    "table of 11 features": (
        TableDomain(classes=("no", "yes"), features=tuple(f"x{i}" for i in range(11))),
        {"name": "mlp", "widths": [200, 200]},
        {},
        256,
    ),
    "images of 28 x 28": (
        ImageDomain(classes=tuple("0123456789"), size=(28, 28), channels=1, mean=(0.5,), std=(0.5,)),
        {"name": "convnet", "widths": [16, 32, 64], "strided": True},
        {"elements": {"patch": 7}},
        64,
    ),
}


def cases(device: torch.device) -> Iterator[Case]:
    for place, (domain, backbone, options, rows) in WORLDS.items():
        x = torch.randn(rows, *domain.shape, device=device)
        batch = {"input": x, "target": torch.arange(rows, device=device) % len(domain.classes)}
        many = {name: value.repeat_interleave(MASKS * IMPUTATIONS, 0) for name, value in batch.items()}
        twin = BlackBox(domain, backbone=backbone).to(device)
        for estimator, mask in ESTIMATORS.items():
            made = {"mask": {**mask, "samples": MASKS}, "imputer": {"kind": "marginal", "samples": IMPUTATIONS}}
            model = zoo.create_model("lex", domain=domain, backbone=backbone, **made, **options).to(device)
            yield Case(
                f"training step, {rows} rows, {place}, {estimator}",
                {"zoo": training_step(model, batch), "black box": training_step(twin, many)},
                cost=True,
                goal=Goal(at_most=1.5),
                apart=None,
                missed=VARIATES if estimator == "REBAR" else SMALL,
            )
        yield Case(
            f"prediction, {rows} rows, {place}, one mask and one imputation",
            {"zoo": answer(one(domain, backbone, options).to(device), x), "black box twice": twice(twin, x)},
            cost=True,
            goal=Goal(at_most=1.5),
            apart=None,
            missed=SMALL,
        )


def one(domain: ImageDomain | TableDomain, backbone: dict[str, object], options: dict[str, object]) -> StagedModule:
    """A selector that predicts from a single imputation."""
    return zoo.create_model("lex", preset="realx", domain=domain, backbone=backbone, **options)


def answer(model: StagedModule, x: Tensor) -> Callable[[], Tensor]:
    """Scores of a batch."""
    model.eval()

    @torch.no_grad()
    def run() -> Tensor:
        return model(x)

    return run


def twice(model: StagedModule, x: Tensor) -> Callable[[], Tensor]:
    """Two passes of the black box, as many as a selector and its predictor need."""
    once = answer(model, x)

    def run() -> Tensor:
        once()
        return once()

    return run
