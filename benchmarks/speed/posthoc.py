"""Built-in explanations compared with post-hoc explanations of the black box.

Eight images of 64 pixels, the same small CNN in all models. The post-hoc methods are captum's (the extra `compare`):
integrated gradients with 50 steps, occlusion of 8 x 8 patches, KernelSHAP with 256 coalitions. They explain another
model, so only time is compared here; `train.py leaderboard` measures whether explanations are true.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

import zoo
from benchmarks.harness import Case
from benchmarks.speed.families import CLASSES, Noise, explain, predict
from zoo.domain import ImageDomain
from zoo.metrics.faithfulness.posthoc import PostHoc
from zoo.metrics.faithfulness.posthoc_methods import POSTHOC
from zoo.training.black_box import BlackBox
from zoo.training.projection_set import ProjectionSet

BACKBONE = {"name": "convnet", "widths": [32, 64, 128], "pool": [0, 1, 2]}
ROWS = 8


def told(method: PostHoc, x: Tensor) -> Tensor:
    contributions = method.explain(x).contributions
    assert contributions is not None  # post-hoc methods always give some
    return contributions


def cases(device: torch.device) -> Iterator[Case]:
    domain = ImageDomain(classes=tuple(f"class {c}" for c in range(CLASSES)), size=(64, 64))
    data = Noise(domain, 10 * CLASSES)
    x = torch.stack([data[i]["input"] for i in range(ROWS)]).to(device)
    twin = BlackBox(domain, backbone=BACKBONE).to(device).eval()
    methods = {name: method(twin, torch.zeros_like(x[0])) for name, method in POSTHOC.items()}
    after = {f"{name}, of the black box": partial(told, method, x) for name, method in methods.items()}
    protopnet = zoo.create_model("protopnet", domain=domain, backbone=BACKBONE, thumbnail=8).to(device)
    protopnet.push(ProjectionSet(data, device=device))
    options = {"grouping": {"groups": 8, "size": 0.25}, "elements": {"patch": 8}}
    parts = zoo.create_model("sop", domain=domain, backbone=BACKBONE, **options).to(device)
    for name, model in {"protopnet": protopnet, "sop": parts}.items():
        ways = {
            "zoo": partial(explain, model.eval(), x),
            "prediction of the black box": partial(predict, twin, x),
            **after,
        }
        yield Case(f"explanation of {ROWS} images, {name}", ways, apart=None)
