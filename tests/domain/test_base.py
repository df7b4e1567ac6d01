"""Domains as plain data and back, and names of classes."""

import json
from typing import Any

import pytest

from zoo.domain import Domain, ImageDomain

BIRDS = ImageDomain(classes=("crow", "gull", "wren"), size=(4, 6))


def test_plain_data_and_back() -> None:
    domain = ImageDomain(
        classes=("crow", "gull"),
        concepts=("black", "white"),
        size=(4, 6),
        channels=1,
        mean=(0.1,),
        std=(0.2,),
        resize="crop",
        crop_fraction=0.875,
    )
    plain = domain.to_dict()
    assert plain["modality"] == "image" and plain["classes"] == ["crow", "gull"] and plain["size"] == [4, 6]
    assert Domain.from_dict(json.loads(json.dumps(plain))) == domain
    assert Domain.from_dict(domain) is domain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modality": "smell"}, "unknown modality 'smell' of a domain; known: .*image"),
        ({"modality": None}, "unknown modality None"),
        ({"clases": ["a"]}, "a domain of images has no key 'clases'; did you mean 'classes'\\?"),
        (
            {"zzz": 1},
            "a domain of images has no key 'zzz'; there are: classes, concepts, .*restored\\.",
        ),
        ({"classes": []}, "at least one class name; got none"),
        ({"classes": ["a", "b", "a"]}, "class names must differ; 'a' occurs more than once"),
        ({"task": "ranking"}, "task must be one of classification, multilabel, regression; got 'ranking'"),
        ({"channels": 0}, "channels must be at least 1; got 0"),
        ({"channels": 1}, "one number for each of 1 channels; got 3 and 3"),
        ({"std": [1.0, 1.0]}, "one number for each of 3 channels; got 3 and 2"),
        ({"std": [1.0, 0.0, 1.0]}, "std must be above 0; got \\(1.0, 0.0, 1.0\\)"),
        ({"size": [8]}, "size must be \\(height, width\\) in pixels; got \\(8,\\)"),
        ({"size": [8, 0]}, "size must be \\(height, width\\) in pixels; got \\(8, 0\\)"),
        ({"resize": "pad"}, "resize must be 'squash' or 'crop'; got 'pad'"),
        ({"crop_fraction": 0}, "crop_fraction must be in \\(0, 1\\]; got 0"),
        ({"crop_fraction": 1.5}, "crop_fraction must be in \\(0, 1\\]; got 1.5"),
    ],
)
def test_domain_that_cannot_be_right_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Domain.from_dict({**BIRDS.to_dict(), **change})


def test_classes_by_name_and_number() -> None:
    assert BIRDS.class_index("gull") == 1 and BIRDS.class_index(2) == 2
    with pytest.raises(ValueError, match=r"no class named 'gul'; did you mean 'gull'\?"):
        BIRDS.class_index("gul")
    with pytest.raises(ValueError, match=r"no class named 'ostrich'; there are: crow, gull, wren\."):
        BIRDS.class_index("ostrich")
    for number in (3, -1):
        with pytest.raises(ValueError, match=f"target {number} is out of range; there are 3 classes, 0 to 2"):
            BIRDS.class_index(number)
    many = ImageDomain(classes=tuple(map(str, range(100, 120))), size=(4, 4))
    with pytest.raises(ValueError, match=r"there are: 100, .*, 111, \.\.\. \(20 in all\)"):
        many.class_index("x")
