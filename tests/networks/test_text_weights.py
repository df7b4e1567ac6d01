"""Text encoders of packages: read by name, tuned in their last layers, cached if frozen, not stored again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

import zoo
from tests.hostile import no_network
from tests.subwords import BERT, transformers, wordpiece
from tests.weight_package import make_text_package
from zoo.checkpoints.config_file import WEIGHTS, read_config
from zoo.checkpoints.shared_backbone import in_packages
from zoo.checkpoints.verify import verify
from zoo.data.base.text import TextData, Texts
from zoo.domain import TextDomain, read_tokenizer
from zoo.domain.text import PAD
from zoo.networks.elements import Elements
from zoo.networks.encoders import create_encoder
from zoo.networks.weights import without_weights
from zoo.training.black_box import BlackBox
from zoo.training.black_box_file import load_network, save_network
from zoo.training.cached_features import CachedFeatures
from zoo.training.distillation import copy_weights
from zoo.utils.weight_packages import PACKAGES, installed_file

TEXTS = ("good unbelievable food !", "bad", "the place was loud . good pizza")
FROZEN = {"stages": [{"name": "train", "epochs": 1, "train": ["concepts", "head"]}]}
STAGES = {"stages": [{"name": "train", "epochs": 1, "train": ["backbone", "concepts", "head"]}]}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    no_network(monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return make_text_package(tmp_path / "site", monkeypatch)


def domain(length: int = 10, tokenizer: str = "") -> TextDomain:
    options: dict[str, Any] = {"concepts": ("no", "yes"), "concept_groups": {"c": ("no", "yes")}, "exclusive": ("c",)}
    return TextDomain(classes=("a", "b"), tokenizer=tokenizer or wordpiece(), length=length, **options)


def batch(texts: TextDomain) -> Tensor:
    return torch.stack([texts.preprocess(text) for text in TEXTS])


def test_a_package_gives_tokenizer_and_weights(tiny: Path) -> None:
    texts = domain(tokenizer=read_tokenizer("tiny"))
    named, by_path = (create_encoder({"name": "hf", "model": m}, texts).eval() for m in ("tiny", str(tiny)))
    torch.testing.assert_close(named(batch(texts)), by_path(batch(texts)))
    file = tiny / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "embeddings.LayerNorm.bias": tensors["embeddings.LayerNorm.bias"] + 1}, file)
    with pytest.raises(ValueError, match=r"does not hold the known weights of tiny: its tensors have the SHA-256"):
        create_encoder({"name": "hf", "model": "tiny"}, texts)


def c3m(recipe: dict[str, Any], **backbone: Any) -> zoo.SelfInterpretable:
    torch.manual_seed(0)
    spec = {"name": "hf", "model": "tiny", **backbone}
    return zoo.create_model("c3m", domain=domain(), backbone=spec, recipe=recipe).eval()


@pytest.mark.parametrize("tune", [0, 1])
def test_a_checkpoint_stores_what_learned_alone(tune: int, tiny: Path, tmp_path: Path) -> None:
    model: Any = c3m(STAGES if tune else FROZEN, tune=tune)
    learning = {name for name, parameter in model.backbone.named_parameters()} if tune else set()
    assert all(".layer.1." in name for name in learning)
    with torch.no_grad():
        for name in learning:
            model.backbone.get_parameter(name).add_(0.1)
    assert in_packages(model)
    path = zoo.save(model, tmp_path / "one", share_backbone=True)
    assert read_config(path)["backbones"]["backbone"]["weights"] == "tiny"
    assert {n.removeprefix("backbone.") for n in load_file(path / WEIGHTS) if n.startswith("backbone.")} == learning
    loaded = zoo.load(path)
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert verify(path) == 0
    tiny.with_name("model").rename(tiny.with_name("gone"))
    with pytest.raises(ValueError, match="is installed, but has no file"):
        zoo.load(path)
    (tiny.parents[1] / "fake_weights-1.0.dist-info" / "METADATA").unlink()
    (tiny.parents[1] / "fake_weights-1.0.dist-info").rename(tiny.parents[1] / "none")
    with pytest.raises(FileNotFoundError, match=r"uses the weights of tiny, which are not on this machine: pip"):
        zoo.load(path)


def test_only_the_last_layers_learn() -> None:
    texts = domain()
    found: Any = create_encoder({"name": "hf", "config": BERT, "tune": 1}, texts).train()
    assert {name.partition("layer.1.")[0] for name, _ in found.named_parameters()} == {"network.encoder."}
    dropout = [m.training for m in found.modules() if isinstance(m, torch.nn.Dropout)]
    assert any(dropout) and not all(dropout)
    assert without_weights(found.spec) == found.spec and found.spec["tune"] == 1
    with pytest.raises(ValueError, match="cannot tune the last 3 layers of BertModel: it has 2 layers"):
        create_encoder({"name": "hf", "config": BERT, "tune": 3}, texts)


def test_words_left_out_are_as_words_hidden() -> None:
    texts = domain()
    found: Any = create_encoder({"name": "hf", "config": BERT}, texts).eval()
    x = batch(texts)
    shown = (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5) & (x != PAD)
    place = shown.byte().argsort(dim=1, descending=True, stable=True)
    words = x.gather(1, place).masked_fill(~shown.gather(1, place), PAD)
    with torch.no_grad():
        torch.testing.assert_close(found(words, place), found(x.masked_fill(~shown, PAD)))


def test_the_pieces_of_a_word_are_one_element() -> None:
    texts = domain()
    x = batch(texts)
    assert texts.word_numbers(x)[0].tolist() == [0, 1, 1, 1, 2, 3, -1, -1, -1, -1]
    elements = Elements(texts)
    present = elements.present(x)
    assert present is not None and present.sum(1).tolist() == [4, 1, 7]
    mask = torch.zeros(3, 1, 10, dtype=torch.bool)
    mask[0, 0, 1] = True
    assert elements.support(mask, x)[0, 0].tolist() == [False, True, True, True] + [False] * 6
    assert texts.words(elements.hide(x, mask[:, 0], "zero")[0]) == ["unbelievable"]
    states = torch.arange(10.0).view(1, 10, 1).expand(3, -1, -1)
    assert elements.average(states, x)[0, :4, 0].tolist() == [0, 2, 4, 5]


def test_groups_are_of_whole_words() -> None:
    torch.manual_seed(0)
    model = zoo.create_model(
        "sop",
        domain=domain(),
        backbone={"name": "hf", "config": BERT},
        grouping={"groups": 2, "size": 0.5},
        masking={"tokens": "dropped"},
    ).eval()
    x = batch(model.domain)
    support = model.explain(x).support
    assert support is not None and support.shape == (3, 2, 10)
    assert (support[0, :, 1:4].sum(1) % 3 == 0).all()  # all of the three pieces, or none


class Reviews(TextData):
    def read(self) -> dict[str, Texts]:
        part = Texts(list(TEXTS) * 2, ["a", "b", "a"] * 2, {"c": ["no", "yes", ""] * 2}, list("uvwxyz"))
        return dict.fromkeys(("train", "val", "test"), part)


def test_features_of_a_frozen_encoder_are_cached(tiny: Path, tmp_path: Path) -> None:
    data = Reviews(10, tokenizer="tiny", batch_size=4)
    model: Any = zoo.create_model(
        "c3m", domain=data.domain, backbone={"name": "hf", "model": "tiny"}, recipe=FROZEN
    ).eval()
    cached = CachedFeatures(data, model, tmp_path)
    (items,) = [cached.val_dataloader().dataset]
    images = data.val_dataset()
    with torch.no_grad():
        for i in range(3):
            expected = model.backbone(images[i]["input"][None])[0]
            torch.testing.assert_close(items[i]["input"], expected, rtol=1e-2, atol=1e-2)
    learning = zoo.create_model(
        "c3m", domain=data.domain, backbone={"name": "hf", "model": "tiny", "tune": 1}, recipe=STAGES
    )
    with pytest.raises(ValueError, match="one pretrained backbone that stays frozen; 1 found, and it learns in train"):
        CachedFeatures(data, learning, tmp_path)


def test_the_real_encoder_is_that_of_the_library() -> None:
    """Against a plain forward of `transformers` with the mean over the words."""
    package = PACKAGES[-1]
    if (file := installed_file(package)) is None:
        pytest.skip(f"needs the weights: {package.install}")
    library = transformers()
    texts = TextDomain(classes=("a", "b"), tokenizer=read_tokenizer(package.network), length=20)
    found = create_encoder({"name": "hf", "model": package.network}, texts).eval()
    plain = library.AutoModel.from_pretrained(file.parent).eval()
    sentences = ["An unflinchingly bleak, desperate film.", "It's great"]
    tokens = library.AutoTokenizer.from_pretrained(file.parent)(sentences, padding=True, return_tensors="pt")
    words = tokens["attention_mask"].clone()
    words[:, 0] = 0
    words.scatter_(1, tokens["attention_mask"].sum(1, keepdim=True) - 1, 0)
    with torch.no_grad():
        h = plain(**tokens).last_hidden_state
        expected = (h * words[..., None]).sum(1) / words.sum(1, keepdim=True)
        torch.testing.assert_close(found(torch.stack([texts.preprocess(s) for s in sentences])), expected)


def test_a_black_box_is_read_without_its_package_and_gives_its_weights(tiny: Path, tmp_path: Path) -> None:
    spec = {"name": "hf", "model": "tiny", "tune": 1}
    twin, student = BlackBox(domain(), spec).eval(), c3m(STAGES, tune=1)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.1)
    file = save_network(twin, twin.arguments, tmp_path)
    tiny.with_name("model").rename(tiny.with_name("gone"))
    network = load_network(file)
    assert torch.equal(network(batch(domain())), twin(batch(domain())))
    copy_weights(network, student)
    held = student.state_dict()
    assert all(torch.equal(held[name], t) for name, t in twin.state_dict().items() if name.startswith("backbone."))
