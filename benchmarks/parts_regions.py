"""Agreement of groups with known regions: `python -m benchmarks.parts_regions --checkpoint runs/sop_canvas/checkpoint`.

Evaluates a trained Sum-of-Parts on test inputs whose evidence has a known place (digits on a canvas, words of human
rationales). Reports the agreement of its groups with these regions, and that of random groups of the same sizes. For
images also that of attribution: one group of as many elements as all groups have together, those that integrated
gradients (captum) rank highest for the model's own backbone. The groups' attribution, their contributions spread over
their elements, is compared by absolute value, element by element, with a random order.
"""

import argparse
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Subset

import zoo
from benchmarks.parts_accuracy import Whole, integrated_gradients
from zoo.cli.settings import create_data
from zoo.domain import ImageDomain
from zoo.metrics import AttributionAgreement, RegionAgreement
from zoo.parts import SumOfParts
from zoo.parts.layers.group_generator import highest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="in the folder of its run, whose config names the data"
    )
    parser.add_argument("--inputs", type=int, default=1000)
    options = parser.parse_args()
    model = zoo.load(options.checkpoint)
    assert isinstance(model, SumOfParts)
    data = create_data(options.checkpoint.parent / "config.yaml")
    test = data.test_dataset()
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))[: options.inputs].tolist()
    loader = DataLoader(Subset(test, order), 32)
    images = isinstance(model.domain, ImageDomain)
    groups, single, spread = RegionAgreement(), RegionAgreement(), AttributionAgreement()
    for batch in loader:
        x, regions = batch["input"], model.elements.reduce(batch["regions"].float())
        explanation, present = model.explain(x), model.elements.present(x)
        masks = explanation.support.flatten(2)  # pyright: ignore[reportOptionalMemberAccess]
        groups.update(masks, explanation.contributions, regions, present)  # pyright: ignore[reportArgumentType]
        spread.update(explanation.attribution().flatten(1).abs(), regions, present)
        if images:
            rank = integrated_gradients(Whole(model).eval(), x, explanation.target, model.elements)
            held = (masks * (explanation.contributions != 0)[..., None]).amax(1).sum(1).long()  # pyright: ignore
            top = highest(rank[:, None], held)  # as many elements as all groups have together
            single.update(top, torch.ones(len(x), 1), regions)
    rows = groups.compute()
    other = single.compute() if images else {}
    print("| | groups | random groups |" + (" integrated gradients |" if images else ""))
    print("|---|---|---|" + ("---|" if images else ""))
    for name in groups.names:
        more = f" {other[name]:.3f} |" if images else ""
        print(f"| {name} | {rows[name]:.3f} | {rows[f'chance {name}']:.3f} |{more}")
    ranks = spread.compute()
    print("\n| | attribution | random order |\n|---|---|---|")
    for name in spread.names:
        print(f"| {name} | {ranks[name]:.3f} | {ranks[f'chance {name}']:.3f} |")


if __name__ == "__main__":
    main()
