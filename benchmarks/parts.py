"""Sum-of-Parts against its plain formulation: `python -m benchmarks.parts` (memory: on Linux only).

Plain: one full pass of the backbone for each of M groups, all masked inputs of a batch at once, as the published code
does within its chunks. Each ratio stands beside the largest difference of the two outputs.

    tokens     ViT-S/16 at 224 pixels, 20 groups of a fifth of the patches: full passes with zeros in place of hidden
               patches; and passes over the kept tokens alone, which are another function, so they are compared with the
               same function written as a loop
    chunks     a small CNN, where chunks that fit the cache are faster than one large batch
    trained    with --checkpoint of a trained Sum-of-Parts with images: passes that twins and groups without weight save
    memory     peak beyond the start of masked passes under a budget, for few groups and for many
"""

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

import zoo
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


def seconds(call: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """The median time of a call, and what it gave."""
    result, times = call(), []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result


def tokens(repeats: int) -> None:
    x = torch.randn(2, 3, 224, 224)
    models = {}
    for how in ("masked", "dropped"):
        torch.manual_seed(0)
        models[how] = zoo.create_model("sop", domain=PHOTOS, backbone=VIT, groups=20, tokens=how).eval()
    masks = models["masked"].evidence(x).support.flatten(2).bool()
    size = int(masks[0, 0].sum())
    full, _ = seconds(lambda: plainly(lambda: models["masked"].backbone.groups(x, masks, size)), repeats)
    loop, expected = seconds(lambda: one_by_one(models["dropped"], x, masks), repeats)
    ours, found = seconds(lambda: models["dropped"].backbone.groups(x, masks, size), repeats)
    apart = float((found - expected).abs().max())
    print(f"tokens   full passes {full:.2f} s, dropped {ours:.2f} s: {full / ours:.1f}x")
    print(f"         dropped as a loop {loop:.2f} s: {loop / ours:.1f}x, outputs differ by {apart:.1e}")


def chunks(repeats: int) -> None:
    model = zoo.create_model("sop", domain=DIGITS, backbone=SMALL, elements={"patch": 4}, groups=16).eval()
    x = torch.randn(64, 1, 28, 28)
    slow, expected = seconds(lambda: plainly(lambda: model(x)), repeats)
    fast, found = seconds(lambda: model(x), repeats)
    apart = float((found - expected).abs().max())
    print(f"chunks   one batch {slow:.2f} s, chunks {fast:.2f} s: {slow / fast:.1f}x, outputs differ by {apart:.1e}")


def trained(checkpoint: Path, inputs: Tensor, repeats: int) -> None:
    model = zoo.load(checkpoint)
    assert isinstance(model, SumOfParts)
    rows: list[int] = []
    handle = model.backbone.encoder.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    model(inputs)
    handle.remove()
    asked = len(inputs) * model.grouping.groups
    same_chunks = patch.object(masked, "run_groups", lambda run, masks, wanted, r: _all(run, masks, r))
    with same_chunks:
        slow, expected = seconds(lambda: model(inputs), repeats)
    fast, found = seconds(lambda: model(inputs), repeats)
    apart = float((found - expected).abs().max())
    print(f"trained  {sum(rows)} of {asked} passes run ({asked / sum(rows):.1f}x fewer)")
    print(f"         all {slow:.2f} s, needed {fast:.2f} s: {slow / fast:.1f}x, outputs differ by {apart:.1e}")


def _all(run: Callable[[Tensor, Tensor], Tensor], masks: Tensor, rows: int) -> Tensor:
    """Every pass, in the same chunks: masks as numbers are never taken for twins."""
    return run_groups(lambda index, mask: run(index, mask > 0), masks.float(), None, rows)


def memory(budget: int) -> None:
    for groups in (10, 40, 160):
        torch.manual_seed(0)
        model = zoo.create_model(
            "sop", domain=PHOTOS, backbone={"name": "resnet18"}, elements={"patch": 16}, groups=groups, memory=budget
        ).eval()
        x = torch.randn(1, 3, 224, 224)
        masks = torch.rand(1, groups, model.elements.count) < 0.2
        with torch.no_grad():
            model.backbone.groups(x, masks[:, :2], 1)
            ctypes.CDLL(None).malloc_trim(0)  # what was freed is no room for what comes
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
            before = _resident("VmRSS")
            model.backbone.groups(x, masks, 1)
        peak = (_resident("VmHWM") - before) / 2**10
        print(f"memory   {groups:3d} groups under a budget of {budget} MiB: peak {peak:.0f} MiB")


def _resident(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="of a trained Sum-of-Parts with images")
    parser.add_argument("--images", type=Path, help="folder of images for it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=int, default=128, help="MiB")
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    with torch.no_grad():
        tokens(options.repeats)
        chunks(options.repeats)
        memory(options.budget)
        if options.checkpoint:
            domain = zoo.load(options.checkpoint).domain
            files = sorted(p for p in options.images.rglob("*") if p.suffix.lower() in (".png", ".jpg"))[:64]
            trained(options.checkpoint, torch.stack([domain.read(f) for f in files]), options.repeats)


if __name__ == "__main__":
    main()
