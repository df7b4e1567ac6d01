"""Weight-sparse transformers that others released, as models of this package.

Gao et al., arXiv 2511.13653, 2025; their models are folders with beeg_config.json and final_model.pt.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from zoo.circuits.conversion.openai_tokenizer import numbers_tokenizer, published_order
from zoo.circuits.network.layout import SITES
from zoo.circuits.sparse_transformer import SparseTransformer
from zoo.domain import CodeDomain

NEVER = -1e4  # logit of padding, which the published vocabulary does not have
REQUIRED = {
    "rms_norm": True,
    "residual_activation_type": "identity",
    "activation_type": "gelu",
    "use_tied_aux_matrix": False,
}
DEFAULTS = {"rms_norm": False, "residual_activation_type": "identity", "activation_type": "gelu"}
SIZES = ("block_size", "vocab_size", "n_layer", "n_head", "d_model")
# Parts of a published block, and of a block of this package.
BLOCK = {
    "ln_1.weight": "attn_norm.weight",
    "ln_2.weight": "mlp_norm.weight",
    "attn.c_attn.weight": "qkv.weight",
    "attn.c_attn.bias": "qkv.bias",
    "attn.c_proj.weight": "out.weight",
    "attn.c_proj.bias": "out.bias",
    "mlp.c_fc.weight": "up.weight",
    "mlp.c_fc.bias": "up.bias",
    "mlp.c_proj.weight": "down.weight",
    "mlp.c_proj.bias": "down.bias",
}
SINK = {"attn.attn_imp.sink_logit": "sink"}
CHANNELS = {"ln_p1.weight": "attn_position_norm.weight", "ln_p2.weight": "mlp_position_norm.weight"}
MASK = re.compile(r"transformer\.h\.\d+\.attn\.bias")  # a causal mask, which is not a weight


def from_openai(
    state_dict: Mapping[str, Tensor],
    config: Mapping[str, Any],
    tokenizer: str | None = None,
    end: int | None = None,
) -> SparseTransformer:
    """Converts a published weight-sparse transformer. Its logits are those of the published code.

    Published token n has the number n + 2, or n + 1 after `end`; `end` has the number 1, and 0 is padding, whose logit
    is -10000. The means of the nodes, which circuits need, are not part of the weights: measure them with
    `model.average(projection_set)`.

    Args:
        state_dict: of final_model.pt, read with `torch.load(path, weights_only=True)`.
        config: of beeg_config.json.
        tokenizer: JSON text, see `zoo.circuits.openai_tokenizer`; by default, prompts are numbers of published tokens
            separated by blanks.
        end: number of the published token that ends a text; by default the last one.

    Raises:
        ValueError: a network that this package does not have, missing or unknown tensors, or tensors of other shapes.
    """
    config = {**DEFAULTS, **config}
    _check(config)
    vocabulary = config["vocab_size"]
    order = published_order(vocabulary, vocabulary - 1 if end is None else end)
    left = {name: t for name, t in state_dict.items() if not MASK.fullmatch(name)}
    domain = CodeDomain(
        tokenizer=numbers_tokenizer(order.tolist()) if tokenizer is None else tokenizer, length=config["block_size"]
    )
    if len(domain.classes) != vocabulary + 1:
        raise ValueError(f"expected a tokenizer of {vocabulary} tokens and padding; got {len(domain.classes)}.")
    model = SparseTransformer(domain, **_arguments(config, state_dict))
    state = dict(_converted(left, config, order, model.network.positions is not None))
    if left:
        raise ValueError(f"state_dict has tensors that this network does not have: {', '.join(sorted(left))}.")
    for name, wanted in model.network.state_dict().items():
        if state[name].shape != wanted.shape:
            raise ValueError(
                f"the tensor for {name} has shape {tuple(state[name].shape)}; config describes {tuple(wanted.shape)}."
            )
    model.network.load_state_dict(state)
    return model.eval()


def _check(config: Mapping[str, Any]) -> None:
    """Refuses networks that this package does not have."""
    if missing := [name for name in SIZES if not isinstance(config.get(name), int)]:
        raise ValueError(f"config lacks the size {', '.join(missing)}; give the content of beeg_config.json.")
    for name, wanted in REQUIRED.items():
        if config.get(name, wanted) != wanted:
            raise ValueError(f"only networks with {name}={wanted!r} can be converted; got {config[name]!r}.")
    width, heads = config["d_model"], config["n_head"]
    if heads * (config.get("d_head") or width // heads) != width:
        raise ValueError(f"n_head times d_head must be d_model; got {heads}, {config.get('d_head')} and {width}.")
    neurons = _neurons(config)
    if neurons % width:
        raise ValueError(f"d_mlp must be a multiple of d_model; got {neurons} and {width}.")
    if unknown := set(_sites(config)) - set(SITES):
        raise ValueError(f"afrac_loctypes has sites that this network does not have: {', '.join(sorted(unknown))}.")


def _neurons(config: Mapping[str, Any]) -> int:
    return config.get("d_mlp") or config.get("n_mlp") or 4 * config["d_model"]


def _sites(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Sites at which the network applies AbsTopK."""
    if config.get("afrac") is None:
        return ()
    return tuple(config.get("afrac_loctypes", "attn_in,attn_out,mlp_in,mlp_out").split(","))


def _arguments(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the model, without domain and recipe."""
    width = config["d_model"]
    matrices = [t for name, t in state_dict.items() if re.search(r"\.h\.\d+\.\w+\.c_\w+\.weight", name)]
    table, positions = state_dict.get("transformer.wpe.weight"), None
    if config.get("d_pos_emb") is not None:
        positions = {"kind": "learned", "width": config["d_pos_emb"]}
    elif table is not None and bool(table.any()):
        positions = {"kind": "added"}
    return {
        "width": width,
        "layers": config["n_layer"],
        "head_width": width // config["n_head"],
        "expansion": _neurons(config) // width,
        "sparsity": {
            "density": _density(matrices),
            "embedding_density": _density([t for name, t in state_dict.items() if name == "lm_head.weight"]),
            "activation_density": config.get("afrac") or 1.0,
            "sites": _sites(config),
            "alive": 0,
        },
        "sink": bool(config.get("sink", False)),
        "positions": positions,
    }


def _density(matrices: list[Tensor]) -> float:
    """Largest share of non-zeros in a matrix; 1 without one."""
    return max((max(int(t.count_nonzero()), 1) / t.numel() for t in matrices), default=1.0)


def _converted(
    left: dict[str, Tensor], config: Mapping[str, Any], order: Tensor, positions: bool
) -> Iterator[tuple[str, Tensor]]:
    """Tensors of the network by name; those that are used are taken out of `left`."""

    def take(name: str) -> Tensor:
        if name not in left:
            raise ValueError(f"state_dict lacks '{name}'; give the content of final_model.pt.")
        return left.pop(name).detach()

    parts = {**BLOCK, **(SINK if config.get("sink", False) else {})}
    parts |= CHANNELS if config.get("d_pos_emb") is not None else {}
    for layer in range(config["n_layer"]):
        for theirs, ours in parts.items():
            name = f"transformer.h.{layer}.{theirs}"
            if theirs.endswith(".bias") and not config.get("bias", True):
                yield f"blocks.{layer}.{ours}", torch.zeros(left[name.replace(".bias", ".weight")].shape[0])
            else:
                yield f"blocks.{layer}.{ours}", take(name)
    tied = config.get("tied_unembed", True)
    unembedding = take("lm_head.weight")
    embedding = left.pop("transformer.wte.weight", unembedding) if tied else take("transformer.wte.weight")
    table = left.pop("transformer.wpe.weight", None)
    if positions:
        yield "positions", take("transformer.wpe.weight") if table is None else table
    yield "embedding.weight", _with_padding(embedding[order])
    yield "unembedding.weight", _with_padding(unembedding[order])
    yield "norm.weight", take("transformer.ln_f.weight")
    bigram = take("bigram_table") if config.get("enable_bigram_table", False) else torch.zeros(len(order), len(order))
    bias = left.pop("final_logits_bias", torch.zeros(len(order)))
    logits = (bigram + bias)[order][:, order]
    yield "bigram", torch.cat([torch.full((len(order) + 1, 1), NEVER), _with_padding(logits)], 1)


def _with_padding(rows: Tensor) -> Tensor:
    """Rows of a table, after a row of zeros for padding."""
    return torch.cat([torch.zeros_like(rows[:1]), rows])
