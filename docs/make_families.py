"""Draws families.png, one explanation of each of four families by shipped checkpoints: `python docs/make_families.py`.

The inputs are a digit of MNIST that comes with its checkpoint, generated birds, and a line of code. Letters are large,
so that the picture can be read at the width of a phone. Takes about two minutes, most of them to find the circuit.
"""

from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

import zoo
from zoo.checkpoints.pretrained import find
from zoo.circuits import Pruning, TokenPairTask, prune
from zoo.data import PartBirds
from zoo.data.synthetic.code_tasks import encode, find_task
from zoo.utils.functional import high_activation_box, upsample

OUTPUT = Path(__file__).with_name("families.png")
INK, SOFT, UP, DOWN, BOX = "#1b1f24", "#5c6673", "#1f6fb4", "#c2620a", "#ffd400"
BANDS = ("#1f6fb4", "#00795a", "#a0458a", "#8a5a00")  # headers, told apart by the colour-blind and in grey
WIDTH, HEIGHT = 780, 680  # of a panel, in pixels
LARGE, TEXT = 42, 33  # sizes of letters, in points of 100/72 pixels
BIRD = {"concepts": 4, "parts": 4}  # numbers of generated test birds
Picture = tuple[float, float, float]  # left, top and side, in pixels


def main() -> None:
    """Draws the picture."""
    figure = Figure(figsize=(16, 14), dpi=100, facecolor="#f3f5f7")
    for i, (name, draw) in enumerate(
        (("Prototypes", prototypes), ("Concepts", concepts), ("Parts", parts), ("Circuits", circuits))
    ):
        left, top = 13 + (i % 2) * 794, 13 + (i // 2) * 694
        axes = figure.add_axes((left / 1600, 1 - (top + HEIGHT) / 1400, WIDTH / 1600, HEIGHT / 1400))
        axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0), autoscale_on=False)
        axes.set_axis_off()
        frame = {"boxstyle": "round,pad=0,rounding_size=22", "linewidth": 0}
        axes.add_patch(FancyBboxPatch((0, 0), WIDTH, HEIGHT, facecolor="white", **frame))
        axes.add_patch(FancyBboxPatch((0, 0), WIDTH, 96, facecolor=BANDS[i], **frame))
        axes.add_patch(Rectangle((0, 50), WIDTH, 46, facecolor=BANDS[i]))
        write(axes, 32, 48, name, LARGE, "white", weight="bold")
        draw(axes)
    figure.savefig(OUTPUT, dpi=100, facecolor=figure.get_facecolor(), pil_kwargs={"optimize": True})
    print(f"{OUTPUT}: {OUTPUT.stat().st_size / 1e3:.0f} KB")


def prototypes(axes: Axes) -> None:
    """The prototype of largest contribution: where it is in the input, and the training patch that it is."""
    model = zoo.load("protopnet-mnist")
    x = load_file(find("protopnet-mnist") / "golden.safetensors")["inputs"][:1]
    why = model.explain(model.domain.normalise(x) if x.dtype == torch.uint8 else x)
    term = why.top(1)[0][0]
    size, region = model.domain.size, term.unit.source["region"]
    box = high_activation_box(upsample(why.support[0, term.index][None], size))[0].tolist()
    for left, picture, inside, view, caption in (
        (40, model.domain.picture(why.inputs)[0], box, (0, 0, *size), "this"),
        (430, term.unit.picture, term.unit.source["box"], region, "looks like that"),
    ):
        show(axes, picture, (left, 130, 310))
        scale = 310 / (view[3] - view[1])
        corner = (left + scale * (inside[1] - view[1]), 130 + scale * (inside[0] - view[0]))
        sides = (scale * (inside[3] - inside[1]), scale * (inside[2] - inside[0]))
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=BOX, lw=6, zorder=3))
        write(axes, left + 155, 480, caption, TEXT, ha="center")
    write(axes, 390, 280, "≈", 56, ha="center")
    total(axes, why.target_names[0].partition(" - ")[2], f"{signed(term.contribution)} of {float(why.score):.1f}")


def concepts(axes: Axes) -> None:
    """The concepts of largest contribution."""
    model = zoo.load("cbm-part-birds")
    x = bird(BIRD["concepts"])
    why = model.explain(x)
    show(axes, model.domain.picture(x)[0], (36, 150, 340))
    terms = why.top(4)[0]
    largest = max(abs(term.contribution) for term in terms)
    for place, term in enumerate(terms):
        y = 150 + 88 * place
        write(axes, 410, y + 20, term.unit.name, TEXT)
        write(axes, 750, y + 20, signed(term.contribution), TEXT, sign(term.contribution), weight="bold", ha="right")
        width = 340 * abs(term.contribution) / largest
        axes.add_patch(Rectangle((410, y + 48), width, 22, facecolor=sign(term.contribution)))
    total(axes, why.target_names[0], f"score {float(why.score):.1f}")


def parts(axes: Axes) -> None:
    """Three patches of an input, each scored alone."""
    model = zoo.load("bagnet-part-birds")
    x = bird(BIRD["parts"])
    why = model.explain(x)
    picture, values = model.domain.picture(x)[0], why.contributions[0]
    masks = F.interpolate(why.support.float(), size=picture.shape[1:], mode="nearest")[0] > 0
    best = values.argsort(descending=True).tolist()
    chosen: list[int] = []
    for ranked in (best, best, best[::-1]):  # the two of largest contribution, and the lowest, without overlap
        chosen.append(next(k for k in ranked if not any(bool((masks[k] & masks[c]).any()) for c in chosen)))
    for place, k in enumerate(chosen):
        left = 27 + 250 * place
        faded = torch.where(masks[k], picture.float(), 0.16 * picture.float() + 0.84 * 225)
        show(axes, faded.to(torch.uint8), (left, 150, 228))
        rows, columns = masks[k].any(1).nonzero()[:, 0], masks[k].any(0).nonzero()[:, 0]
        scale = 228 / picture.shape[-1]
        corner = (left + scale * float(columns[0]), 150 + scale * float(rows[0]))
        sides = (scale * len(columns), scale * len(rows))
        axes.add_patch(Rectangle(corner, *sides, fill=False, edgecolor=sign(float(values[k])), lw=6, zorder=3))
        write(
            axes, left + 114, 430, signed(float(values[k])), LARGE, sign(float(values[k])), weight="bold", ha="center"
        )
    write(axes, WIDTH / 2, 512, "each part is scored alone", TEXT, SOFT, ha="center")
    total(axes, why.target_names[0], f"score {float(why.score):.1f}")


def circuits(axes: Axes) -> None:
    """The circuit that closes a quote, from the tokens that are read to the token that is predicted."""
    model, task = zoo.load("sparse-idioms"), find_task("single_double_quote")
    found = (encode(task, model.domain, 16, split, 0) for split in ("train", "held_out"))
    train, held_out = (TokenPairTask.of_pairs(pairs.prompts, pairs.answers) for pairs in found)
    circuit = prune(model, task.name, train, held_out, Pruning(steps=100, penalties=(3e-3,)), quiet=True)
    plain = circuit.to_dict()
    write(axes, 36, 150, "print('hello", TEXT, family="monospace")
    write(axes, 420, 150, "→", TEXT, ha="center")
    write(axes, 480, 150, "')", TEXT, UP, family="monospace", weight="bold")
    graph(axes, plain["nodes"], plain["edges"])
    report = plain["report"]
    write(axes, WIDTH / 2, 626, f"{report['nodes']} of {report['all_nodes']:,} nodes", TEXT, SOFT, ha="center")


def graph(axes: Axes, nodes: list[dict[str, Any]], edges: list[dict[str, Any]]) -> None:
    """Nodes in columns in the order of the computation, and weights as lines."""
    sites = ("attn_in", "attn_q", "attn_k", "attn_v", "attn_out", "mlp_in", "mlp_neuron", "mlp_out")
    order = {site: place for place, site in enumerate(sites)} | {"attn_k": 1, "attn_v": 1}
    columns: dict[tuple[int, int], list[int]] = {}
    for i, node in enumerate(nodes):
        columns.setdefault((node["layer"], order[node["site"]]), []).append(i)
    place = {}
    for x, (_, members) in enumerate(sorted(columns.items())):
        for y, i in enumerate(members):
            place[i] = (50 + (WIDTH - 100) * x / (len(columns) - 1), 395 + 48 * (y - (len(members) - 1) / 2))
    pairs = [(edge["from"], edge["to"], sign(edge["weight"]), 2 + 7 * abs(edge["weight"])) for edge in edges]
    for i, a in enumerate(nodes):  # what is written to a channel is read from it later
        for j, b in enumerate(nodes):
            later = (b["layer"], order[b["site"]]) > (a["layer"], order[a["site"]])
            if a["site"].endswith("_out") and b["site"].endswith("_in") and a["index"] == b["index"] and later:
                pairs.append((i, j, "#aab2bc", 4))
    for i, j, colour, width in pairs:
        (a, b), (c, d) = place[i], place[j]
        bend = [(a, b), ((a + c) / 2, b), ((a + c) / 2, d), (c, d)]
        curve = Curve(bend, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        axes.add_patch(PathPatch(curve, fill=False, edgecolor=colour, lw=width, alpha=0.85))
    for i, node in enumerate(nodes):
        axes.add_patch(
            Circle(place[i], 13 + 6 * min(max(node["effect"], 0), 1), facecolor="white", edgecolor=INK, lw=3)
        )


def bird(number: int) -> Tensor:
    """A generated test bird (1, 3, 64, 64)."""
    return PartBirds(count=10, val_count=10, test_count=number + 1).test_dataset()[number]["input"][None]


def show(axes: Axes, picture: Tensor, place: Picture) -> None:
    """A picture (C, H, W) uint8 as a square."""
    left, top, side = place
    pixels = picture.permute(1, 2, 0).expand(-1, -1, 3).numpy()
    axes.imshow(pixels, extent=(left, left + side, top + side, top), interpolation="nearest", aspect="auto", zorder=2)
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))


def write(axes: Axes, x: float, y: float, text: str, size: float, colour: str = INK, **options: Any) -> None:
    """Text with its middle at a height."""
    axes.text(x, y, text, fontsize=size, color=colour, va="center_baseline", **options)


def total(axes: Axes, name: str, text: str) -> None:
    """The line at the bottom: the class, and its score."""
    write(axes, 36, 612, f"→ {name}", LARGE, weight="bold")
    write(axes, WIDTH - 30, 612, text, LARGE, UP, weight="bold", ha="right")


def signed(value: float) -> str:
    """One decimal, with a typographic minus sign."""
    return f"{value:+.1f}".replace("-", "\u2212")


def sign(value: float) -> str:
    """Blue for, orange against."""
    return UP if value >= 0 else DOWN


if __name__ == "__main__":
    main()
