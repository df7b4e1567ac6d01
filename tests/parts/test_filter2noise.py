"""Filter2Noise against loops over pixels, its edits, the picture of one row, the page's own filter, and refusals."""

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.small_models import IMAGES, build
from tests.views.browser import run_in_browser
from zoo.cli.main import main
from zoo.data import NoisyPicture
from zoo.data.synthetic.noise import add_noise
from zoo.domain import Domain, ImageDomain
from zoo.parts.filter2noise import Filter2Noise, sides_of
from zoo.parts.layers.noise_model import coloured, covariances, noise_covariances
from zoo.parts.layers.zero_shot_losses import diagonal_means, edges, hidden_loss, published_losses, risk, shuffled
from zoo.views.html import page

RADIUS, MATCH, PATCH = 1, (3, 1), 3


def domain_of(height: int, width: int, channels: int = 3) -> ImageDomain:
    mean, std = (0.0,) * channels, (1.0,) * channels
    names: dict[str, Any] = {"classes": (), "task": "regression", "restored": True}
    return ImageDomain(size=(height, width), channels=channels, mean=mean, std=std, **names)


def small() -> tuple[Filter2Noise, Tensor]:
    """A model with widths that differ between patches, and a picture (1, 3, 5, 4)."""
    torch.manual_seed(0)
    model = model_of_start()
    for predictor in model.predictors:
        torch.nn.init.normal_(predictor.get_parameter("out.weight"), std=0.3)
    return model, torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(1))


def model_of_start() -> Filter2Noise:
    """A model of the same arguments as that of `small`, with the widths that a training begins with."""
    return Filter2Noise(domain_of(5, 4), radius=RADIUS, match=MATCH, patch=PATCH, width=4, start=(1.0, 0.8, 0.3)).eval()


def filtered(pixels: list, widths: list, match: int) -> list:
    """One filter by loops over pixels [c][y][x]; widths [kind][patch row][patch column]."""
    channels, height, width = len(pixels), len(pixels[0]), len(pixels[0][0])
    around = range(-(match // 2), match // 2 + 1)

    def padded(y: int, x: int, dy: int, dx: int) -> tuple[int, int]:
        """A pixel of the surroundings, moved: the picture goes on with its border, and so does the padded picture."""
        y, x = min(max(y + dy, -1), height), min(max(x + dx, -1), width)
        return min(max(y, 0), height - 1), min(max(x, 0), width - 1)

    out = [[[0.0] * width for _ in range(height)] for _ in range(channels)]
    for y in range(height):
        for x in range(width):
            down, right, reach = (widths[kind][y // PATCH][x // PATCH] for kind in range(3))
            total, sums = 0.0, [0.0] * channels
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if not (0 <= y + dy < height and 0 <= x + dx < width):
                        continue
                    apart = 0.0
                    for i in around:
                        for j in around:
                            (a, b), (c, d) = padded(y + i, x + j, 0, 0), padded(y + i, x + j, dy, dx)
                            apart += sum((pixels[k][a][b] - pixels[k][c][d]) ** 2 for k in range(channels))
                    apart /= match * match * channels
                    taper = (1 - (dy / (RADIUS + 1)) ** 2) * (1 - (dx / (RADIUS + 1)) ** 2)
                    power = dy**2 / (2 * down**2) + dx**2 / (2 * right**2) + apart / (2 * reach**2)
                    weight = taper * math.exp(-power)
                    total += weight
                    for k in range(channels):
                        sums[k] += weight * pixels[k][y + dy][x + dx]
            for k in range(channels):
                out[k][y][x] = sums[k] / total
    return out


def widths_of(model: Filter2Noise, activation: Tensor) -> list:
    return activation[model.neighbours :].view(2, 3, *model.grid).tolist()


@torch.no_grad()
def test_pixels_of_all_channels_are_those_of_the_loops() -> None:
    """Regression of the published code: kernels of a colour picture were mixed between its channels."""
    model, x = small()
    told = model.explain(x)
    first, second = widths_of(model, told.activation[0])
    expected = torch.tensor(filtered(filtered(x[0].tolist(), first, MATCH[0]), second, MATCH[1]))
    torch.testing.assert_close(told.scores.view(3, 5, 4), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.restore(x)[0], expected, rtol=1e-5, atol=1e-6)
    model.train()
    torch.testing.assert_close(model(x), told.scores)  # in training the stages are not combined
    model.eval()
    shades = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(1, 3, 5, 4)
    torch.testing.assert_close(model.restore(shades), shades)  # a picture of one colour stays


@torch.no_grad()
def test_the_contributions_are_what_each_noisy_neighbour_pulls() -> None:
    """With the weights held, the restored pixel is linear in the noisy ones."""
    model, x = small()
    weights = model.step(x)[1].state["weights"][0]
    torch.testing.assert_close(weights.sum(0), torch.ones(5, 4))
    target = 2 * 20 + 1 * 4 + 2  # blue, second row, third column
    told = model.explain(x, target).check()
    assert told.target_names == ["row 2, column 3, blue"] and told.contributions is not None
    for k, unit in enumerate(told.units[: model.neighbours]):
        dy, dx = unit.source["offset"]
        inside = 0 <= 1 + dy < 5 and 0 <= 2 + dx < 4
        pull = float(x[0, 2, 1 + dy, 2 + dx] - x[0, 2, 1, 2]) * float(weights[k, 1, 2]) if inside else 0.0
        expected = float(x[0, 2, 1, 2]) if unit.name == "the pixel itself" else pull
        assert math.isclose(float(told.contributions[0, k]), expected, abs_tol=1e-6), unit.name
    assert not told.contributions[:, model.neighbours :].any()
    assert model.explain(x).target_names == ["row 3, column 3, red"]  # of the picture's middle


@torch.no_grad()
def test_editing_a_width_filters_again_and_only_near() -> None:
    model, x = small()
    evidence = model.step(x)[1]
    name = "stage 2 range width, rows 1 to 3, columns 1 to 3"
    k = model.unit_index(name)
    edited = model.edit(evidence, {name: 0.02})
    first, second = widths_of(model, evidence.activation[0])
    second[2][0][0] = 0.02
    expected = torch.tensor(filtered(filtered(x[0].tolist(), first, MATCH[0]), second, MATCH[1]))
    restored, before = model.readout(edited).view(3, 5, 4), model.readout(evidence).view(3, 5, 4)
    torch.testing.assert_close(restored, expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(restored[:, 3:], before[:, 3:]) and not torch.allclose(restored[:, :3, :3], before[:, :3, :3])
    same = model.edit(evidence, {k: float(evidence.activation[0, k])})
    torch.testing.assert_close(model.readout(same), model.readout(evidence))
    assert torch.equal(model.readout(model.ablate(evidence, [name])), model.readout(evidence))


@torch.no_grad()
def test_each_filter_compares_surroundings_of_its_own_size() -> None:
    assert sides_of(3, 2) == (3, 3) and sides_of([5, 3, 1], 2) == (5, 3)  # one for all, as in earlier checkpoints
    assert sides_of((3, 1), 1) == (3,) and sides_of((3, 1), 3) == (3, 1, 1)
    model, x = small()
    same = Filter2Noise(model.domain, radius=RADIUS, match=3, patch=PATCH, width=4)
    same.load_state_dict(model.state_dict())
    same.eval()
    first, second = widths_of(model, same.step(x)[1].activation[0])
    expected = torch.tensor(filtered(filtered(x[0].tolist(), first, 3), second, 3))
    torch.testing.assert_close(same.restore(x)[0], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(model.restore(x)[0], expected, atol=1e-3)


@torch.no_grad()
def test_weights_are_continuous_in_the_widths() -> None:
    """Regression of the published code: the size of the window jumped with the largest width."""
    model, x = small()
    narrow = model.filters[0]
    for width in (0.5, 1.0, 1.5, 2.0):  # where ceil() jumps
        wide = torch.full((1, 3, *model.grid), width)
        torch.testing.assert_close(narrow.weights(x, wide + 1e-4), narrow.weights(x, wide - 1e-4), rtol=1e-2, atol=1e-3)


def test_losses() -> None:
    y = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def denoise(picture: Tensor) -> Tensor:
        seen.append(picture)
        return picture

    loss = hidden_loss(denoise, y, 1, 3)
    hidden = (seen[0] != y)[0, 0]
    assert int(hidden.sum()) == 4  # in blocks of 3 x 3
    torch.testing.assert_close(loss, (seen[0] - y)[0, 0][hidden].square().mean())
    found = published_losses(lambda picture: 0.5 * picture, y, ("pairs", "resolutions", "diagonals", "edges"))
    first, second = diagonal_means(y)
    a, b = shuffled(first), shuffled(second)
    expected = {
        "pairs": (a - b).abs().mean() / 2,
        "resolutions": ((a - first).abs().mean() + (b - second).abs().mean()) / 2,
        "diagonals": (first - second).abs().mean() / 2,
        "edges": edges(y).abs().mean() / 2,
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    block = torch.tensor([[[[0.0, 1.0], [0.2, 5.0]]]])  # 0 and 0.2 are the most similar
    assert torch.equal(shuffled(block), torch.tensor([[[[0.2, 1.0], [0.0, 5.0]]]]))


def test_risk_is_the_error_without_the_clean_picture() -> None:
    """For a linear denoiser, its expectation is known: the error less the mean variance of the noise."""
    side, level = 64, 0.1
    clean = torch.linspace(0.2, 0.8, side).expand(1, 1, side, side)
    generator = torch.Generator().manual_seed(0)
    found, errors, naive = [], [], []
    for _ in range(8):
        noise, drawn = (add_noise(torch.zeros(1, side, side), "correlated", level, generator)[None] for _ in "ab")
        noisy = clean + noise
        restored = blurred(noisy)
        found.append(float(risk(blurred, noisy, restored, drawn) - noise.square().mean()))
        errors.append(float((restored - clean).square().mean()))
        naive.append(float((restored - noisy).square().mean() - noise.square().mean()))  # as if no noise were left
    mean, error, without = (sum(values) / 8 for values in (found, errors, naive))
    assert math.isclose(mean, error, rel_tol=0.1) and abs(without - error) > 5 * abs(mean - error)


def blurred(picture: Tensor, side: int = 5) -> Tensor:
    return torch.nn.functional.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False)


def test_covariances_of_noise() -> None:
    """Against the products of shifted pixels; and an estimate that is nearer to the truth than what was removed."""
    values = torch.rand(2, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    centred = values - values.mean((-2, -1), keepdim=True)
    found = covariances(values)
    for dy, dx in ((0, 0), (0, 1), (2, 2), (1, -2), (-2, 1), (3, 0), (0, 3)):
        shifted = centred.roll((-dy, -dx), (2, 3))
        expected = float((centred * shifted).mean()) if max(abs(dy), abs(dx)) <= 2 else 0.0
        assert math.isclose(float(found[dy, dx]), expected, abs_tol=1e-6), (dy, dx)
    level, sizes = 0.1, (1, 1, 64, 64)
    grey = torch.full(sizes[1:], 0.5)
    noise = (add_noise(grey, "correlated", level, torch.Generator().manual_seed(1)) - grey)[None]
    true = covariances(noise)
    drawn = coloured(torch.randn(sizes, generator=torch.Generator().manual_seed(2)), true)
    torch.testing.assert_close(covariances(drawn)[:2, :2], true[:2, :2], rtol=0.2, atol=1e-3)
    denoise = partial(blurred, side=7)
    removed, estimated = covariances(noise - denoise(noise)), noise_covariances(denoise, grey + noise)
    assert float((estimated - true).abs().sum()) < 0.5 * float((removed - true).abs().sum())


@torch.no_grad()
def test_the_covariances_are_those_of_the_picture_at_hand() -> None:
    model, x = small()
    torch.testing.assert_close(model.restore_at_start(x), model_of_start().restore(x))
    found = model.covariances(x)
    assert torch.equal(found, noise_covariances(model.restore_at_start, x)) and model.covariances(x) is found
    assert not torch.equal(model.covariances(x.flip(3)), found)
    model.coefficients["risk"] = 1.0
    batch: Any = {"input": x, "target": x.flatten(1)}
    losses = [float(model.losses(*model.step(x), batch)["risk"]) for _ in range(2)]
    assert losses[0] == losses[1]  # in validation the same noise


def test_noise_has_its_deviation() -> None:
    grey = torch.full((1, 200, 200), 0.5)
    for kind, deviation in (("gaussian", 0.1), ("poisson", 0.1 * math.sqrt(0.5)), ("correlated", 0.1)):
        noise = (add_noise(grey, kind, 0.1, torch.Generator().manual_seed(0)) - grey)[0]
        assert math.isclose(float(noise.std()), deviation, rel_tol=0.03), kind
        beside = float((noise[:, 1:] * noise[:, :-1]).mean()) / deviation**2
        assert math.isclose(beside, 4 / 6 if kind == "correlated" else 0.0, abs_tol=0.03), kind


def test_the_page_filters_as_the_model(tmp_path: Path) -> None:
    model, x = small()
    shown = page(model.explain(x), ["one"])
    index = 3 * 2 * 2 + 2 * 4  # the first patch's range width of stage 2
    script = f"""
    var section = document.querySelector('.restoration'), before = section.restoration.restored();
    window.found = [before, section.restoration.set({index}, 0.02), section.querySelector('.pixel').textContent];
    """
    answer = json.loads(run_in_browser(shown, script, tmp_path))
    assert answer["wrong"] == [] and answer["asked"] == []
    before, edited, told = answer["found"]
    with torch.no_grad():
        evidence = model.step(x)[1]
        changed = model.readout(model.edit(evidence, {model.neighbours + index: 0.02}))[0]
        torch.testing.assert_close(torch.tensor(before), model.readout(evidence)[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.tensor(edited), changed, rtol=1e-5, atol=1e-6)
    assert "row 3, column 3" in told and f"= {float(changed[2 * 4 + 2]):.4f}" in told


def test_fit_and_explain_a_picture_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a clean picture the metrics are undefined, and everything else works."""
    monkeypatch.chdir(tmp_path)
    noisy = add_noise(torch.full((1, 16, 20), 0.5), "gaussian", 0.1, torch.Generator().manual_seed(0))
    Image.fromarray(noisy[0].mul(255).clamp(0, 255).byte().numpy()).save("scan.png")
    stages = [{"name": "train", "epochs": 1, "train": ["predictors"]}]
    recipe = {"stages": stages, "coefficients": {"hidden": 1.0, "risk": 1.0}}
    config = {
        "model": {"class_path": "Filter2Noise", "init_args": {"radius": 2, "recipe": recipe}},
        "data": {"class_path": "NoisyPicture", "init_args": {"path": "scan.png", "steps": 3}},
    }
    Path("scan.yaml").write_text(json.dumps(config))
    assert main(["fit", "--config", "scan.yaml"]) == 0
    explain = ["explain", "--checkpoint", "runs/scan/checkpoint", "--output", "out", "--input"]
    assert main([*explain, "scan.png", "--target", "row 2, column 3"]) == 0
    assert "class='restoration'" in Path("out/scan.html").read_text()
    Image.new("L", (9, 9)).save("other.png")
    assert main([*explain, "other.png"]) != 0
    assert "the model restores pictures of 16 x 20 pixels; got 9 x 9" in capsys.readouterr().err


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot learn the task 'classification'"):
        Filter2Noise(IMAGES)
    restored = domain_of(8, 8)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"filters": 4}, r"filters must be in \[1, 3\]"),
        ({"match": 2}, "match must be odd"),
        ({"match": (3, 2)}, "match must be odd"),
        ({"match": ()}, "match must have at least one side"),
        ({"match": 33}, r"match must be in \[1, 31\]"),
        ({"block": 2, "every": 5}, "block must be odd"),
        ({"block": 5, "every": 5}, "every must be at least 6"),
        ({"start": (1.0, 1.0, 0.0)}, r"start \(range\) must be above 0"),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            Filter2Noise(restored, **options)
    with pytest.raises(ValueError, match="start has three widths"):
        Filter2Noise(restored, start=(1.0, 1.0))  # pyright: ignore
    with pytest.raises(ValueError, match="at most 4,096 patches"):
        Filter2Noise(domain_of(80, 80), patch=1)
    with pytest.raises(ValueError, match="task of pictures to restore"):
        ImageDomain(classes=(), size=(8, 8), restored=True)
    with pytest.raises(ValueError, match="too many weights"):
        Filter2Noise(domain_of(512, 512, 1), radius=8)
    with pytest.raises(ValueError, match="1 to 262,144 values; got 786,432"):
        domain_of(512, 512)
    assert Domain.from_dict(restored.to_dict()) == restored and restored.to_dict()["classes"] == []
    cases = [
        ({"path": "sample:chima"}, "no sample picture 'chima'; did you mean 'china'"),
        ({"path": "phantom", "noise": "gausian"}, "kind must be one of .*Did you mean 'gaussian'"),
        ({"path": "sample:china"}, "too many to restore at once"),
        ({"path": "sample:china", "size": (9999, 8)}, "size must be at most that of the picture"),
        ({"path": str(tmp_path / "none.png")}, "none.png"),
    ]
    for options, message in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            _ = NoisyPicture(**options).domain
    with pytest.raises(ValueError, match="not both"):
        NoisyPicture("a.png", noise="gaussian", clean="b.png")
    assert build("filter2noise").model.domain.classes[0] == "circle"
