"""Image-text encoders: the library's own preprocessing and vectors, and concept scores from the command line."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from tests.small_models import IMAGES, ROWS, AnnotatedRows
from zoo.cli.main import main
from zoo.concepts import LabelFreeCBM, OpenCLIP, PostHocCBM
from zoo.concepts.layers.image_text import read_phrases, score_concepts
from zoo.concepts.layers.score_file import read_scores
from zoo.data import Digits
from zoo.domain import ImageDomain
from zoo.training.projection_set import ProjectionSet

SHAPE = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PHRASES = ["a round thing", "red stripes", "a long tail"]


@pytest.fixture(scope="module")
def library() -> Any:
    return pytest.importorskip("open_clip", reason="needs the extra 'clip': pip install self-interpretable-zoo[clip]")


@pytest.fixture(scope="module")
def weights(library: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny CLIP, which open_clip knows from here on by the name 'zoo-tiny'."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "zoo-tiny.json").write_text(json.dumps(SHAPE))
    library.add_model_config(folder / "zoo-tiny.json")
    torch.manual_seed(0)
    save_file(library.create_model("zoo-tiny").state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def test_images_are_read_as_the_library_reads_pictures(library: Any, weights: Path, tmp_path: Path) -> None:
    """From a file through the library's own transform, and through a domain with other statistics."""
    torch.manual_seed(0)
    noise = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 9), (48, 72), mode="bicubic").clamp(0, 1)[0]
    Image.fromarray((255 * noise.permute(1, 2, 0)).byte().numpy()).save(tmp_path / "a.png")
    network, _, transform = library.create_model_and_transforms("zoo-tiny", pretrained=str(weights))
    with torch.no_grad():
        pixels = transform(Image.open(tmp_path / "a.png"))[None]
        vector = torch.nn.functional.normalize(network.eval().encode_image(pixels), dim=1)
        words = torch.nn.functional.normalize(network.encode_text(library.get_tokenizer("zoo-tiny")(PHRASES)), dim=1)
    domain = ImageDomain(classes=("a", "b"), size=(48, 72), mean=(0.1, 0.2, 0.3), std=(0.7, 0.8, 0.9))
    encoder = OpenCLIP(domain, "zoo-tiny", str(weights))
    x = domain.read(tmp_path / "a.png")[None]
    torch.testing.assert_close(encoder.prepare(x), pixels, rtol=0, atol=0.03)  # pictures are rounded to whole numbers
    torch.testing.assert_close(encoder.encode_images(x), vector, rtol=0, atol=0.01)
    torch.testing.assert_close(encoder.encode_texts(PHRASES), words)
    prompted = OpenCLIP(domain, "zoo-tiny", str(weights), prompt="a photo of {}")
    assert torch.equal(prompted.encode_texts(["red stripes"]), encoder.encode_texts(["a photo of red stripes"]))


def test_grey_images_of_any_size(weights: Path) -> None:
    grey = ImageDomain(classes=("a", "b"), size=(20, 30), channels=1, mean=(0.5,), std=(0.25,))
    encoder = OpenCLIP(grey, "zoo-tiny", str(weights))
    x = grey.normalise(torch.full((2, 1, 20, 30), 255, dtype=torch.uint8))
    white = (1 - encoder.mean) / encoder.std
    torch.testing.assert_close(encoder.prepare(x), white.expand(2, 3, 32, 32))
    torch.testing.assert_close(encoder.encode_images(x).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(("how", "seen", "border"), [("shortest", 0, 0), ("longest", 1, 0), ("squash", 1, 1)])
def test_ways_to_fit(how: str, seen: float, border: float, weights: Path) -> None:
    """The left eighth of a wide picture is cut off, or seen beside an empty border above, or seen up to the border."""
    wide = ImageDomain(classes=("a", "b"), size=(16, 64), mean=(0.0,) * 3, std=(1.0,) * 3)
    encoder = OpenCLIP(wide, "zoo-tiny", str(weights))
    encoder.resize_mode = how
    picture = torch.zeros(1, 3, 16, 64)
    picture[..., :8] = 1
    fitted = (encoder.prepare(picture) * encoder.std + encoder.mean)[0, 0]
    assert fitted.shape == (32, 32)
    assert fitted[16, 1] == pytest.approx(seen, abs=0.05) and fitted[0, 1] == pytest.approx(border, abs=0.05)


def test_scores_from_the_command_line_are_learned_from(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Scores of phrases for the digits, then both models that read them, by a config each."""
    data = {"class_path": "Digits", "init_args": {}}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"data": data}))
    (tmp_path / "phrases.txt").write_text("a round thing\n\nred stripes\na long tail\n", encoding="utf-8")
    output = tmp_path / "new" / "scores.safetensors"
    command = ["score-concepts", "--config", str(tmp_path / "data.yaml"), "--concepts", str(tmp_path / "phrases.txt")]
    command += ["--encoder", "zoo-tiny", "--pretrained", str(weights), "--output", str(output), "--device", "cpu"]
    assert main([*command, "--data.init_args.seed", "1"]) == 0
    said = capsys.readouterr().out
    scores, names, items = read_scores(output)
    digits = Digits(seed=1)
    projection_set = ProjectionSet(digits.projection_dataset())
    assert names == PHRASES and items == [projection_set.name(i) for i in range(len(projection_set))]
    encoder = OpenCLIP(digits.domain, "zoo-tiny", str(weights))
    x = torch.stack([projection_set.input(i) for i in (0, 70)])
    torch.testing.assert_close(scores[[0, 70]], encoder.encode_images(x) @ encoder.encode_texts(PHRASES).T)
    strongest = scores.topk(5, 0).values.mean(0)
    best = int(strongest.argmax())
    assert f"scores of 3 concepts for {len(items)} images -> {output}" in said
    assert f"highest mean of a concept's five highest scores: {strongest[best]:.3f} ({PHRASES[best]})" in said
    assert main(command) == 2 and "exists; choose another --output, or give --overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite", "--data.init_args.seed", "1"]) == 0
    torch.manual_seed(0)
    options = {"backbone": {"name": "convnet", "widths": [8], "pool": [0]}}
    labelfree = LabelFreeCBM(digits.domain, str(output), min_similarity=-1, cutoff=-1, epochs=3, **options)
    labelfree.project(projection_set)
    posthoc = PostHocCBM(digits.domain, bank=str(output), epochs=3, **options)
    posthoc.learn_bank(projection_set)
    for model in (labelfree, posthoc):
        model.eval().sparsify(projection_set)
        explanation = model.explain(x).check()
        assert [unit.name for unit in explanation.units] == PHRASES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"domain": ROWS}, "OpenCLIP reads images of 1 or 3 channels; got a domain of rows"),
        (
            {"domain": replace(IMAGES, channels=2, mean=(0.5,) * 2, std=(0.5,) * 2)},
            "1 or 3 channels; got a domain of images of 2 channels",
        ),
        ({"prompt": "a photo"}, "prompt must contain {} once, in place of the phrase; got 'a photo'"),
        ({"model": "ViT-B-33"}, "open_clip has no model 'ViT-B-33'; did you mean 'ViT-B-32'"),
        (
            {"model": "ViT-B-32", "pretrained": "laion2b"},
            "no weights 'laion2b' for 'ViT-B-32', and there is no such file",
        ),
        ({"model": "ViT-B-32"}, "no weights 'None' for 'ViT-B-32'"),
        ({"model": "hf-hub:a/b", "pretrained": "x"}, "'hf-hub:a/b' brings its own weights; leave out pretrained, 'x'"),
    ],
)
def test_encoder_that_cannot_be(options: dict, message: str, library: Any) -> None:
    with pytest.raises(ValueError, match=message):
        OpenCLIP(**{"domain": IMAGES, **options})


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ImportError, match=r"'open_clip', .*: pip install self-interpretable-zoo\[clip\]"):
        OpenCLIP(IMAGES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n  \n", "phrases.txt is empty; write one phrase per line"),
        (b"red\nblue\n red \n", "phrases.txt, line 3: 'red' duplicates line 1; remove one"),
        (b"\xff\xfe\x00", "phrases.txt is not UTF-8 text"),
    ],
)
def test_phrases_that_cannot_be_right(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "phrases.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_phrases(tmp_path / "phrases.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--concepts", "none.txt"], "no file of concepts at none.txt; write one phrase per line"),
        (["--batch_size", "0"], "argument --batch_size: expected a positive integer; got 0"),
        (["--bach_size", "8"], "score-concepts has no option '--bach_size'"),
        (["--data.init_args.sede", "8"], "data.init_args of Digits has no key 'sede'; did you mean 'seed'?"),
    ],
)
def test_mistakes_on_the_command_line(change: list[str], message: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "data.yaml").write_text("data: {class_path: Digits}\n")
    (tmp_path / "phrases.txt").write_text("red\n")
    command = ["score-concepts", "--config", str(tmp_path / "data.yaml"), "--concepts", str(tmp_path / "phrases.txt")]
    assert main([*command, "--output", str(tmp_path / "s"), *change]) == 2
    assert message in capsys.readouterr().err


def test_any_encoder_of_images_and_texts_scores_concepts() -> None:
    class Encoder:
        def encode_images(self, x: Tensor) -> Tensor:
            return x[:, :2]

        def encode_texts(self, texts: list[str]) -> Tensor:
            return torch.eye(2)[[len(text) % 2 for text in texts]]

    scores = score_concepts(ProjectionSet(AnnotatedRows(), batch_size=7), Encoder(), ["ab", "abc", "a"])
    inputs = AnnotatedRows().inputs
    assert torch.equal(scores, inputs[:, [0, 1, 1]])
