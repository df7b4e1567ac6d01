"""Specifications of networks without the weights that they name."""

import pytest

from zoo.networks.weights import without_weights


def test_weights_are_left_out_at_any_depth() -> None:
    spec = {"name": "resnet18", "pretrained": True, "weights": "w.safetensors", "pad_type": "same"}
    assert without_weights(spec) == {"name": "resnet18", "pad_type": "same"}
    assert without_weights({"image": {"inner": [spec, 3]}, "sizes": [1, 2]}) == {
        "image": {"inner": [{"name": "resnet18", "pad_type": "same"}, 3]},
        "sizes": [1, 2],
    }
    assert spec["pretrained"] is True  # a copy


@pytest.mark.parametrize("spec", ["resnet18", None, 3, {"weights": "correlation"}, {"name": "mlp", "widths": [4]}])
def test_what_names_no_weights_is_kept(spec: object) -> None:
    assert without_weights(spec) == spec


def test_a_text_encoder_is_built_from_its_config() -> None:
    spec = {"name": "hf", "model": "some/bert", "config": {"model_type": "bert"}, "pooling": "masked"}
    assert without_weights(spec) == {"name": "hf", "config": {"model_type": "bert"}, "pooling": "masked"}
    with pytest.raises(ValueError, match=r"'encoder.model' is 'some/bert', outside of the checkpoint; a checkpoint"):
        without_weights({"name": "hf", "model": "some/bert"}, "encoder")
