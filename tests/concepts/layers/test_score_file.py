"""Files of concept scores: what cannot be read or written."""

from pathlib import Path

import pytest
import torch

from zoo.concepts.layers.score_file import read_scores, save_scores


def test_file_that_holds_no_scores(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no concept scores at .*; create them with `train.py score-concepts`"):
        read_scores(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"not this")
    with pytest.raises(ValueError, match="is not an intact safetensors file"):
        read_scores(tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"scores must be \(items, concepts\) = \(1, 2\); got \(3, 2\)"):
        save_scores(tmp_path / "x.safetensors", torch.zeros(3, 2), ["a", "b"], ["i"])
