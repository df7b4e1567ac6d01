"""Decision records: what a model decided about one input and why, to be verified later from the checkpoint alone."""

import platform
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo.audit.recorded_input import describe_input
from zoo.audit.signature import read_key, signed
from zoo.checkpoints.config_file import CERTIFICATE, CONFIG, SHARED, content_hash, read_config
from zoo.checkpoints.load import load
from zoo.checkpoints.pretrained import HUB, find
from zoo.core.asking import MOST_CLASSES, ask
from zoo.core.counterfactual import counterfactual_of
from zoo.core.module import SelfInterpretable
from zoo.domain.inputs import Input, Reading, inputs_of, read_input
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json

FORMAT = 1


def record(
    checkpoint: str | Path,
    source: str | Path,
    path: str | Path | None = None,
    target: int | str | None = None,
    versus: int | str | None = None,
    reference: str | None = None,
    locale: str = "en",
    keep: str = "path",
    key: str | Path | None = None,
) -> dict[str, Any]:
    """Explains one input and returns the decision record, plain data.

    It holds the hashes of the model, the hash of the input and the input or its path, all terms, what would change the
    answer, the sentence, and the versions. See `zoo.verify_record`.

    Args:
        checkpoint: name or folder, see `zoo.load`.
        source: a file with one input, or a text.
        path: where to write the record.
        target: the class to explain; by default the predicted one.
        versus: the class to compare it with.
        reference: what contributions are relative to; by default the model's own.
        locale: language of the sentence.
        keep: "path", or "content" for a record that also contains the input.
        key: file with a key, to sign the record (HMAC-SHA256).

    Raises:
        OSError, ValueError, RuntimeError: checkpoint, input or key cannot be read, or the model refuses them.
    """
    folder = find(checkpoint)
    model = load(folder)
    inputs = list(inputs_of([str(source)], model.domain)) if isinstance(source, str) else [source]
    if len(inputs) != 1:
        raise ValueError(f"a record is of one input; {source} has {len(inputs)}. Use `train.py explain ... --record`.")
    question = {
        "target": None if target is None else model.domain.class_index(target),
        "versus": None if versus is None else model.domain.class_index(versus),
        "reference": reference,
        "settings": {},
    }
    name = str(checkpoint) if str(checkpoint).startswith(HUB) else str(folder)
    made = Recorder(model, folder, name, question, locale, keep, None if key is None else read_key(Path(key)))
    told = made.record(inputs[0])
    if path is not None:
        write_text(Path(path), to_json(told, indent=1) + "\n")
    return told


class Recorder:
    """Makes the records of one model.

    Args:
        model: of the checkpoint.
        folder: of the checkpoint.
        checkpoint: how the record names it.
        question: "target", "versus", "reference" and "settings", see `zoo.core.asking.ask`.
        locale: language of the sentences.
        keep: how inputs are kept, see `describe_input`.
        key: to sign with; None for records without a signature.
    """

    def __init__(
        self,
        model: SelfInterpretable,
        folder: Path,
        checkpoint: str,
        question: Mapping[str, Any],
        locale: str = "en",
        keep: str = "path",
        key: bytes | None = None,
    ) -> None:
        self.model, self.question, self.locale, self.keep, self.key = model, dict(question), locale, keep, key
        self.about = {"checkpoint": checkpoint, **identity(folder)}

    def record(self, file: Input) -> dict[str, Any]:
        """The record of one input.

        Raises:
            OSError, ValueError, ArithmeticError: it cannot be read or explained.
        """
        reading = read_input(file, self.model.domain)
        told = {
            "format": FORMAT,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "model": self.about,
            "input": describe_input(file, reading.x, self.keep),
            "question": {**self.question, "locale": self.locale},
            **decision(self.model, reading, self.question, self.locale),
        }
        return told if self.key is None else signed(told, self.key)


def versions() -> dict[str, str]:
    """The versions that a record names."""
    return {"zoo": zoo.__version__, "torch": str(torch.__version__), "python": platform.python_version()}


def identity(folder: Path) -> dict[str, Any]:
    """Registry key, hashes (of config, tensors and shared backbones) and certificate of a checkpoint.

    Raises:
        FileNotFoundError, ValueError: see `zoo.checkpoints.config_file.read_config`.
    """
    config = read_config(folder)
    shared = {f"{SHARED}/{name}": entry["sha256"] for name, entry in config.get(SHARED, {}).items()}
    hashes = {**config["sha256"], CONFIG: content_hash(config), **shared}
    return {"name": config["model"], "sha256": hashes, CERTIFICATE: config.get(CERTIFICATE)}


def decision(model: SelfInterpretable, reading: Reading, question: Mapping[str, Any], locale: str) -> dict[str, Any]:
    """What a record says about the decision, and what its verification computes again.

    Args:
        model: on the CPU.
        reading: the input.
        question: see `Recorder`.
        locale: language of the sentence.
    """
    every = model.additive and len(model.domain.classes) <= MOST_CLASSES
    x = reading.x[None].to(model.device)
    told = ask(model, x, **question, every_class=every, search=True)
    one = replace(told, texts=(reading.text,), warnings=(reading.warnings,))
    found = counterfactual_of(one)
    return {
        "sentence": one.sentence(locale),
        "counterfactual": None if found is None else found.to_dict(),
        "explanation": one.to_dict()[0],
    }
