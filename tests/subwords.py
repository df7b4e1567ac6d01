"""Tokenizers and networks as Hugging Face writes them, small and made on the spot."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch

WORDS = ("good", "bad", "food", "loud", "quiet", "place", "un", "##believ", "##able", "!", ".", "|", "the", "was")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
BERT: dict[str, Any] = {
    "model_type": "bert",
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 16,
}


def tokenizers() -> Any:
    """The library."""
    return import_module("tokenizers")


def transformers() -> Any:
    """The library."""
    return import_module("transformers")


def wordpiece() -> str:
    """The JSON text of a tokenizer like BERT's."""
    library = tokenizers()
    vocabulary = {piece: i for i, piece in enumerate((*SPECIAL, *WORDS))}
    made = library.Tokenizer(library.models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = library.normalizers.BertNormalizer()
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    made.decoder = library.decoders.WordPiece()
    made.post_processor = library.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.enable_padding()  # what a file may ask for, and nothing here wants
    made.enable_truncation(3)
    return made.to_str()


def bytelevel() -> str:
    """The JSON text of a tokenizer like RoBERTa's: bytes and four merges; padding is number 1, unknown 3."""
    library = tokenizers()
    special = ("<s>", "<pad>", "</s>", "<unk>")
    merges = [("o", "o"), ("oo", "d"), ("g", "ood"), ("Ġ", "good")]
    pieces = (*special, *sorted(library.pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges))
    made = library.Tokenizer(library.models.BPE({piece: i for i, piece in enumerate(pieces)}, merges))
    made.add_special_tokens(list(special))
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    made.post_processor = library.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made.to_str()


def tiny_bert(folder: Path) -> Path:
    """A folder like that of a downloaded BERT: config.json, model.safetensors, tokenizer.json."""
    library = transformers()
    options = dict(BERT)
    library.AutoModel.from_config(library.AutoConfig.for_model(options.pop("model_type"), **options)).save_pretrained(
        folder
    )
    (folder / "tokenizer.json").write_text(wordpiece(), encoding="utf-8")
    return folder


def tiny_classifier(folder: Path, classes: tuple[str, ...] = ("good", "bad"), kind: str = "bert") -> Any:
    """A classifier as a user may have fine-tuned it, written to a folder with its tokenizer; all weights are random."""
    library = transformers()
    sizes = {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16} if kind == "distilbert" else {}
    options = {key: value for key, value in BERT.items() if key != "model_type" and not (sizes and "num" in key)}
    labels: dict[str, Any] = {"num_labels": len(classes), "id2label": dict(enumerate(classes)), "pad_token_id": 0}
    config = library.AutoConfig.for_model(kind, **(sizes or options), **labels)
    config.vocab_size, config.max_position_embeddings = BERT["vocab_size"], 18
    network = library.AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    network.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(wordpiece(), encoding="utf-8")
    return network
