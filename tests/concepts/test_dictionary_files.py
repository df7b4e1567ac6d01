"""Dictionaries in the layout of SAELens, against the formulas of its encoders."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo
from tests import toy
from zoo.concepts import SparseCode
from zoo.concepts.layers.code_kinds import make_dictionary
from zoo.concepts.layers.dictionary_files import CONFIG, WEIGHTS, read_dictionary, rebase, write_dictionary
from zoo.concepts.layers.sparse_codes import CodeOptions

D, M = 5, 12


def tensors(seed: int = 0, unit: bool = False) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random)  # noqa: E731
    found = {"W_enc": draw(D, M), "W_dec": draw(M, D), "b_enc": 0.3 * draw(M), "b_dec": draw(D)}
    if unit:
        found["W_dec"] /= found["W_dec"].norm(dim=1, keepdim=True)
    return found | {"threshold": 0.5 * draw(M)}  # some below 0


def folder(path: Path, weights: dict[str, Tensor], **config: Any) -> Path:
    path.mkdir(exist_ok=True)
    save_file({name: t.contiguous() for name, t in weights.items()}, path / WEIGHTS)
    (path / CONFIG).write_text(json.dumps({"d_in": D, "d_sae": M, "normalize_activations": "none", **config}))
    return path


def published(x: Tensor, w: dict[str, Tensor], config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Activations and reconstruction by the formulas of the library."""
    shifted = x - w["b_dec"] if config.get("apply_b_dec_to_input", True) else x
    scores, lengths = shifted @ w["W_enc"] + w["b_enc"], w["W_dec"].norm(dim=1)
    if config["architecture"] == "jumprelu":
        acts = scores.relu() * (scores > w["threshold"])
    elif config["architecture"] == "topk":
        rescaled = config.get("rescale_acts_by_decoder_norm", False)
        scores = scores * lengths if rescaled else scores
        kept = torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(config["k"], 1).indices, True)
        acts = scores.relu() * kept / (lengths if rescaled else 1)
    else:
        acts = scores.relu()
    return acts, acts @ w["W_dec"] + w["b_dec"]


CASES = (
    {"architecture": "standard"},
    {"architecture": "standard", "apply_b_dec_to_input": False},
    {"architecture": "jumprelu", "apply_b_dec_to_input": False},
    {"architecture": "topk", "k": 3},
    {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True},
)


@pytest.mark.parametrize("config", CASES, ids=lambda c: "-".join(map(str, c.values())))
def test_codes_and_reconstructions_are_those_of_the_library(config: dict[str, Any], tmp_path: Path) -> None:
    weights = tensors(unit=config.get("k") == 3 and "rescale_acts_by_decoder_norm" not in config)
    found = read_dictionary(folder(tmp_path / "sae", weights, **config))
    x = 2 * torch.randn(50, D, generator=torch.Generator().manual_seed(1))
    acts, made = published(x, weights, config)
    for step in range(2):
        code = found(x).code
        torch.testing.assert_close(code, acts * weights["W_dec"].norm(dim=1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(code @ found.atoms + found.bias, made, atol=1e-5, rtol=1e-4)
        if step == 0:
            rebase(found, x.mean(0), torch.tensor(3.0))  # changes nothing


@pytest.mark.parametrize("kind", ["vanilla", "topk", "batch_topk", "jumprelu"])
def test_what_is_written_is_read_back_with_equal_codes(kind: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    code = make_dictionary(D, CodeOptions(kind=kind, atoms=M, active=3))
    x = 2 * torch.randn(40, D) + 1
    code.centre(x.mean(0), torch.tensor(2.5))
    with torch.no_grad():
        code.offset.normal_()
        code.encoder.bias.normal_(std=0.1)
    code(x)  # the first batch sets the threshold of BatchTopK
    code.eval()
    write_dictionary(code, tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    acts, made = published(x, load_file(tmp_path / WEIGHTS), config)
    expected = code(x).code
    assert (expected > 0).any()
    torch.testing.assert_close(acts, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(made, expected @ code.atoms + code.bias, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(read_dictionary(tmp_path)(x).code, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["mp", "snmf"])
def test_kinds_without_an_encoder_are_not_written(tmp_path: Path, kind: Any) -> None:
    with pytest.raises(ValueError, match=f"the kind {kind} has no encoder"):
        write_dictionary(make_dictionary(D, CodeOptions(kind=kind, atoms=M, active=3)), tmp_path)


BROKEN: tuple[tuple[dict[str, Any], str], ...] = (
    ({"architecture": "gated"}, "has the architecture 'gated'; standard, topk, jumprelu can be read"),
    ({"architecture": "standard", "normalize_activations": "layer_norm"}, "normalize_activations is 'layer_norm'"),
    ({"architecture": "topk", "k": 3}, "are chosen before they are scaled"),
    ({"architecture": "topk", "rescale_acts_by_decoder_norm": True}, "k must be a number of atoms from 1 to 12"),
    ({"architecture": "standard", "d_sae": 13}, r"'W_enc' must have the shape \(5, 13\), as cfg.json says; got \(5, 1"),
)


@pytest.mark.parametrize(("config", "message"), BROKEN)
def test_what_has_no_counterpart_is_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_dictionary(folder(tmp_path / "sae", tensors(), **config))


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_dictionary(tmp_path / "nowhere")
    made = folder(tmp_path / "sae", tensors() | {"b_enc": torch.full((M,), torch.nan)}, architecture="standard")
    with pytest.raises(ValueError, match="'b_enc' has NaN or infinite values"):
        read_dictionary(made)
    (made / WEIGHTS).write_bytes(b"pickle")
    with pytest.raises(ValueError, match="is not an intact safetensors file"):
        read_dictionary(made)
    for text in ("{", "[1]"):
        (made / CONFIG).write_text(text)
        with pytest.raises(ValueError, match=r"is damaged|holds no mapping"):
            read_dictionary(made)


BACKBONE = {"name": "convnet", "widths": [D], "strided": [2]}


def test_a_sparse_code_starts_from_a_dictionary_and_its_checkpoint_needs_no_folder(tmp_path: Path) -> None:
    made = folder(tmp_path / "sae", tensors(), architecture="jumprelu")
    stages = [
        {"name": "head", "epochs": 1, "train": ["head"]},
        {"name": "centre"},
        {"name": "gallery"},
        {"name": "measure", "epochs": 1, "train": []},
    ]
    code = {"kind": "jumprelu", "atoms": M, "source": str(made)}
    options = {"gallery_size": 1, "thumbnail": 6, "recipe": {"stages": stages}}
    model = SparseCode(toy.COLOURS, BACKBONE, code, head="explaining", **options)
    toy.fit(model, data := toy.ToyData())
    model.eval()
    x = data.val.inputs
    with torch.no_grad():
        cells = model.backbone(x).flatten(2).mT.flatten(0, 1)
    expected = read_dictionary(made)(cells).code
    assert (expected > 0).any() and model.code.mean.abs().sum() > 0  # of the features, by `centre`
    torch.testing.assert_close(model.code(cells).code, expected, atol=1e-5, rtol=1e-4)
    scores = model(x)
    torch.testing.assert_close(scores, model.head(model.backbone(x).mean((2, 3))), atol=1e-5, rtol=1e-4)
    model.explain(x).check()
    zoo.save(model, tmp_path / "checkpoint")
    made.rename(tmp_path / "gone")
    torch.testing.assert_close(zoo.load(tmp_path / "checkpoint")(x), scores)


def test_options_other_than_those_of_the_file_are_refused(tmp_path: Path) -> None:
    made = folder(tmp_path / "sae", tensors(unit=True), architecture="topk", k=3)
    for code in ({"kind": "topk", "atoms": M, "active": 4}, {"kind": "vanilla", "atoms": M}):
        with pytest.raises(ValueError, match=r"its options are code: \{kind: topk, atoms: 12, active: 3\}"):
            SparseCode(toy.COLOURS, BACKBONE, {**code, "source": str(made)})
