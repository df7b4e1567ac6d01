"""Text classifiers of Hugging Face, taken apart into an encoder of `HuggingFaceText` and a linear head."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from zoo.domain import TextDomain
from zoo.networks.hf_config import read_config
from zoo.networks.hf_parts import rows_of_pieces
from zoo.networks.hf_text_encoder import HuggingFaceText
from zoo.utils.errors import did_you_mean
from zoo.utils.hub import require_model

SUFFIX = "ForSequenceClassification"
FIELDS = ("classifier.dense", "classifier.out_proj")
OUTPUTS = ("architectures", "id2label", "label2id", "problem_type")  # entries of a config that an encoder does not have
LAYOUTS: dict[str, tuple[str, str, str]] = {  # model type -> pooler and its function, last linear layer
    "albert": ("albert.pooler", "tanh", "classifier"),
    "bert": ("bert.pooler.dense", "tanh", "classifier"),
    "camembert": (FIELDS[0], "tanh", FIELDS[1]),
    "deberta": ("pooler.dense", "gelu", "classifier"),
    "deberta-v2": ("pooler.dense", "gelu", "classifier"),
    "distilbert": ("pre_classifier", "relu", "classifier"),
    "electra": (FIELDS[0], "gelu", FIELDS[1]),
    "mpnet": (FIELDS[0], "tanh", FIELDS[1]),
    "roberta": (FIELDS[0], "tanh", FIELDS[1]),
    "xlm-roberta": (FIELDS[0], "tanh", FIELDS[1]),
}


@dataclass(frozen=True)
class TextClassifier:
    """A classifier of Hugging Face in two parts: scores = head(encoder(x)).

    Attributes:
        network: the classifier itself, in evaluation mode.
        encoder: with its weights, and its pooler.
        head: its last layer, with rows in the order of the classes of the domain.
        rows: (C,) for each class of the domain, the row of the classifier's own head.
        layer: name of the layer whose output the head reads.
    """

    network: Any
    encoder: HuggingFaceText
    head: nn.Linear
    rows: tuple[int, ...]
    layer: str

    @torch.no_grad()
    def scores(self, x: Tensor) -> Tensor:
        """Scores (B, C) of the classifier itself for texts (B, T) of the domain."""
        inputs, _ = self.encoder.inputs(x)
        return self.network(**inputs).logits[:, list(self.rows)]


def read_classifier(model: str, domain: TextDomain) -> TextClassifier:
    """Reads a classifier for texts of a domain.

    Args:
        model: a folder with config.json and model.safetensors, as `save_pretrained` writes it, or a name on the hub.
        domain: of the texts, cut by the tokenizer of the classifier.

    Raises:
        FileNotFoundError: no such model.
        ValueError: another kind of network, other classes, a head without weights, or another tokenizer.
    """
    library = import_module("transformers")
    require_model(model, ["config.json", "model.safetensors"], f"text classifier '{model}'", "Give its folder.")
    config = read_config(model)
    kind = config.model_type
    named = [name for name in config.architectures or [] if not name.endswith(SUFFIX)]
    if kind not in LAYOUTS or named:
        raise ValueError(
            f"'{model}' must be a text classifier (...{SUFFIX}) of {', '.join(LAYOUTS)}; got "
            f"{', '.join(named) or kind}."
        )
    if not domain.tokenizer:
        raise ValueError(f"the data must be cut by the tokenizer of the classifier: give them tokenizer: {model}.")
    if rows_of_pieces(model, domain.subwords, config) is not None:
        raise ValueError(f"the data have some of the pieces of the tokenizer of '{model}'; give them pieces: all.")
    pooler, function, last = LAYOUTS[kind]
    try:
        network, loaded = library.AutoModelForSequenceClassification.from_pretrained(
            model,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except OSError as error:
        raise FileNotFoundError(f"no text classifier '{model}' ({str(error).splitlines()[0]}).") from error
    if missing := sorted(loaded["missing_keys"]):
        raise ValueError(
            f"'{model}' has no weights for {len(missing)} layers of a classifier (first: {missing[0]}), so it is not "
            "a trained one; give the folder of the fine-tuned classifier."
        )
    encoder = HuggingFaceText(
        domain,
        config={k: v for k, v in config.to_diff_dict().items() if k not in OUTPUTS} | {"model_type": kind},
        pooling="first",
        pooler=getattr(config, "pooler_hidden_act", None) if "deberta" in kind else function,
    )
    rows = rows_of(config.id2label, domain.classes, model)
    head = network.get_submodule(last)
    fill(encoder, network, pooler)
    return TextClassifier(network.eval(), encoder.eval(), in_order(head, rows), rows, pooler)


def rows_of(names: dict[int, str], classes: Sequence[str], model: str) -> tuple[int, ...]:
    """The rows of a classifier's head in the order of some classes, by name where both have the same names.

    Raises:
        ValueError: another number of classes.
    """
    theirs = [str(names[i]).lower() for i in sorted(names)]
    if len(theirs) != len(classes):
        raise ValueError(
            f"'{model}' has {len(theirs)} classes ({', '.join(theirs[:5])}), the data have {len(classes)} "
            f"({', '.join(classes[:5])}); give the data that it was trained on."
        )
    ours = [name.lower() for name in classes]
    return tuple(theirs.index(name) for name in ours) if set(theirs) == set(ours) else tuple(range(len(ours)))


@torch.no_grad()
def fill(encoder: HuggingFaceText, network: nn.Module, pooler: str) -> None:
    """Copies the weights of a classifier into an encoder."""
    theirs: Any = network
    found = theirs.base_model.state_dict()
    own = encoder.network.state_dict()
    if lacking := sorted(own.keys() - found.keys()):
        raise ValueError(f"the classifier has no weights '{lacking[0]}'; {did_you_mean(lacking[0], found)}")
    encoder.network.load_state_dict({name: found[name] for name in own})
    assert encoder.pooler is not None
    encoder.pooler.load_state_dict(network.get_submodule(pooler).state_dict())


@torch.no_grad()
def in_order(head: nn.Linear, rows: Sequence[int]) -> nn.Linear:
    """A linear layer whose rows are some of another one."""
    made = nn.Linear(head.in_features, len(rows))
    made.weight.copy_(head.weight[list(rows)])
    made.bias.copy_(torch.zeros_like(made.bias) if head.bias is None else head.bias[list(rows)])
    return made
