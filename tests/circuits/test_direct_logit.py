"""DirectLogit: its units against an independent formula, its scores against the black box."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from tests.small_models import IMAGES, SENTENCES, TINY_VIT, build, domain_of, inputs_of
from tests.subwords import BERT, wordpiece
from zoo.circuits import DirectLogit
from zoo.circuits.analysis.direct_logits import split
from zoo.networks.base import Features
from zoo.networks.classifiers import register_classifier
from zoo.networks.encoders import create_encoder
from zoo.networks.residual_stream import stream_of
from zoo.training.black_box import BlackBox

VIT = {**TINY_VIT, "embed_dim": 8}
TEXT = {"name": "transformer", "width": 8, "layers": 2, "heads": 2}
BACKBONES: dict[str, dict[str, Any]] = {
    "class token": {**VIT, "pool": "token"},
    "mean of normed states": {**VIT, "pool": "mean"},
    "norm of the mean": {**VIT, "pool": "mean", "fc_norm": True, "class_token": True},
    "mean over the map": VIT,
    "extras": {**VIT, "pool": "token", "qk_norm": True, "init_values": 0.3, "reg_tokens": 2, "pre_norm": True},
    "no biases": {**VIT, "pool": "token", "qkv_bias": False, "proj_bias": False, "no_embed_class": True},
    "text": TEXT,
    "padded text": {**TEXT, "pooling": "padded"},
    "text of BERT": {"name": "hf", "config": BERT},
    "classifier of text of BERT": {"name": "hf", "config": BERT, "pooling": "first", "pooler": "tanh"},
    "converted": {"name": "small.py:vit", "layer": "network.head", "head": "network.head", "form": "vector"},
}


def small_vit() -> nn.Module:
    """A network as a user may have it."""
    return VisionTransformer((12, 10), 2, 3, 3, global_pool="avg", embed_dim=8, depth=2, num_heads=2)


def spread(network: nn.Module) -> None:
    """Draws all parameters anew, so that no bias is 0, no norm is neutral and no head is like another."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@pytest.fixture(params=BACKBONES)
def black_box(request: pytest.FixtureRequest) -> BlackBox:
    torch.manual_seed(0)
    domain = domain_of("text" if "text" in request.param else "image", False)
    if request.param == "converted":
        register_classifier("small.py:vit", small_vit)
    if "BERT" in request.param:
        domain = replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())
    made = BlackBox(domain, BACKBONES[request.param]).eval()
    spread(made)
    return made


@torch.no_grad()
def test_scores_are_those_of_the_black_box_however_they_are_split(black_box: BlackBox) -> None:
    x, before = inputs_of(black_box.domain, "random"), copy.deepcopy(black_box.state_dict())
    expected = black_box(x)
    for units in ("head", "token", "layer", "head_and_token"):
        model = DirectLogit.from_black_box(black_box, units=units)
        torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
        model.explain(x).check()
        spread(model)  # of its own weights alone
    assert all(torch.equal(value, before[name]) for name, value in black_box.state_dict().items())


@torch.no_grad()
def test_components_are_those_of_an_independent_computation() -> None:
    """Head by head and token by token in double precision, by timm's own modules and loops."""
    torch.manual_seed(0)
    encoder: Any = create_encoder({**VIT, "pool": "token", "init_values": 0.5}, IMAGES).double().eval()
    head = nn.Linear(8, 3).double()
    spread(encoder)
    x = torch.randn(2, 3, 12, 10, dtype=torch.double)
    found, bias = split(stream_of(encoder, x), head, encoder)
    total = found.per_component()
    torch.testing.assert_close(total.sum(1) + bias, head(encoder(x)), rtol=1e-10, atol=1e-10)

    network, norm = encoder.network, encoder.network.norm
    h = network._pos_embed(network.patch_embed(x))
    heads, feeds, attention_bias, embedding = [], [], torch.zeros(8, dtype=torch.double), h[:, 0]
    for block in network.blocks:
        q, k, v = block.attn.qkv(block.norm1(h)).chunk(3, 2)
        for m in range(2):
            at = slice(4 * m, 4 * m + 4)
            pattern = (q[..., at] @ k[..., at].mT / 2).softmax(2)
            # (B, j, D): what the class token gets from each source j by this head
            each = [pattern[:, 0, j, None] * v[:, j, at] @ block.attn.proj.weight[:, at].T for j in range(31)]
            heads.append(torch.stack(each, 1) * block.ls1.gamma)
        attention_bias = attention_bias + block.attn.proj.bias * block.ls1.gamma
        h = h + block.ls1(block.attn(block.norm1(h)))
        feeds.append(block.ls2(block.mlp(block.norm2(h)))[:, 0])
        h = h + block.ls2(block.mlp(block.norm2(h)))
    sigma = (h[:, 0].var(1, correction=0) + norm.eps).sqrt()

    def scores(component: Tensor) -> Tensor:  # (B, D) to (B, C)
        return ((component - component.mean(1, keepdim=True)) / sigma[:, None] * norm.weight) @ head.weight.T

    parts = [embedding, *(each.sum(1) for each in heads), *feeds, attention_bias.expand(2, -1)]
    torch.testing.assert_close(total, torch.stack([scores(part) for part in parts], 1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(bias, (norm.bias @ head.weight.T + head.bias).expand(2, -1), rtol=1e-10, atol=1e-10)
    target = torch.tensor([2, 0])
    third = torch.stack([scores(heads[2][:, j])[[0, 1], target] for j in range(31)], 1)
    torch.testing.assert_close(found.maps(target)[:, 3], third, rtol=1e-10, atol=1e-10)
    each = found.per_head_and_position()[:, 1:-3].unflatten(1, (4, 31))
    torch.testing.assert_close(each[[0, 1], 2, :, target], third, rtol=1e-10, atol=1e-10)
    assert torch.allclose(found.per_layer().sum(1), found.per_position(), rtol=1e-10)


@torch.no_grad()
def test_sources_add_up_to_contributions_of_heads_and_of_tokens() -> None:
    small = build("direct_logit")
    model, x = small.model, small.inputs
    told = model.explain(x)
    sources = told.details["sources"]
    assert told.contributions is not None and sources.shape == (5, 1 + 4 + 2 + 1, 31)
    torch.testing.assert_close(sources.sum(2), told.contributions, rtol=1e-4, atol=1e-5)
    by_token = DirectLogit.from_black_box(model, units="token").explain(x)
    torch.testing.assert_close(sources.sum(1), by_token.contributions, rtol=1e-4, atol=1e-5)
    assert told.support is not None and not told.support[:, 0].any()  # only the class token's embedding is read


@torch.no_grad()
def test_training_and_features_that_were_kept_give_the_same_scores() -> None:
    small = build("direct_logit")
    model: Any = small.model
    kept = model.backbone(small.inputs).as_subclass(Features)
    torch.testing.assert_close(model.step(kept)[0], model(small.inputs))
    torch.testing.assert_close(copy.deepcopy(model).train()(small.inputs), model(small.inputs))


@torch.no_grad()
def test_the_last_layer_of_bert_by_the_librarys_own_modules() -> None:
    torch.manual_seed(0)
    domain = replace(SENTENCES, vocabulary=(), tokenizer=wordpiece())
    model: Any = DirectLogit(domain, {"name": "hf", "config": BERT}).eval()
    spread(model)
    x = domain.preprocess("good food")[None]  # [CLS] good food [SEP]
    told = model.explain(x)
    network = model.backbone.network
    h = network(input_ids=torch.tensor([[2, 4, 6, 3]]), output_hidden_states=True).hidden_states[-2]
    block, out = network.encoder.layer[-1].attention, network.encoder.layer[-1].output
    first, mixed = block.output.LayerNorm, block.self(h)[0]

    def centred(values: Tensor) -> Tensor:
        return values - values.mean(-1, keepdim=True)

    u = h + block.output.dense(mixed)
    one = (u.var(2, correction=0, keepdim=True) + first.eps).sqrt()
    v = first(u)
    mlp = out.dense(network.encoder.layer[-1].intermediate(v))
    two = ((v + mlp).var(2, correction=0, keepdim=True) + out.LayerNorm.eps).sqrt()

    def score(values: Tensor) -> Tensor:  # (1, 4, D) to the target's score of the mean over the two words
        states = centred(values) / two * out.LayerNorm.weight
        return states[0, 1:3].mean(0) @ model.head.weight[told.target[0]]

    weights = block.output.dense.weight.T
    parts = [h, *(mixed[..., at] @ weights[at] for at in (slice(0, 4), slice(4, 8)))]
    expected = [score(centred(part) / one * first.weight) for part in parts]
    expected += [score(mlp), score(centred(block.output.dense.bias) / one * first.weight + first.bias)]
    assert told.contributions is not None
    torch.testing.assert_close(told.contributions[0], torch.stack(expected), rtol=1e-4, atol=1e-5)
    names = [unit.name for unit in told.units]
    assert names == ["input of layer 2", *(f"layer 2 {n}" for n in ("head 1", "head 2", "MLP")), "attention biases"]
    sources = told.details["sources"][0]
    assert sources[1, :4].all() and not sources[:, 4:].any()  # [CLS], [SEP], two words
    assert not sources[0, :2].any()  # special tokens are not pooled


@torch.no_grad()
def test_padding_and_texts_without_words_change_nothing() -> None:
    model = build("direct_logit", "text").model
    texts = torch.stack([SENTENCES.preprocess(text) for text in ("good food", "quiet")])
    assert (model.explain(texts).details["sources"][0, :, 2:] == 0).all()
    empty = torch.zeros_like(texts)
    torch.testing.assert_close(model(empty), DirectLogit.from_black_box(model, units="token")(empty))
    model.explain(empty).check()


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"name": "convnet", "widths": [8]}, "residual stream of a transformer .*; got Sequential"),
        ({**VIT, "pool": "token", "norm_layer": "rmsnorm"}, "one final norm, a LayerNorm; this network has RmsNorm"),
        ({**VIT, "pool": "token", "scale_attn_norm": True}, "attention that is linear in its values"),
        ({"name": "deit_tiny_distilled_patch16_224", "pool": "token"}, "is a VisionTransformerDistilled"),
        ({**VIT, "pool": "mean", "patch_size": 3}, r"patches of \(3, 3\) pixels do not fill images of \(12, 10\)"),
        ({**VIT, "pool": "max"}, "pool must be one of token, mean"),
        ({**VIT, "pool": "token", "num_heads": 3}, "timm cannot build .* Correct or remove"),
        ({**VIT, "pool": "token", "depht": 3}, "has no option 'depht'"),
    ],
)
def test_networks_that_are_no_such_sum_are_refused(backbone: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        DirectLogit(IMAGES, backbone)
