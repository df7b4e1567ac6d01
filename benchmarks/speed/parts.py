"""Sum-of-Parts against its plain formulation.

Plain: one full pass of the backbone for each of M groups, all masked inputs of a batch at once, as the published code
does within its chunks. "Dropped tokens" passes only the tokens that are kept, which is another function than full
passes with zeros in place of hidden patches, so it is also compared with the same function written as a loop. Where
groups are weighed before they are seen, groups without weight and twins are never passed. Under a budget the memory of
masked passes does not grow with the number of groups.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from unittest.mock import patch

import torch
from torch import Tensor

import zoo
from benchmarks.harness import Case, Goal, Reading, peak_memory
from zoo.domain import ImageDomain
from zoo.parts import SumOfParts, masked
from zoo.parts.passes import run_groups

PHOTOS = ImageDomain(classes=("a", "b"), size=(224, 224))
DIGITS = ImageDomain(classes=tuple("0123456789"), size=(28, 28), channels=1, mean=(0.5,), std=(0.5,))
VIT = {"name": "vit_small_patch16_224"}
SMALL = {"name": "convnet", "widths": [16, 32, 64], "pool": [0, 1]}


def plain(run: Callable[[Tensor, Tensor], Tensor], masks: Tensor, wanted: Tensor | None, rows: int) -> Tensor:
    """All groups of all inputs in one batch, as `run_groups` under export."""
    batch, groups = masks.shape[:2]
    index = torch.arange(batch)[:, None].expand(-1, groups).reshape(-1)
    return run(index, masks.flatten(0, 1)).unflatten(0, (batch, groups))


def plainly(call: Callable[[], Tensor]) -> Tensor:
    """What `call` gives when masked passes are plain."""
    with patch.object(masked, "run_groups", plain):
        return call()


def one_by_one(model: SumOfParts, x: Tensor, masks: Tensor) -> Tensor:
    """States (B, M, D) of a Vision Transformer that sees the kept tokens only, group after group."""
    encoder = model.backbone.encoder
    states = []
    for m in range(masks.shape[1]):
        tokens = encoder.embed(x)  # pyright: ignore[reportCallIssue]
        prefix = tokens.shape[1] - masks.shape[2]
        kept = torch.stack(
            [torch.cat([t[:prefix], t[prefix:][mask]]) for t, mask in zip(tokens, masks[:, m], strict=True)]
        )
        states.append(encoder.encode(kept))  # pyright: ignore[reportCallIssue]
    return torch.stack(states, 1)


def tokens() -> Iterator[Case]:
    x, models = torch.randn(2, 3, 224, 224), {}
    for how in ("masked", "dropped"):
        torch.manual_seed(0)
        models[how] = zoo.create_model("sop", domain=PHOTOS, backbone=VIT, groups=20, tokens=how).eval()
    masks = models["masked"].evidence(x).support.flatten(2).bool()
    size, what = int(masks[0, 0].sum()), "ViT-S/16 at 224 pixels, 20 groups of a fifth of the patches"
    ours = lambda: models["dropped"].backbone.groups(x, masks, size)  # noqa: E731
    full = lambda: plainly(lambda: models["masked"].backbone.groups(x, masks, size))  # noqa: E731
    yield Case(f"dropped tokens, {what}", {"zoo": ours, "full passes": full}, goal=Goal(at_least=3), apart=None)
    yield Case(
        f"dropped tokens as a loop, {what}", {"zoo": ours, "loop": lambda: one_by_one(models["dropped"], x, masks)}
    )


def chunks() -> Case:
    model = zoo.create_model("sop", domain=DIGITS, backbone=SMALL, elements={"patch": 4}, groups=16).eval()
    x = torch.randn(64, 1, 28, 28)
    return Case(
        "chunks that fit the cache, 64 images of 28 pixels, 16 groups",
        {"zoo": lambda: model(x), "one batch": lambda: plainly(lambda: model(x))},
    )


def weighed_first() -> Iterator[Case | Reading]:
    """A selector that is sharp, as after training, on a small CNN."""
    torch.manual_seed(0)
    options = {"backbone": SMALL, "elements": {"patch": 4}, "groups": 16, "select_by": "input"}
    model = zoo.create_model("sop", domain=DIGITS, **options).eval()
    model.selector.classes.mul_(20)  # pyright: ignore[reportCallIssue]
    x, rows = torch.randn(64, 1, 28, 28), []
    handle = model.backbone.encoder.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    model(x)
    handle.remove()
    yield Reading("passes that are run, groups weighed before they are seen", 100 * sum(rows) / (64 * 16), "%")

    def every() -> Tensor:
        with patch.object(masked, "run_groups", lambda run, masks, wanted, r: _all(run, masks, r)):
            return model(x)

    yield Case("groups weighed before they are seen", {"zoo": lambda: model(x), "every pass": every})


def _all(run: Callable[[Tensor, Tensor], Tensor], masks: Tensor, rows: int) -> Tensor:
    """Every pass, in the same chunks: masks as numbers are never taken for twins."""
    return run_groups(lambda index, mask: run(index, mask > 0), masks.float(), None, rows)


def memory(groups: int, budget: int = 128) -> float:
    """MiB of masked passes of a ResNet-18 at 224 pixels under a budget of so many MiB."""
    options = {"backbone": {"name": "resnet18"}, "elements": {"patch": 16}, "groups": groups, "memory": budget}
    model = zoo.create_model("sop", domain=PHOTOS, **options).eval()
    assert isinstance(model, SumOfParts)
    x, masks = torch.randn(1, 3, 224, 224), torch.rand(1, groups, model.elements.count) < 0.2
    with torch.no_grad():
        model.backbone.groups(x, masks[:, :2], 1)
        return peak_memory(lambda: model.backbone.groups(x, masks, 1), torch.device("cpu")) or 0.0


@torch.no_grad()
def cases(device: torch.device) -> Iterator[Case | Reading]:
    yield from tokens()
    yield chunks()
    yield from weighed_first()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a fresh process for each
        peaks = {groups: pool.apply(memory, (groups,)) for groups in (10, 40, 160)}
        pool.close()
        pool.join()
    for groups, peak in peaks.items():
        yield Reading(f"peak memory of {groups} groups under a budget of 128 MiB", peak, "MiB")
    yield Reading("peak memory, 160 groups by 10", peaks[160] / max(peaks[10], 1.0), "x", Goal(at_most=1.5))
