"""Checkpoints whose weights have former names."""

import torch

from zoo.checkpoints.former_names import current_weights


def test_prefixes_are_replaced_where_the_model_has_no_such_weight() -> None:
    former = {"alive": "prototypes.alive", "prototypes": "prototypes.vectors", "patches": "patches.examples"}
    needed = {"prototypes.alive", "prototypes.vectors", "patches.first.index", "patches.examples.index", "head.weight"}
    stored = ("alive", "prototypes::values", "prototypes::shape", "patches.first.index", "patches.index", "head.weight")
    found = current_weights({name: torch.tensor(i) for i, name in enumerate(stored)}, needed, former)
    assert {name: int(value) for name, value in found.items()} == {
        "prototypes.alive": 0,
        "prototypes.vectors::values": 1,
        "prototypes.vectors::shape": 2,
        "patches.first.index": 3,
        "patches.examples.index": 4,
        "head.weight": 5,
    }
    assert set(current_weights(found, needed, former)) == set(found)  # what is current stays


def test_unknown_weights_keep_their_names() -> None:
    assert set(current_weights({"aliveness": torch.zeros(1)}, set(), {"alive": "new"})) == {"aliveness"}
