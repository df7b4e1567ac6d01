"""Small random networks in the published layout, and an independent formula of their logits."""

import math
from typing import Any

import torch
from torch import Tensor

VOCABULARY, WIDTH, LAYERS, HEADS, NEURONS, LENGTH = 23, 8, 2, 2, 16, 9
CONFIG: dict[str, Any] = {
    "block_size": LENGTH,
    "vocab_size": VOCABULARY,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "d_head": WIDTH // HEADS,
    "d_model": WIDTH,
    "d_mlp": NEURONS,
    "rms_norm": True,
    "tied_unembed": False,
    "activation_type": "gelu",
    "residual_activation_type": "identity",
    "afrac": 0.25,
    "afrac_loctypes": "attn_in,attn_out,mlp_in,mlp_out,mlp_neuron,attn_v,attn_k,attn_q",
    "enable_bigram_table": True,
    "learnable_bigram_table": True,
    "bias": True,
    "sink": True,
    "d_pos_emb": None,
}


def weights(config: dict[str, Any], seed: int = 0) -> dict[str, Tensor]:
    """Random weights of a config in float64: multiples of 1/4096, whose sums are exact in float32."""
    draw = torch.Generator().manual_seed(seed)
    extra = config["d_pos_emb"] or 0

    def random(*shape: int, mean: float = 0.0) -> Tensor:
        return mean + (2048 * torch.randn(*shape, generator=draw, dtype=torch.float64)).round() / 4096

    state = {
        "transformer.wte.weight": random(VOCABULARY, WIDTH),
        "transformer.wpe.weight": random(LENGTH, extra or WIDTH),
        "transformer.ln_f.weight": random(WIDTH, mean=1.0),
        "lm_head.weight": random(VOCABULARY, WIDTH),
        "final_logits_bias": random(VOCABULARY),
    }
    if config["enable_bigram_table"]:
        state["bigram_table"] = random(VOCABULARY, VOCABULARY)
    for i in range(LAYERS):
        block = {
            "ln_1.weight": random(WIDTH, mean=1.0),
            "ln_2.weight": random(WIDTH, mean=1.0),
            "attn.c_attn.weight": random(3 * WIDTH, WIDTH + extra),
            "attn.c_attn.bias": random(3 * WIDTH),
            "attn.c_proj.weight": random(WIDTH, WIDTH),
            "attn.c_proj.bias": random(WIDTH),
            "mlp.c_fc.weight": random(NEURONS, WIDTH + extra),
            "mlp.c_fc.bias": random(NEURONS),
            "mlp.c_proj.weight": random(WIDTH, NEURONS),
            "mlp.c_proj.bias": random(WIDTH),
        }
        if config["sink"]:
            block["attn.attn_imp.sink_logit"] = random(HEADS)
        if extra:
            block |= {"ln_p1.weight": random(extra, mean=1.0), "ln_p2.weight": random(extra, mean=1.0)}
        state |= {f"transformer.h.{i}.{name}": t for name, t in block.items()}
    return state


def logits(config: dict[str, Any], state: dict[str, Tensor], tokens: list[int]) -> Tensor:
    """Logits after each of some published tokens, (T, V), token by token and head by head."""

    def norm(x: Tensor, weight: Tensor) -> Tensor:
        return x / (x.square().mean() + torch.finfo(x.dtype).eps).sqrt() * weight

    def top(x: Tensor, site: str) -> Tensor:
        if config["afrac"] is None or site not in config["afrac_loctypes"].split(","):
            return x
        order = x.abs().argsort(descending=True)[: int(config["afrac"] * len(x))]
        return torch.zeros_like(x).index_copy(0, order, x[order])

    table = state["transformer.wpe.weight"]
    stream = [state["transformer.wte.weight"][t] for t in tokens]
    if not config["d_pos_emb"]:
        stream = [x + p for x, p in zip(stream, table, strict=False)]
    for i in range(LAYERS):
        block = {n.split(f".h.{i}.")[1]: t for n, t in state.items() if f".h.{i}." in n}

        def read(x: Tensor, at: int, site: str, number: int, block: dict[str, Tensor] = block) -> Tensor:
            x = norm(x, block[f"ln_{number}.weight"])
            if config["d_pos_emb"]:
                x = torch.cat([x, norm(table[at], block[f"ln_p{number}.weight"])])
            return top(x, site)

        def linear(name: str, x: Tensor, block: dict[str, Tensor] = block) -> Tensor:
            return block[f"{name}.weight"] @ x + block[f"{name}.bias"]

        qkv = [linear("attn.c_attn", read(x, at, "attn_in", 1)).chunk(3) for at, x in enumerate(stream)]
        q, k, v = ([top(one[j], f"attn_{n}") for one in qkv] for j, n in enumerate("qkv"))
        size, after = WIDTH // HEADS, []
        for at, x in enumerate(stream):
            heads = []
            for h in range(HEADS):
                part = slice(h * size, (h + 1) * size)
                scores = torch.stack([(q[at][part] @ k[j][part] / math.sqrt(size)).exp() for j in range(at + 1)])
                sink = block["attn.attn_imp.sink_logit"][h].exp() if config["sink"] else 0
                heads.append(sum(s / (scores.sum() + sink) * v[j][part] for j, s in enumerate(scores)))
            after.append(x + top(linear("attn.c_proj", torch.cat(heads)), "attn_out"))
        for at, x in enumerate(after):
            hidden = linear("mlp.c_fc", read(x, at, "mlp_in", 2))
            hidden = top(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2, "mlp_neuron")
            after[at] = x + top(linear("mlp.c_proj", hidden), "mlp_out")
        stream = after
    found = torch.stack([state["lm_head.weight"] @ norm(x, state["transformer.ln_f.weight"]) for x in stream])
    found = found + state["final_logits_bias"]
    return found + state["bigram_table"][tokens] if config["enable_bigram_table"] else found
