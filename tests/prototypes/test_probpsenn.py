"""Prob-PSENN: limits, sampling errors, entropies and counterfactuals against independent formulas."""

import math

import pytest
import torch
from torch import Tensor

import zoo
from tests.small_models import IMAGES, RandomImages, probpsenn
from tests.toy import COLOURS, ToyData, fit
from zoo.domain import ImageDomain
from zoo.prototypes import ProbPSENN
from zoo.prototypes.layers.class_probabilities import class_probabilities
from zoo.training.projection_set import ProjectionSet


def made(**options: object) -> ProbPSENN:
    model = probpsenn(**options).model
    assert isinstance(model, ProbPSENN)
    return model


def inputs() -> Tensor:
    return RandomImages(5, seed=1).inputs


# The computation


def test_without_deviation_samples_are_the_points() -> None:
    """σ → 0 recovers the deterministic model, which is a softmax over distances to the means."""
    sure, points = made(), made(deviation=None)
    with torch.no_grad():
        sure.prototypes.log_deviation.fill_(-30)
        for group in ("encoder", "decoder"):
            getattr(points, group).load_state_dict(getattr(sure, group).state_dict())
        points.prototypes.mean.copy_(sure.prototypes.mean)
        z = sure.encoder(inputs())
        expected = (-(z[:, None] - sure.prototypes.mean).square().sum(2)).softmax(1)
        torch.testing.assert_close(points(inputs()), expected)
        torch.testing.assert_close(sure(inputs()), points(inputs()))
    details = points.explain(inputs()).details
    assert not details["distance spread"].any() and not details["mutual information"].any()
    assert not details["pixel spread"].any()


def test_scores_lie_within_the_standard_error_of_many_samples() -> None:
    model, x = made(samples=50), inputs()[1:2]
    with torch.no_grad():
        model.prototypes.log_deviation.fill_(math.log(0.2))
        few = model.step(x)[1].state["distance"]
        probabilities = class_probabilities(few, 1)[0]  # (50, C)
        mean, deviation = model.prototypes.mean.double(), model.prototypes.deviation().double()
        draw = torch.Generator().manual_seed(7)
        points = mean + deviation * torch.randn(100_000, *mean.shape, generator=draw, dtype=torch.float64)
        distance = (model.encoder(x).double() - points).square().sum(2)
        exact = (-distance).softmax(1).mean(0)
    error = probabilities.double().std(0) / 50**0.5
    assert (error > 1e-4).any()  # else there would be nothing to test
    assert ((probabilities.mean(0) - exact).abs() < 3 * error + 1e-6).all()
    # The expected distance is known: |z - μ|² + Σ σ².
    closed = (model.encoder(x).double() - mean).square().sum(1) + deviation.square().sum(1)
    torch.testing.assert_close(distance.mean(0), closed, rtol=0.01, atol=0)


def test_more_samples_for_one_explanation() -> None:
    model = made()
    few, many = model.explain(inputs()), model.explain(inputs(), samples=2000)
    assert not torch.equal(few.scores, many.scores)
    assert torch.equal(many.scores, model.explain(inputs(), samples=2000).scores)
    assert torch.equal(few.scores, model(inputs())) and len(model.noise) == 7
    with pytest.raises(ValueError, match="samples must be at least 1; got 0"):
        model.explain(inputs(), samples=0)
    with pytest.raises(ValueError, match="samples must be 1, as these prototypes are points; got 5"):
        made(deviation=None).explain(inputs(), samples=5)


def test_entropies_of_an_explanation_add_up() -> None:
    details = made(prototypes_per_class=2).explain(inputs()).details
    parts = details["expected entropy"] + details["mutual information"]
    torch.testing.assert_close(parts, details["predictive entropy"])
    assert (details["mutual information"] >= -1e-6).all() and details["mutual information"].max() > 1e-4


@pytest.mark.parametrize("per_class", [1, 2])
def test_counterfactuals_are_the_readout_of_edited_evidence(per_class: int) -> None:
    model = made(prototypes_per_class=per_class)
    explanation = model.explain(inputs(), "square")
    evidence = model.step(inputs())[1]
    for k, unit in enumerate(model.units()):
        for value, name in ((0.0, "absent"), (1.0, "present")):
            scores = model.readout(model.edit(evidence, {unit.name: value}))[:, 1]
            torch.testing.assert_close(explanation.details[name][:, k], scores, rtol=1e-4, atol=1e-6)
    assert (explanation.details["present"] != explanation.details["absent"]).all()


def test_interventions_out_of_range_are_refused() -> None:
    model = made()
    evidence = model.step(inputs())[1]
    with pytest.raises(ValueError, match="can only be set to values in \\[0, 1\\]"):
        model.edit(evidence, {"star": 1.5})
    with pytest.raises(ValueError, match="no prototype is left"):
        model.ablate(evidence, ["star", "circle", "square"])


# The autoencoder


def test_reconstructions_have_the_shape_of_inputs() -> None:
    model = made()
    assert model.reconstruct(model.step(inputs())[1]).shape == inputs().shape


def test_losses_by_hand() -> None:
    model, x, target = made(), inputs(), torch.tensor([0, 1, 2, 0, 1])
    scores, evidence = model.step(x)
    terms = model.losses(scores, evidence, {"input": x, "target": target})
    distance = evidence.state["distance"].mean(1)
    pixels = IMAGES.picture(x).float() / 255
    wrong = (model.reconstruct(evidence) - pixels).square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(terms["cross_entropy"], -scores[torch.arange(5), target].log().mean())
    torch.testing.assert_close(terms["reconstruction"], wrong, rtol=1e-2, atol=0)  # pictures are rounded
    torch.testing.assert_close(terms["r1"], torch.stack([distance[:, k].min() for k in range(3)]).mean())
    torch.testing.assert_close(terms["r2"], torch.stack([row.min() for row in distance]).mean())


# Doubt, pictures, recipe


def test_an_image_far_from_all_prototypes_has_no_valid_explanation() -> None:
    model = made(coverage=0.5)
    training = RandomImages().inputs
    nearest = model.step(training)[1].state["distance"].mean(1).amin(1)
    assert model.decoded.threshold == nearest.sort().values[4]  # of 9
    assert model.abstains(model.step(training)[1]).sum() == 4
    far = model.explain(torch.cat([training[nearest.argmin()][None], 50 * inputs()[:1]]))
    assert far.details["typical"].any(1).tolist() == [True, False]
    assert "abstain" not in far.statements[0] and far.statements[1].startswith("no valid explanation, abstain: even")
    assert "50% of the training images are within" in far.statements[1]
    probability = far.scores[0].max()
    assert f"with probability {probability:.2f}; entropy" in far.statements[0]


def test_pictures_are_decoded_means_and_samples() -> None:
    model = made()
    height, width = IMAGES.size
    picture = model.units()[1].picture
    assert picture is not None and picture.shape == (3, 2 * height, 2 * width)
    decoded = model.decoder(model.prototypes.mean)[1]
    torch.testing.assert_close(picture[:, :height, :width] / 255, decoded, rtol=0, atol=0.5 / 255 + 1e-6)
    samples = model.decoder(model.prototypes.at(model.noise)[:, 1])
    for corner in (picture[:, :height, width:], picture[:, height:, :width], picture[:, height:, width:]):
        apart = (corner / 255 - decoded).abs().mean()
        assert 0 < apart < 4 * samples.std(0).mean()
    torch.testing.assert_close(model.decoded.pixel_spread[1], samples.std(0, correction=0).mean())
    assert model.units()[1].source["pixel spread"] == model.decoded.pixel_spread[1]
    assert made(deviation=None).decoded.pictures.shape == (3, 3, height, width)


def test_a_model_that_was_not_calibrated_does_not_explain() -> None:
    model = zoo.create_model("probpsenn", domain=IMAGES, widths=[4]).eval()
    with pytest.raises(RuntimeError, match="calibrate and draw did not run"):
        model.explain(inputs())
    model.draw(ProjectionSet(RandomImages()))
    with pytest.raises(RuntimeError, match=r"^calibrate did not run"):
        model.explain(inputs())


def test_training_separates_colours_and_forgets_old_pictures() -> None:
    stages = [
        {"name": "train", "epochs": 25, "train": ["encoder", "decoder", "prototypes"]},
        {"name": "calibrate"},
        {"name": "draw"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    model = zoo.create_model("probpsenn", domain=COLOURS, widths=[16, 16, 8], recipe={"stages": stages, "lr": 5e-3})
    trainer = fit(model, ToyData())
    assert trainer.callback_metrics["val/accuracy"] > 0.9
    assert model.decoded.calibrated and model.decoded.drawn
    deviation = model.prototypes.deviation()
    assert (deviation.log() - math.log(0.1)).abs().max() > 0.03  # it learned
    model.on_stage_start(model.stages[0])
    assert not model.decoded.calibrated and model.units()[0].picture is None


def test_recipes_and_settings_are_checked() -> None:
    stages = [{"name": "draw"}, {"name": "train", "epochs": 1, "train": ["encoder"]}]
    model = zoo.create_model("probpsenn", domain=COLOURS, widths=[4], recipe={"stages": stages})
    with pytest.raises(ValueError, match="lacks calibrate and draw after its last training"):
        fit(model, ToyData())
    for options, message in (
        ({"widths": []}, "expected widths"),
        ({"samples": 0}, "at least 1; got"),
        ({"deviation": 0.0}, "deviation > 0 \\(or None for points\\)"),
        ({"coverage": 1.5}, "0 < coverage <= 1; got 0.1, 1.0 and 1.5"),
        ({"domain": ImageDomain(classes=("one",), size=(8, 8))}, "two or more classes; got 1"),
    ):
        with pytest.raises(ValueError, match=message):
            zoo.create_model("probpsenn", **{"domain": COLOURS, **options})
