"""Speed of Sum-of-Parts, compared with its plain formulation.

The plain formulation runs one full pass of the backbone for each of M groups, all masked inputs of a batch at once, as
the published code does within its chunks. Measured are:

- ViT-S/16 at 224 pixels, 20 groups of a fifth of the patches: full passes with zeros in place of hidden patches, and
  passes over the kept tokens only. The latter are another function, so they are also compared with a loop that computes
  the same function.
- A small CNN: chunks that fit the cache.
- The shipped `sop-mnist` on its golden digits, shifted: passes saved because groups are equal, and because groups have
  no weight, which is known before a pass if the selector reads the input. For the latter the shipped weights are used
  with a selector that was not trained for it, only sharpened; how many groups a trained one skips depends on training.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor

import zoo
from benchmarks.harness import Case, Goal, Reading, peak_memory
from zoo.checkpoints.config_file import GOLDEN
from zoo.checkpoints.golden import golden_inputs
from zoo.checkpoints.pretrained import find
from zoo.checkpoints.tensor_files import read_tensors
from zoo.domain import ImageDomain
from zoo.parts import SumOfParts
from zoo.parts.layers.masked_passes import run_groups

PHOTOS = ImageDomain(classes=("a", "b"), size=(224, 224))
DIGITS = ImageDomain(classes=tuple("0123456789"), size=(28, 28), channels=1, mean=(0.5,), std=(0.5,))
VIT = {"name": "vit_small_patch16_224"}
SMALL = {"name": "convnet", "widths": [16, 32, 64], "pool": [0, 1]}
BUDGET = 128  # MiB
SHARPER = 20  # factor of the scores of the selector that reads the input


def plain(run: Callable[[Tensor, Tensor], Tensor], masks: Tensor, wanted: Tensor | None, rows: int) -> Tensor:
    """Runs all groups of all inputs in one batch, as `run_groups` does under export."""
    batch, groups = masks.shape[:2]
    index = torch.arange(batch)[:, None].expand(-1, groups).reshape(-1)
    return run(index, masks.flatten(0, 1)).unflatten(0, (batch, groups))


def every(run: Callable[[Tensor, Tensor], Tensor], masks: Tensor, wanted: Tensor | None, rows: int) -> Tensor:
    """Runs all passes, in the same chunks: float masks are not checked for equality."""
    return run_groups(lambda index, mask: run(index, mask > 0), masks.float(), None, rows)


@torch.no_grad()
def passes(call: Callable[[], Tensor], how: Callable[..., Tensor] = run_groups) -> Tensor:
    """Result of `call` when masked passes are run by `how`."""
    with patch("zoo.parts.layers.masked_backbone.run_groups", how):
        return call()


@torch.no_grad()
def one_by_one(model: SumOfParts, x: Tensor, masks: Tensor) -> Tensor:
    """States (B, M, D) of a Vision Transformer on the kept tokens only, one group after the other."""
    encoder = model.backbone.encoder
    states = []
    for m in range(masks.shape[1]):
        tokens = encoder.embed(x)
        prefix = tokens.shape[1] - masks.shape[2]
        kept = torch.stack(
            [torch.cat([t[:prefix], t[prefix:][mask]]) for t, mask in zip(tokens, masks[:, m], strict=True)]
        )
        states.append(encoder.encode(kept))
    return torch.stack(states, 1)


def tokens() -> Iterator[Case]:
    x, models = torch.randn(2, *PHOTOS.shape), {}
    for how in ("masked", "dropped"):
        torch.manual_seed(0)
        models[how] = zoo.create_model(
            "sop", domain=PHOTOS, backbone=VIT, grouping={"groups": 20}, masking={"tokens": how}
        ).eval()
    with torch.no_grad():
        masks = models["dropped"].evidence(x).support.flatten(2).bool()
    size = int(masks[0, 0].sum())
    ours = partial(passes, partial(models["dropped"].backbone.groups, x, masks, size))
    full = partial(passes, partial(models["masked"].backbone.groups, x, masks, size), plain)
    loop = partial(one_by_one, models["dropped"], x, masks)
    name = f"dropped tokens of {len(x)} images, 20 groups, ViT-S/16"
    yield Case(name, {"zoo": ours, "full passes": full}, goal=Goal(at_least=3), apart=None)
    yield Case(name, {"zoo": ours, "dropped as a loop": loop})


def chunks() -> Iterator[Case]:
    model = zoo.create_model(
        "sop", domain=DIGITS, backbone=SMALL, elements={"patch": 4}, grouping={"groups": 16}
    ).eval()
    x = torch.randn(64, *DIGITS.shape)
    call = partial(model, x)
    yield Case(
        "chunks, 64 images of 28 pixels, 16 groups",
        {"zoo": partial(passes, call), "one batch": partial(passes, call, plain)},
    )


def digits() -> Tensor:
    """64 inputs of sop-mnist: its two golden ones, each shifted by up to three pixels in 32 ways."""
    golden = golden_inputs(zoo.load("sop-mnist"), read_tensors(find("sop-mnist") / GOLDEN)["inputs"])
    moves = [(down, right) for down in range(-3, 4) for right in range(-3, 4)][:32]
    return torch.cat([golden.roll(move, (2, 3)) for move in moves])


def trained() -> Iterator[Case | Reading]:
    """The shipped model, and its weights in a model that selects groups before running them."""
    shipped, x = zoo.load("sop-mnist"), digits()
    first = zoo.create_model(
        "sop",
        domain=shipped.domain,
        backbone=SMALL,
        elements={"patch": 4},
        grouping={"groups": 16},
        selector={"reads": "input"},
    ).eval()
    first.load_state_dict(shipped.state_dict())
    with torch.no_grad():
        first.selector.classes.mul_(SHARPER)
    names = {"sop-mnist": shipped, "its weights, selector reads the input": first}
    for name, model in names.items():
        yield Reading(f"fraction of the groups' passes that are run, {name}", 100 * share_run(model, x), "%")
        call = partial(model, x)
        ways = {"zoo": partial(passes, call), "all passes": partial(passes, call, every)}
        yield Case(f"passes of {len(x)} digits, {name}", ways)


def share_run(model: SumOfParts, x: Tensor) -> float:
    """Share of the passes of M groups of each input that are run."""
    rows: list[int] = []
    handle = model.backbone.encoder.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    passes(partial(model, x))
    handle.remove()
    return sum(rows) / (len(x) * model.grouping.groups)


def peak_of(groups: int) -> float | None:
    """Peak memory in MiB of the passes of `groups` groups under the budget, ResNet-18 at 224 pixels."""
    torch.manual_seed(0)
    options = {
        "backbone": {"name": "resnet18"},
        "elements": {"patch": 16},
        "grouping": {"groups": groups},
        "masking": {"memory": BUDGET},
    }
    model = zoo.create_model("sop", domain=PHOTOS, **options).eval()
    x, masks = torch.randn(1, *PHOTOS.shape), torch.rand(1, groups, model.elements.count) < 0.2
    passes(partial(model.backbone.groups, x, masks[:, :2], 1))  # one-time allocations of libraries
    return peak_memory(partial(passes, partial(model.backbone.groups, x, masks, 1)), torch.device("cpu"))


def memory() -> Iterator[Reading]:
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # a fresh process for each
        peaks = {groups: pool.apply(peak_of, (groups,)) for groups in (10, 40, 160)}
        pool.close()
        pool.join()
    known = {groups: peak for groups, peak in peaks.items() if peak is not None}
    for groups, peak in known.items():
        yield Reading(f"peak memory of {groups} groups under a budget of {BUDGET} MiB", peak, "MiB")
    if known:
        yield Reading(
            "peak memory, 160 relative to 40 groups", known[160] / max(known[40], 1.0), "x", Goal(at_most=1.25)
        )


def cases(device: torch.device) -> Iterator[Case | Reading]:
    yield from tokens()
    yield from chunks()
    yield from trained()
    yield from memory()
