"""Sum-of-Parts: values from the formulas, and a test for each known fault of the published code."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

import zoo
from tests.small_models import IMAGES, ROWS, SENTENCES, TINY_VIT, RandomImages, build, sop
from tests.toy import COLOURS, ToyData, fit
from zoo.networks.target_units import assign
from zoo.parts import SumOfParts
from zoo.parts.layers.group_generator import highest, straight_through
from zoo.parts.layers.grouping import Grouping
from zoo.training.projection_set import ProjectionSet
from zoo.utils.functional import sparsemax

CONVNET = {"name": "convnet", "widths": [8], "pool": [0]}


def by_hand(model, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The score and the masks of Sum-of-Parts, one input, one group and one class after the other."""
    scores, masks = [], []
    generator, selector = model.generator, model.selector
    for image in x:
        e = generator.norm(model.projection(image[None]))[0]  # (L, E)
        count, width = e.shape
        groups = model.grouping.groups
        states, mass, kept = [], [], []
        for j in range(groups):
            anchor = j * count // groups
            query, keys = e[anchor] @ generator.query[0], e @ generator.key[0]
            row = (generator.sharpness / math.sqrt(width) * keys @ query).view(1, 1, *model.elements.grid)
            kernel = torch.outer(*[torch.tensor([-1.0, 0, 1]).square().mul(-0.5).softmax(0)] * 2)
            row, inside = (F.conv2d(t, kernel[None, None], padding=1).flatten() for t in (row, torch.ones_like(row)))
            row = row / inside
            attention = row.softmax(0)
            mask = torch.zeros(count, dtype=torch.bool)
            mask[row.topk(math.floor(0.2 * count)).indices] = True
            mass.append(attention[mask].sum() - attention[~mask].sum())
            pixels = F.interpolate(mask.float().view(1, 1, *model.elements.grid), scale_factor=2, mode="nearest")
            states.append(model.backbone(image * pixels[0, :, :12, :10][None])[0])
            kept.append(mask)
        h, c = torch.stack(states), torch.stack(mass)
        alone = h @ model.head.weight.T + model.head.bias
        agreement = selector.scale * (h @ selector.key.weight.T) @ (selector.classes @ selector.query.weight.T).T
        theta = torch.stack([sparsemax(column) for column in agreement.T], 1)
        scores.append((theta * c[:, None] * alone).sum(0))
        masks.append(torch.stack(kept))
    return torch.stack(scores), torch.stack(masks)


def test_scores_and_groups_are_those_of_the_formulas() -> None:
    small = sop()
    with torch.no_grad():
        scores, masks = by_hand(small.model, small.inputs)
    explanation = small.model.explain(small.inputs)
    assert torch.equal(explanation.support.flatten(2).bool(), masks)
    torch.testing.assert_close(explanation.scores, scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 17])
@pytest.mark.parametrize("options", [{}, {"selector": {"reads": "input"}}, {"grouping": {"heads": 3, "groups": 9}}])
def test_contributions_add_up_at_any_batch_size(rows: int, options: dict) -> None:
    """The published flat_masks sorts a singleton axis at batch size 1 and mixes samples above."""
    model, x = sop(**options).model, RandomImages(rows, seed=5).inputs
    explanation = model.explain(x).check()
    torch.testing.assert_close(explanation.contributions.sum(1), explanation.score, rtol=1e-5, atol=1e-5)
    assert not explanation.bias.any()
    for i in range(rows):  # masks are those of the sample, not of sample 0
        assert torch.equal(model.explain(x[i : i + 1]).support, explanation[i].support)


@pytest.mark.parametrize("backbone", [CONVNET, TINY_VIT])
@pytest.mark.parametrize("tokens", ["masked", "dropped"])
def test_with_the_groups_held_pixels_outside_change_nothing(backbone: dict, tokens: str) -> None:
    if tokens == "dropped" and backbone is CONVNET:
        pytest.skip("a convolution cannot drop pixels")
    model = sop(
        backbone=backbone, masking={"tokens": tokens}, elements={} if backbone is TINY_VIT else {"patch": 2}
    ).model
    x = RandomImages(4, seed=2).inputs
    masks = model.evidence(x).support.flatten(2).bool()
    size = int(masks[0, 0].sum())
    for i in range(masks.shape[1]):
        shown = model.elements.expand(masks[:, i], x)
        noisy = torch.where(shown, x, 9 * torch.randn_like(x))
        with torch.no_grad():
            before, after = (model.backbone.groups(t, masks[:, [i]], size) for t in (x, noisy))
        assert torch.equal(before, after)


def test_a_negative_mass_gives_a_warning_and_the_recipe_prevents_it() -> None:
    """With uniform attention c = 2 * 0.2 - 1 = -0.6, which inverts the sign of every contribution."""
    model = sop(generator={"sharpness": 1e-4}).model.train()
    with pytest.warns(UserWarning, match=r"mean c = -0\.60.*raise sharpness"):
        model.step(RandomImages(5).inputs)
    model = sop().model
    model.clone(ProjectionSet(RandomImages(40)))
    assert model.explain(RandomImages(40).inputs).activation.mean() == pytest.approx(0.5, abs=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.train().step(RandomImages(5).inputs)


def test_the_published_gradient_is_equal_within_a_group_and_straight_through_differs_by_element() -> None:
    """dL/dA is one number inside and its negative outside; only the relaxed mask depends on the element."""
    scores = torch.randn(1, 1, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    mask = highest(scores.detach(), torch.tensor([3]))
    attention = scores.softmax(2)
    (inside,) = torch.autograd.grad(((attention * mask).sum() - (attention * ~mask).sum()), attention)
    assert inside[mask].unique().tolist() == [1.0] and inside[~mask].unique().tolist() == [-1.0]
    worth = torch.arange(10.0)
    passed = straight_through(scores, mask)
    assert torch.equal(passed, mask.float())
    (through,) = torch.autograd.grad((passed * worth).sum(), scores)
    assert through.flatten().unique().numel() == 10

    for gradient, expected in (("scale", 0), ("straight_through", 1)):
        model = sop(scale="none", gradient=gradient).model.train()
        model.backbone.requires_grad_(False)
        model.head.requires_grad_(False)
        model.step(RandomImages(3).inputs)[0].square().sum().backward()
        reached = model.generator.query.grad is not None and bool(model.generator.query.grad.any())
        assert reached == expected


def test_regression_is_not_rescaled_without_the_mass() -> None:
    """θ sums to 1 over the groups, so a backbone that always gives 5 gives 5; with the mass it would be less."""
    domain = replace(IMAGES, task="regression", classes=("star", "square"))
    for scale, expected in (("none", True), ("mass", False)):
        model = zoo.create_model(
            "sop", domain=domain, backbone=CONVNET, elements={"patch": 2}, grouping={"groups": 6}, scale=scale
        ).eval()
        assign(model.head, torch.zeros_like(model.head.weight), torch.full((2,), 5.0))
        scores = model(RandomImages(3).inputs)
        assert torch.allclose(scores, torch.tensor(5.0), atol=1e-5) == expected
        assert model.space == "value"


def test_identical_groups_run_once_and_unneeded_ones_not_at_all() -> None:
    for options in ({}, {"selector": {"reads": "input", "scale": 1.0}}):
        model = sop(**options).model
        rows = []
        model.backbone.encoder.register_forward_hook(lambda m, i, o, rows=rows: rows.append(len(o)))
        x = RandomImages(2).inputs
        flat = torch.zeros_like(x)  # all features equal, so all groups are
        explanation = model.explain(flat)
        assert sum(rows) == len(x) and explanation.support[0].unique(dim=0).shape[0] == 1
        rows.clear()
        explanation = model.explain(x)
        needed = (model.evidence(x).state["theta"] > 0).any(2)
        rows_of = [explanation.support[b][needed[b]].unique(dim=0).shape[0] for b in range(2)]
        if options:
            assert rows[0] == sum(rows_of) < 12
        assert torch.allclose(explanation.scores, model(x))


def test_no_gradients_are_kept_for_a_frozen_backbone() -> None:
    model, x = sop().model.train(), RandomImages(3).inputs
    masks = torch.rand(3, 4, 30) < 0.3
    assert model.backbone.groups(x, masks, 6).requires_grad
    model.backbone.requires_grad_(False)
    assert not model.backbone.groups(x, masks, 6).requires_grad
    assert model.backbone.groups(x, masks.float().requires_grad_(), 6).requires_grad  # through the mask


def test_groups_size_and_heads_of_one_explanation() -> None:
    model, x = sop(grouping={"groups": 6, "heads": 2}).model, RandomImages(4).inputs
    usual = model.explain(x)
    fewer = model.explain(x, groups=3, size=0.5, heads=1)
    assert fewer.contributions.shape == (4, 3) and len(fewer.units) == 3
    assert fewer.support.flatten(2).sum(2).unique().tolist() == [15.0]
    fewer.check()
    again = model.explain(x)
    assert torch.equal(again.scores, usual.scores) and model.grouping == Grouping(6, 0.2, 2)
    for options, message in (
        ({"groups": 61}, "groups must be 1 to 60.*2 heads x 30 elements; got 61"),
        ({"heads": 3}, "heads must be 1 to 2, as the model has; got 3"),
        ({"size": 0.01}, "size must give a group 1 to 30 .*got 0.01, which is 0"),
        ({"colour": 1}, "SumOfParts has no option 'colour' for an explanation; it has groups, size, heads"),
    ):
        with pytest.raises(ValueError, match=message):
            model.explain(x, **options)
        assert model.grouping == Grouping(6, 0.2, 2)


def test_texts_are_grouped_by_the_words_that_they_have() -> None:
    small = build("sop", "texts")
    support = small.model.explain(small.inputs).support
    words = (small.inputs != 0)[:, None]
    assert not (support.bool() & ~words).any()
    assert torch.equal(support.sum(2), (words.sum(2) // 2).clamp_min(1).float().expand(-1, 4))
    dropped = build("sop", "texts", masking={"tokens": "dropped"})
    dropped.model.load_state_dict(small.model.state_dict())
    torch.testing.assert_close(dropped.model(small.inputs), small.model(small.inputs))


def test_only_used_rows_of_attention_are_computed_and_equal_the_full_matrix() -> None:
    model, x = sop(grouping={"heads": 2, "groups": 7}).model, RandomImages(3).inputs
    few, _ = model.generator(model.projection(x), None, Grouping(7, 0.2, 2))
    every, _ = model.generator(model.projection(x), None, Grouping(60, 0.2, 2))
    torch.testing.assert_close(few, every[:, [j * 60 // 7 for j in range(7)]])


STAGES = [
    {"name": "whole", "epochs": 1, "train": ["backbone", "head"]},
    {"name": "masked", "masked": True, "epochs": 1, "train": ["backbone", "head"]},
    {"name": "clone"},
    {"name": "groups", "epochs": 1, "train": ["projection", "generator", "selector"]},
]


def test_each_stage_trains_its_own_inputs() -> None:
    model = zoo.create_model(
        "sop",
        domain=COLOURS,
        backbone=CONVNET,
        elements={"patch": 2},
        grouping={"groups": 4},
        recipe={"stages": STAGES},
    )
    seen, step = [], model.backbone.groups

    def watched(x: torch.Tensor, masks: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append((model.phase, masks.shape[1], masks.float().mean()))
        return step(x, masks, *rest)

    model.backbone.groups = watched
    fit(model, ToyData())
    shares = {phase: [float(share) for p, _, share in seen if p == phase] for phase, _, _ in seen}
    assert [(phase, count) for phase, count, _ in seen[:: len(seen) - 1]] == [("whole", 1), ("groups", 4)]
    assert set(shares["whole"]) == {1.0} and shares["groups"] == [pytest.approx(7 / 36)] * len(shares["groups"])
    least = [share == pytest.approx(7 / 36) for share in shares["masked"]]
    assert any(least) and not all(least)  # half of them larger
    assert model.phase == "groups"
    copied = dict(model.projection.encoder.named_parameters())
    assert not all(torch.equal(p, copied[name]) for name, p in model.backbone.encoder.named_parameters())
    assert not torch.equal(model.selector.classes, model.head.weight)
    model.explain(ToyData().val.inputs).check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "area"}, "scale must be one of mass, none; got 'area'"),
        ({"selector": {"reads": "all"}}, "reads must be one of output, input; got 'all'"),
        ({"selector": {"scale": 0}}, "scale must be above 0; got 0"),
        ({"masking": {"memory": 0}}, "memory must be above 0; got 0"),
        ({"generator": {"sharpness": 0}}, "expected a sharpness above 0 .* got sharpness 0, blur 3"),
        ({"grouping": {"anchor": "all"}}, "grouping has no option 'anchor'; did you mean 'anchors'"),
        ({"masking": {"tokens": "dropped"}}, "tokens='dropped' needs a network of tokens.*Pooled has none"),
        ({"grouping": {"size": 0}}, "size must give a group 1 to 30 .*got 0, which is 0"),
        ({"grouping": {"size": 31}}, "got 31, which is 31"),
        (
            {"grouping": {"groups": 31}},
            "groups must be 1 to 30, the number of candidates, 1 heads x 30 elements; got 31",
        ),
        ({"grouping": {"groups": 0}}, "groups must be 1 to 30"),
        ({"generator": {"blur": 2}}, "an odd blur >= 1"),
        ({"projection": "deep"}, "projection must be one of auto, copy, patch; got 'deep'"),
        ({"backbone": {"name": "convnet", "widths": [8, 8, 8, 8], "pool": [0, 1, 2, 3]}}, "the backbone cannot read"),
        ({"backbone": TINY_VIT | {"patch_size": 4}, "elements": {}}, "patches of 4 pixels, and images of 12 x 10"),
        (
            {"backbone": TINY_VIT, "masking": {"tokens": "dropped"}, "elements": {"patch": 3}},
            "network's own patches, 2 pixels",
        ),
        (
            {"backbone": TINY_VIT, "masking": {"tokens": "dropped", "fill": "mean"}, "elements": {}},
            "nothing is filled; got",
        ),
    ],
)
def test_invalid_arguments(options: dict, message: str) -> None:
    arguments = {"domain": IMAGES, "backbone": CONVNET, "elements": {"patch": 2}, "grouping": {"groups": 4}, **options}
    with pytest.raises(ValueError, match=message):
        zoo.create_model("sop", **arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masking": {"fill": "blur"}}, "words have no blur"),
        ({"gradient": "straight_through"}, "requires continuous inputs"),
        ({"projection": "patch"}, "requires continuous inputs"),
    ],
)
def test_arguments_that_do_not_fit_texts(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.create_model("sop", domain=SENTENCES, backbone="transformer", grouping={"groups": 4}, **options)


def test_rows_of_a_table_have_no_map_to_copy() -> None:
    with pytest.raises(ValueError, match="needs a backbone with a map of features; use 'patch'"):
        zoo.create_model("sop", domain=ROWS, backbone="mlp", grouping={"groups": 2, "size": 1}, projection="copy")


def test_arguments_of_older_checkpoints_are_grouped() -> None:
    """They held all options side by side, and a stage was masked if that was its name."""
    stages = [
        {"name": "masked", "epochs": 1, "train": ["head"]},
        {"name": "groups", "epochs": 1, "train": ["selector"]},
    ]
    flat = {"domain": IMAGES, "groups": 3, "select_by": "input", "blur": 5, "tokens": "masked", "stages": stages}
    upgraded = SumOfParts.upgrade_arguments(flat)
    assert [stage["masked"] for stage in upgraded["recipe"]["stages"]] == [True, False]
    model = SumOfParts(**upgraded, backbone=CONVNET, elements={"patch": 2})
    assert model.grouping == Grouping(3) and model.by_input and model.generator.blur == 5
    assert model.generator.border == "zero"  # with which its groups were learned
    assert SumOfParts.upgrade_arguments(dict(model.hparams)) == dict(model.hparams)
