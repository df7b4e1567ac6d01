"""Draws families.png, one explanation of each of four families by shipped checkpoints: `python docs/make_families.py`.

The inputs are those that the checkpoints hold themselves (digits of MNIST, drawn birds) and a line of code. Letters are
large, so that the picture can be read at the width of a phone.
"""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from safetensors.torch import load_file
from torch import Tensor

import zoo
from zoo.checkpoints.pretrained import find
from zoo.core.explanation import Explanation

FOR, AGAINST, BOX = "#2a6fb0", "#d9822b", "#e4572e"
OUTPUT = Path(__file__).with_name("families.png")


def explained(name: str, row: int = 0) -> tuple[Explanation, Tensor]:
    """A shipped model's explanation of one of its golden inputs, and the picture (C, H, W) uint8."""
    model = zoo.load(name)
    x = load_file(find(name) / "golden.safetensors")["inputs"][row : row + 1]
    x = model.domain.normalise(x) if x.dtype == torch.uint8 else x  # pyright: ignore[reportAttributeAccessIssue]
    return model.explain(x), model.domain.picture(x[0])  # pyright: ignore[reportAttributeAccessIssue]


def show(axes: Axes, picture: Tensor, mask: Tensor | None = None) -> None:
    """A picture, with everything outside of a mask (H, W) faded."""
    image = picture.float().permute(1, 2, 0)
    if mask is not None:
        image = image * mask[:, :, None] + (0.8 * 255 + 0.2 * image) * (1 - mask[:, :, None])
    shown = image.clamp(0, 255).byte().numpy()
    axes.imshow(shown.squeeze(-1) if shown.shape[2] == 1 else shown, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])


def outline(axes: Axes, support: Tensor, size: tuple[int, int]) -> None:
    """A box around the cell where a unit fires most."""
    place = int(support.flatten().argmax())
    height, width = size[0] / support.shape[0], size[1] / support.shape[1]
    up, left = place // support.shape[1] * height, place % support.shape[1] * width
    axes.plot(
        [left, left + width, left + width, left, left], [up, up, up + height, up + height, up], color=BOX, linewidth=4
    )


def bars(axes: Axes, names: list[str], values: list[float]) -> None:
    """Signed bars from the largest to the smallest."""
    places = list(range(len(values)))[::-1]
    axes.barh(places, values, color=[FOR if value > 0 else AGAINST for value in values], height=0.42)
    for place, name, value in zip(places, names, values, strict=True):
        axes.text(0, place + 0.26, f"{name}  {value:+.1f}", fontsize=24, va="bottom")
    low, high = min(0.0, *values), max(0.0, *values)
    axes.set_xlim(low - 0.03 * (high - low), high + 0.25 * (high - low))
    axes.set_ylim(-0.5, len(values) - 0.1)
    axes.set_axis_off()


def panel(figure: Figure, title: str, why: Explanation, picture: Tensor | None, text: str, masks: bool = False) -> None:
    """One family: the input, the answer, and its strongest units."""
    figure.suptitle(title, fontsize=34, fontweight="bold", x=0.02, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.5))
    order = why.contributions[0].argsort(descending=True)[:3].tolist()  # pyright: ignore[reportOptionalSubscript]
    values = [float(why.contributions[0, k]) for k in order]  # pyright: ignore[reportOptionalSubscript]
    if picture is None:
        left.text(0.5, 0.5, text, fontsize=30, family="monospace", ha="center", va="center")
        left.set_axis_off()
    else:
        mask = None
        if masks and why.support is not None:
            grid = why.support[0, order[0]][None, None].float()
            mask = torch.nn.functional.interpolate(grid, size=picture.shape[1:], mode="nearest")[0, 0]
        show(left, picture, mask)
        if why.support is not None and not masks:
            outline(left, why.support[0, order[0]], (picture.shape[1], picture.shape[2]))
    left.set_title(f"→ {why.target_names[0].strip()}", fontsize=28)
    bars(right, [why.units[k].name.replace("layer ", "L").replace("channel", "ch.") for k in order], values)


def main() -> None:
    """Draws the picture."""
    figure = Figure(figsize=(15, 12), layout="constrained", facecolor="white")
    (a, b), (c, d) = figure.subfigures(2, 2, wspace=0.04, hspace=0.04)
    for part, name, title, masks in (
        (a, "protopnet-mnist", "Prototypes: looks like", False),
        (b, "cbm-part-birds", "Concepts: what is there", False),
        (c, "sop-part-birds", "Parts: seen alone", True),
    ):
        why, picture = explained(name)
        panel(part, title, why, picture, "", masks)
    code = zoo.load("sparse-idioms")
    prompt = 'print("hello'
    why = code.explain(code.domain.preprocess(prompt)[None])  # pyright: ignore[reportAttributeAccessIssue]
    panel(d, "Circuits: few neurons", why, None, prompt)
    figure.savefig(OUTPUT, dpi=105)
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1e3:.0f} KB")


if __name__ == "__main__":
    main()
