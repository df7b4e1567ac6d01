"""Elements of every modality; nothing of a hidden element remains."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.small_models import GRAPHS, IMAGES, ROWS, SENTENCES
from zoo.domain import ImageDomain, TextDomain
from zoo.domain.text import PAD, UNKNOWN
from zoo.networks.elements import Elements
from zoo.networks.smoothing import smooth
from zoo.parts.layers.grouping import group_size

REVIEW = TextDomain(classes=("bad", "good"), vocabulary=("good", "bad", ".", "!", "|", "?", "food"), length=10)


def test_patches_cover_an_image_that_they_do_not_divide() -> None:
    elements = Elements(IMAGES, patch=5)  # 12 x 10 pixels
    assert elements.grid == (3, 2) and elements.count == 6
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 5] = mask[1, 0] = True
    shown = elements.expand(mask, torch.zeros(2, 3, 12, 10))
    assert shown.shape == (2, 1, 12, 10)
    assert shown[0, 0].nonzero().tolist() == [[r, c] for r in (10, 11) for c in range(5, 10)]
    assert shown[1].sum() == 25
    assert elements.names()[5] == "patch at 10, 5"


def test_words_and_sentences_of_a_text() -> None:
    x = torch.stack([REVIEW.preprocess("good food ! ! bad . good"), REVIEW.preprocess("food")])
    assert REVIEW.sentences(x)[0].tolist() == [0, 0, 0, 0, 1, 1, 2, -1, -1, -1]
    words = Elements(REVIEW)
    assert words.grid == (10,) and words.present(x).sum(1).tolist() == [7, 1]
    sentences = Elements(REVIEW, sentences=2)  # the third counts as the second
    assert sentences.present(x).tolist() == [[True, True], [True, False]]
    hidden = sentences.hide(x, torch.tensor([[False, True], [True, False]]), "zero")
    assert [REVIEW.words(row) for row in hidden] == [["bad", ".", "good"], ["food"]]
    states = torch.arange(10.0).view(1, 10, 1).expand(2, -1, -1)
    assert sentences.average(states, x)[0, :, 0].tolist() == [1.5, 5.0]


def test_the_question_is_never_hidden_nor_chosen() -> None:
    x = REVIEW.preprocess("good ? ||| bad food")[None]
    assert REVIEW.question(x)[0].tolist() == [True] * 5 + [False] * 5
    elements = Elements(REVIEW)
    assert elements.present(x)[0].tolist() == [False] * 5 + [True, True] + [False] * 3
    nothing = torch.zeros(1, 10, dtype=torch.bool)
    assert REVIEW.words(elements.hide(x, nothing, "zero")[0]) == ["good", "?", "|", "|", "|"]
    unknown = elements.hide(x, nothing, "token")[0].tolist()
    assert unknown[5:7] == [UNKNOWN] * 2 and unknown[7:] == [PAD] * 3
    assert not REVIEW.question(REVIEW.preprocess("bad || food")[None]).any()


@pytest.mark.parametrize("fill", ["zero", "mean", "blur", "token"])
@pytest.mark.parametrize("kind", [torch.bool, torch.float32])
def test_nothing_outside_of_the_mask_enters_whatever_the_fill(fill: str, kind: torch.dtype) -> None:
    """Regression against fills made of the whole image, through which hidden pixels would speak."""
    elements, token = Elements(IMAGES, patch=4), torch.full((3, 1, 1), 0.25)
    torch.manual_seed(0)
    x, mask = torch.randn(4, 3, 12, 10), torch.rand(4, elements.count) < 0.3
    mask[:, 0] = True
    shown = elements.expand(mask, x)
    other = torch.where(shown, x, torch.randn_like(x))
    before, after = (elements.hide(t, mask.to(kind), fill, token) for t in (x, other))
    assert torch.equal(before, after)
    assert torch.equal(torch.where(shown, before, 0), torch.where(shown, x, 0))
    if fill == "zero":
        assert not before[~shown.expand_as(x)].any()
    if fill == "token":
        assert (before[~shown.expand_as(x)] == 0.25).all()


def test_the_mean_is_of_what_the_mask_keeps() -> None:
    elements = Elements(ImageDomain(classes=("a",), size=(1, 4), channels=1, mean=(0,), std=(1,)))
    x = torch.tensor([[[[1.0, 3.0, 50.0, 70.0]]]])
    kept = torch.tensor([[True, True, False, False]])
    assert elements.hide(x, kept, "mean").flatten().tolist() == [1, 3, 2, 2]


def test_smoothing_is_a_gaussian_with_zeros_beyond_the_border() -> None:
    one = torch.zeros(1, 7)
    one[0, 3] = 1
    kernel = torch.tensor([-1.0, 0, 1]).square().mul(-0.5).softmax(0)
    assert torch.allclose(smooth(one, 1.0, 1, 1)[0, 2:5], kernel)
    assert torch.allclose(smooth(one, 1.0, 1).sum(), torch.tensor(1.0))
    assert torch.allclose(smooth(torch.ones(1, 7), 1.0, 1, 1)[0, 0], 1 - kernel[0])


@given(st.integers(1, 30), st.one_of(st.integers(-2, 40), st.floats(-0.5, 1.5)))
def test_a_group_has_some_and_at_most_all_elements(elements: int, size: float) -> None:
    wanted = size if isinstance(size, int) else int(size * elements + 1e-9) if size >= 0 else -1
    if 1 <= wanted <= elements:
        assert group_size(size, elements) == wanted
    else:
        with pytest.raises(ValueError, match=f"1 to {elements} of the input's {elements} elements.*got"):
            group_size(size, elements)


@pytest.mark.parametrize(
    ("domain", "options", "message"),
    [
        (IMAGES, {"patch": 0}, "patch must be at least 1; got 0"),
        (IMAGES, {"patch": 11}, "patch 11 is larger than the input, 12 x 10"),
        (ROWS, {"patch": 2}, "1 for inputs of modality 'table'; got 2"),
        (SENTENCES, {"patch": 2}, "1 for inputs of modality 'text'; got 2"),
        (IMAGES, {"sentences": 3}, "only texts have sentences; got sentences=3"),
    ],
)
def test_elements_that_an_input_cannot_have(domain, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Elements(domain, **options)


def test_values_of_pixels_as_means_over_elements() -> None:
    elements = Elements(IMAGES, patch=5)
    values = torch.zeros(1, 1, 12, 10)
    values[..., 10:, 5:] = 1  # the last patch is cut off by the border
    values[..., 0, 0] = 1
    assert elements.reduce(values)[0, 0].tolist() == pytest.approx([1 / 25, 0, 0, 0, 0, 1])
    assert torch.equal(Elements(REVIEW).reduce(torch.ones(2, 1, 10)), torch.ones(2, 1, 10))


def test_a_region_touches_every_element_that_it_covers_in_part() -> None:
    x = REVIEW.preprocess("good food . bad !")[None]
    regions = torch.zeros(1, 2, 10)
    regions[0, 0, 1] = regions[0, 1, 8] = 1  # the second word, and padding
    sentences = Elements(REVIEW, sentences=3)
    assert sentences.touched(regions, x).tolist() == [[True, False, False]]
    assert Elements(REVIEW).touched(regions[:, :1], x)[0].nonzero().flatten().tolist() == [1]
    pixels = torch.zeros(1, 1, 12, 10)
    pixels[..., 11, 9] = 1
    assert Elements(IMAGES, patch=5).touched(pixels, torch.zeros(1, 3, 12, 10))[0].nonzero().flatten().tolist() == [5]


@torch.no_grad()
def test_hidden_nodes_and_edges_of_a_graph_are_absent() -> None:
    elements, x = Elements(GRAPHS), GRAPHS.example(2, torch.Generator().manual_seed(0))
    assert elements.grid == (11,) and elements.names()[4:6] == ("node 4", "edge 0")
    present = elements.present(x)
    assert present is not None and torch.equal(present, x[..., 0] == 1)
    mask = torch.ones(2, 11, dtype=torch.bool)
    mask[:, [0, 6]] = False
    for fill in ("zero", "mean", "token"):
        hidden = elements.hide(x, mask, fill)
        assert not hidden[:, [0, 6]].any() and torch.equal(hidden[mask], x[mask])
    assert torch.equal(elements.hide(x, mask.float() / 2, "zero"), elements.hide(x, mask, "zero"))
