"""Images: raw files to tensors and back."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from zoo.domain import ImageDomain, fault_of, open_image

BIRDS = ImageDomain(classes=("crow", "gull", "wren"), size=(4, 6))
GREY = ImageDomain(classes=("a", "b"), size=(2, 3), channels=1, mean=(0.5,), std=(0.25,))


@given(
    channels=st.sampled_from([1, 3]),
    mean=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    std=st.lists(st.floats(0.05, 2), min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_pixels_come_back_from_inputs(channels: int, mean: list[float], std: list[float], seed: int) -> None:
    domain = ImageDomain(
        classes=("a",), size=(5, 7), channels=channels, mean=tuple(mean[:channels]), std=tuple(std[:channels])
    )
    draw = torch.Generator().manual_seed(seed)
    picture = torch.randint(0, 256, domain.shape, dtype=torch.uint8, generator=draw)
    x = domain.preprocess(picture)
    assert x.shape == domain.shape and x.dtype == torch.float32
    assert torch.equal(domain.picture(x), picture)
    assert torch.equal(domain.picture(x.expand(2, *x.shape))[1], picture)  # batches too


def test_normalisation_by_hand() -> None:
    picture = torch.tensor([[[0, 51, 255], [102, 153, 204]]], dtype=torch.uint8)
    expected = torch.tensor([[[-2, -1.2, 2], [-0.4, 0.4, 1.2]]])
    torch.testing.assert_close(GREY.preprocess(picture), expected)
    assert GREY.picture(torch.full((1, 2, 3), 9.0)).tolist() == [[[255] * 3] * 2]  # out of gamut is clamped


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    source=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    resize=st.sampled_from(["squash", "crop"]),
    fraction=st.sampled_from([1.0, 0.875, 0.5]),
)
def test_any_size_fits(size: tuple[int, int], source: tuple[int, int], resize: str, fraction: float) -> None:
    domain = ImageDomain(classes=("a",), size=size, resize=resize, crop_fraction=fraction)
    assert domain.preprocess(torch.full((3, *source), 128, dtype=torch.uint8)).shape == (3, *size)


def test_squash_keeps_the_edges_and_crop_cuts_them() -> None:
    picture = torch.zeros(3, 10, 30, dtype=torch.uint8)
    picture[:, :, 10:20] = 255  # the middle third is white
    settings = {"classes": ("a",), "size": (10, 10)}
    squashed = ImageDomain(**settings)
    cropped = ImageDomain(**settings, resize="crop")
    whole = squashed.picture(squashed.preprocess(picture))
    assert whole[:, :, 0].max() == 0 and whole[:, :, 5].min() == 255
    assert cropped.picture(cropped.preprocess(picture)).min() == 255
    # With crop_fraction 0.5 the picture is scaled to 20 x 20 first, of which the centre is its own middle.
    marked = torch.zeros(3, 40, 40, dtype=torch.uint8)
    marked[:, 8:32, 8:32] = 255
    half = ImageDomain(**settings, resize="crop", crop_fraction=0.5)
    assert half.picture(half.preprocess(marked)).min() == 255


def test_crop_cuts_pictures_that_fit_already() -> None:
    """A picture is preprocessed the same way whatever its size on disk."""
    domain = ImageDomain(classes=("a",), size=(20, 20), resize="crop", crop_fraction=0.5)
    marked = torch.zeros(3, 20, 20, dtype=torch.uint8)
    marked[:, 4:16, 4:16] = 255
    assert domain.picture(domain.preprocess(marked)).min() == 255
    whole = ImageDomain(classes=("a",), size=(20, 20), resize="crop")
    assert torch.equal(whole.picture(whole.preprocess(marked)), marked)


def test_pictures_are_no_stacks(tmp_path: Path) -> None:
    stack = ImageDomain(classes=("a",), size=(5, 4), channels=2, mean=(0.5,) * 2, std=(0.5,) * 2)
    Image.new("L", (4, 5)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="an image file has 1 or 3 channels, and these inputs have 2; stack 2 grey"):
        stack.read(tmp_path / "a.png")
    pixels = torch.randint(0, 256, (2, 5, 4), dtype=torch.uint8)
    assert torch.equal(stack.picture(stack.preprocess(pixels)), pixels)


def test_channels_are_made_to_fit() -> None:
    grey = torch.randint(0, 256, (1, 4, 6), dtype=torch.uint8)
    assert torch.equal(BIRDS.picture(BIRDS.preprocess(grey)), grey.expand(3, 4, 6))
    red = torch.zeros(3, 2, 3, dtype=torch.uint8)
    red[0] = 255
    assert GREY.picture(GREY.preprocess(red)).unique().tolist() == [76]  # ITU-R 601: 0.299 * 255
    batch = torch.stack([red])  # one picture: its first dimension must not be taken for its channels
    assert GREY.preprocess(batch).shape == (1, 1, 2, 3)


def save(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(np.array(pixels, dtype=np.uint8))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def pixels(path: Path) -> Any:
    return np.array(open_image(path)).tolist()


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    rgba = [[[255, 0, 0, 255], [255, 0, 0, 0]], [[0, 0, 255, 51], [0, 0, 0, 255]]]
    path = save(tmp_path / "a.png", rgba)
    assert open_image(path).mode == "RGB"
    assert pixels(path) == [[[255, 0, 0], [255, 255, 255]], [[204, 204, 255], [0, 0, 0]]]
    path = save(tmp_path / "la.png", [[[0, 255], [0, 0]]])  # grey with alpha
    assert pixels(path) == [[[0, 0, 0], [255, 255, 255]]]


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter: show it rotated by 90 degrees clockwise
    lying = np.zeros((8, 16, 3), np.uint8)
    lying[:, :8] = 255  # white on the left, so on top when upright
    Image.fromarray(lying).save(tmp_path / "a.png", exif=exif)
    upright = np.array(open_image(tmp_path / "a.png"))
    assert upright.shape == (16, 8, 3)
    assert upright[:8].min() == 255 and upright[8:].max() == 0


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 257, 32768, 65279, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert open_image(tmp_path / "a.png").mode == "L"
    assert pixels(tmp_path / "a.png") == [[0, 1, 128, 254, 255]]


def test_palettes_and_bitmaps(tmp_path: Path) -> None:
    colours = [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert pixels(save(tmp_path / "p.png", colours, "P")) == colours
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    image.save(tmp_path / "t.png", transparency=1)  # the second colour is transparent
    assert pixels(tmp_path / "t.png") == [[[10, 20, 30], [255, 255, 255]]]
    assert pixels(save(tmp_path / "1.png", [[0, 255]], "1")) == [[[0, 0, 0], [255, 255, 255]]]


def test_grey_stays_grey_and_becomes_what_the_domain_reads(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", [[0, 51, 255], [102, 153, 204]])
    assert open_image(path).mode == "L"
    assert GREY.picture(GREY.read(path)).tolist() == [[[0, 51, 255], [102, 153, 204]]]
    assert BIRDS.read(path).shape == (3, 4, 6)
    colour = save(tmp_path / "b.png", np.full((5, 5, 3), (255, 0, 0)))
    assert GREY.read(colour).shape == (1, 2, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": b""}, {"quality": 20}])
@pytest.mark.parametrize("domain", [GREY, BIRDS])
def test_jpegs_are_the_pixels_that_pillow_reads(tmp_path: Path, mode: str, options: dict, domain: ImageDomain) -> None:
    """They are decoded another way, which must not show: the same file is the same input, whoever reads it."""
    if "exif" in options:
        exif = Image.Exif()
        exif[0x0112] = 8  # shown rotated
        options = {"exif": exif}
    draw = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    image = Image.fromarray(draw).resize((61, 47), Image.Resampling.BICUBIC).convert(mode)  # odd, as chroma is halved
    image.save(tmp_path / "a.jpg", **options)
    expected = domain.preprocess(open_image(tmp_path / "a.jpg"))
    assert torch.equal(domain.read(tmp_path / "a.jpg"), expected)
    pixels = domain.pixels(tmp_path / "a.jpg")
    assert pixels.dtype == torch.uint8 and pixels.shape[1:] == ((61, 47) if "exif" in options else (47, 61))


def test_inputs_lie_as_batches_do(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.zeros((40, 30, 3)))
    assert BIRDS.read(path).is_contiguous() and BIRDS.preprocess(open_image(path)).is_contiguous()


def test_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no image file at .*nothing\.png"):
        BIRDS.read(tmp_path / "nothing.png")
    with pytest.raises(FileNotFoundError, match="no image file at"):
        open_image(tmp_path)  # a folder


@pytest.mark.parametrize("cut", ["junk", "empty", "truncated png", "truncated jpeg"])
def test_file_that_is_no_image(tmp_path: Path, cut: str) -> None:
    ending = "jpg" if "jpeg" in cut else "png"
    path = save(tmp_path / f"a.{ending}", np.random.default_rng(0).integers(0, 256, (40, 40, 3)))
    whole = path.read_bytes()
    path.write_bytes({"junk": b"no image at all", "empty": b""}.get(cut, whole[: len(whole) // 2]))
    with pytest.raises(ValueError, match=rf"a.{ending} cannot be read as an image .*Convert it to PNG or JPEG"):
        BIRDS.read(path)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_is_not_run_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow starts Ghostscript for an EPS that is named a.png."""
    started: list[Any] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *arguments, **options: started.append(arguments))
    (tmp_path / "a.png").write_bytes(EPS)
    with pytest.raises(ValueError, match=r"a\.png cannot be read as an image \(cannot identify"):
        BIRDS.read(tmp_path / "a.png")
    assert fault_of(tmp_path / "a.png").startswith("cannot identify") and not started


@pytest.mark.parametrize("ending", sorted(ImageDomain.endings))
def test_every_ending_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    Image.new("L" if ending == ".pgm" else "RGB", (6, 4), 77).save(path)
    assert BIRDS.read(path).shape == (3, 4, 6) and fault_of(path) == ""


def test_pictures_of_cameras_with_a_preview(tmp_path: Path) -> None:
    """Cameras write several pictures into one JPEG, which Pillow calls MPO."""
    first, second = (Image.new("RGB", (6, 4), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert BIRDS.picture(BIRDS.read(tmp_path / "a.jpg"))[0].min() > 200


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    """A pipe was waited for without end."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name, kind in (("pipe.png", "a named pipe"), ("zero.jpg", "a device")):
        with pytest.raises(ValueError, match=f"{name} is {kind}, not a regular file; give an image file"):
            BIRDS.read(tmp_path / name)
        assert kind in fault_of(tmp_path / name)
