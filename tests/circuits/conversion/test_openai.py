"""Published weight-sparse transformers give their own logits here."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from tests.circuits.conversion.published import CONFIG, LENGTH, VOCABULARY, logits, weights
from zoo.circuits import from_openai, openai_tokenizer
from zoo.circuits.conversion.openai_tokenizer import published_order

END = VOCABULARY - 1
TOKENS = [3, 0, END, 17, 5, 5, 21]
KINDS = {
    "positions added": {},
    "position channels": {"d_pos_emb": 5},
    "no sink, four sites": {"sink": False, "afrac_loctypes": "attn_in,attn_out,mlp_in,mlp_out", "d_pos_emb": 4},
    "dense, no table": {"afrac": None, "enable_bigram_table": False},
}


def converted(config: dict[str, Any], state: dict[str, Tensor], **options: Any) -> tuple[Any, Tensor]:
    """The model in float64, and TOKENS by its own numbers."""
    model = from_openai(state, config, **options).double()
    order = published_order(VOCABULARY, options.get("end") or END).tolist()
    return model, torch.tensor([[order.index(t) + 1 for t in TOKENS]])


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_the_logits_are_those_of_the_formula(options: dict[str, Any]) -> None:
    config = {**CONFIG, **options}
    state = weights(config)
    model, tokens = converted(config, state)
    trace = model.network.trace()
    residual = model.network(tokens, trace, torch.zeros(1, dtype=torch.long))[0]
    found = model.network.logits(residual, tokens)[0]
    order = published_order(VOCABULARY, END)
    torch.testing.assert_close(found[:, 1:], logits(config, state, TOKENS)[:, order], rtol=1e-10, atol=1e-10)
    assert bool((found[:, 0] < -9000).all())  # padding never follows


def test_a_converted_model_explains_and_is_saved(tmp_path: Any) -> None:
    config = {**CONFIG, "d_pos_emb": 5}
    state = {**weights(config), "transformer.h.0.attn.bias": torch.ones(1, 1, LENGTH, LENGTH)}  # a causal mask
    model = from_openai({name: t.float() for name, t in state.items()}, config)
    prompt = model.domain.preprocess("3 0 17 5")[None]
    why = model.explain(prompt)
    why.check()
    expected = logits(config, state, [3, 0, 17, 5])[-1]
    assert why.target_names[0] == repr(str(int(expected[:END].argmax()))) or int(expected.argmax()) == END
    zoo.save(model, tmp_path / "released")
    again = zoo.load(tmp_path / "released")
    torch.testing.assert_close(again(prompt), model(prompt))
    assert again.sparsity == model.sparsity


def test_tables_of_zeros_are_no_positions() -> None:
    state = weights(CONFIG)
    state["transformer.wpe.weight"].zero_()
    assert from_openai(state, CONFIG).network.positions is None


def test_the_tokenizer_keeps_the_published_tokens() -> None:
    letters = list("abcdefgh")
    encoder = {piece: n for n, piece in enumerate([*letters, "Ġ", "ab", "abc"])}
    text = openai_tokenizer(encoder, ["#version: 0.2", "a b", "ab c"])
    domain = from_openai(*_of_size(12), tokenizer=text).domain
    # Published numbers 10, 9, 8, 3; two come before them here.
    assert domain.encode("abcab d") == [12, 11, 10, 5]
    assert domain.texts[1] == "<|end|>" and domain.texts[12] == "abc"
    assert json.loads(text)["model"]["vocab"]["h"] == 9


def _of_size(vocabulary: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and config with fewer tokens."""
    state, tables = weights(CONFIG), ("transformer.wte.weight", "lm_head.weight", "final_logits_bias", "bigram_table")
    state |= {name: state[name][:vocabulary] for name in tables}
    state["bigram_table"] = state["bigram_table"][:, :vocabulary]
    return state, {**CONFIG, "vocab_size": vocabulary}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rms_norm": False}, "only networks with rms_norm=True can be converted; got False"),
        ({"activation_type": "relu"}, "only networks with activation_type='gelu' can be converted; got 'relu'"),
        ({"d_head": 3}, "n_head times d_head must be d_model; got 2, 3 and 8"),
        ({"d_mlp": 20}, "d_mlp must be a multiple of d_model; got 20 and 8"),
        ({"n_layer": 3}, r"state_dict lacks 'transformer\.h\.2\.ln_1\.weight'"),
        ({"n_layer": 1}, r"state_dict has tensors that this network does not have: transformer\.h\.1"),
        ({"afrac_loctypes": "attn_in,resid_post_mlp"}, "sites that this network does not have: resid_post_mlp"),
        ({"d_model": None}, "config lacks the size d_model"),
        ({"block_size": 12}, r"positions has shape \(9, 8\); config describes \(12, 8\)"),
    ],
)
def test_other_networks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_openai(weights(CONFIG), {**CONFIG, **options})


def test_a_tokenizer_of_another_size() -> None:
    with pytest.raises(ValueError, match="expected a tokenizer of 23 tokens and padding; got 5"):
        from_openai(weights(CONFIG), CONFIG, tokenizer=openai_tokenizer({"a": 0, "b": 1, "ab": 2}, ["a b"]))
    with pytest.raises(ValueError, match="end=7 must be 0 to 2, each once"):
        openai_tokenizer({"a": 0, "b": 1}, [], end=7)
