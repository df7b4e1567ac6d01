"""Damaged and hostile checkpoints, made from intact ones by seeded chance."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file

from zoo.checkpoints.config_file import CONFIG, GOLDEN, WEIGHTS, content_hash, file_hash

FILES = (CONFIG, WEIGHTS, GOLDEN)
NUMBERS = (-1, 0, 1, 7, 3_000, 40_000, 2**20, 2 * 10**8, 10**9, 2**31, 4 * 10**9, 2**63, 10**40)
VALUES = (
    *NUMBERS,
    *(0.5, -1e308, float("nan"), float("inf"), True, None, "", "x", "x" * 10**6, "/etc/passwd", "../../secret"),
    *(
        "hf-hub:me/net",
        "hf_hub:me/net",
        "local-dir:/tmp",
        "timm/resnet18",
        "__import__('os').system('true')",
        "\0",
        "é",
    ),
    *([], {}, [0] * 10_000, ["a", "a"], [40_000, 40_000], {"name": "x"}, {1: 2}, [[[[[[[[]]]]]]]], ["x"] * 100_000),
)
BACKBONES: tuple[Any, ...] = (
    {"name": "vit_tiny_patch16_224", "depth": 3_000},
    {"name": "vit_tiny_patch16_224", "embed_dim": 40_000, "num_heads": 1},
    {"name": "resnet18", "output_stride": 7},
    {"name": "resnet18", "layers": [3_000, 1, 1, 1]},
    {"name": "resnet18", "checkpoint_path": "README.md"},
    {"name": "resnet18", "pretrained": True, "pretrained_cfg": {"hf_hub_id": "me/net"}},
    {"name": "resnet18", "pretrained_cfg_overlay": {"file": "README.md"}, "weights": "/etc/passwd"},
    {"name": "hf-hub:me/net"},
    {"name": "convnet", "widths": [40_000, 40_000]},
    {"name": "convnet", "widths": [8] * 5_000},
    {"name": "mlp", "widths": [40_000, 40_000]},
    {"name": "convnet1d", "widths": [2**20, 2**20], "kernels": [2**20, 2**20]},
    {"name": "transformer", "layers": 3_000},
    {"name": "transformer", "width": 2**20},
    {"name": "hf", "config": {"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "README.md"}}},
    {"name": "hf", "config": {"model_type": "timm_wrapper", "architecture": "hf-hub:me/net"}},
    {"name": "hf", "config": {"model_type": "dpt", "use_pretrained_backbone": True, "backbone": "resnet18"}},
    {"name": "hf", "config": {"model_type": "bert", "vocab_size": 2 * 10**8}},
    {"name": "hf", "config": {"model_type": "bert", "num_hidden_layers": 3_000}},
    {"name": "hf", "config": {"model_type": "bert", "num_labels": 10**9}},
    {"name": "hf", "config": {"model_type": "modernbert", "num_hidden_layers": 2**20}},
    {"name": "hf", "config": {"model_type": "bert", "hidden_size": 40_000, "num_attention_heads": 1}},
    {"name": "hf", "config": {"model_type": "bert", "hidden_size": "wide"}},
    {"name": "hf", "model": "/etc"},
)
TEXTS = (  # YAML
    "a: " + "[" * 100_000,
    "a: " + "- " * 100_000,
    "{a: " * 1_000 + "}" * 1_000,
    "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9 if i else ['x'])}]\n" for i in range(30)),
    "a: " + ":".join(["59"] * 200_000),
    "a: 1" + "0" * 1_000_000,
    "a: 0x" + "f" * 1_000_000,
    "a: !!int " + ":".join(["59"] * 200_000),
    "a: !!python/object/apply:os.system ['true']",
    "a: !!timestamp 2001-99-99",
    "a: 2001-99-99",
    "? [a, b]\n: c",
    "<<: [{a: 1}, {b: 2}]",
    "a: 1\na: 2",
    "- 1\n" * 1_000_000,
    "a: '" + "x" * 30_000_000 + "'",
    "\0",
    "%YAML 9.9\n---\na",
    "a: !!binary x",
)


class Case:
    """A checkpoint to damage.

    Attributes:
        folder: of the checkpoint; changed.
        rng: draws the damage.
        others: intact checkpoints, whose parts are mixed in.
        hidden: whether hashes are made right again, so that only the content can tell.
        what: what was done.
    """

    def __init__(self, folder: Path, rng: Random, others: list[Path]) -> None:
        self.folder, self.rng, self.others, self.hidden, self.what = folder, rng, others, True, ""

    def config(self) -> Any:
        return yaml.load((self.folder / CONFIG).read_text(), Loader=yaml.CSafeLoader)

    def write(self, config: dict[str, Any]) -> None:
        """Writes a config with right hashes, as far as it has any."""
        if isinstance(config.get("sha256"), dict):
            config["sha256"] = {name: file_hash(self.folder / name) for name in (WEIGHTS, GOLDEN)}
            if config.get("format") not in (1, 2):
                config["sha256"][CONFIG] = content_hash(config)
        (self.folder / CONFIG).write_text(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False))

    def rehash(self) -> None:
        self.write(self.config())


def damage(folder: Path, intact: Path, seed: int, others: list[Path]) -> Case:
    """Copies a checkpoint to `folder` and damages the copy in one way, which depends on the seed alone."""
    shutil.copytree(intact, folder)
    case = Case(folder, Random(seed), others)
    kind = case.rng.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    kind(case)
    case.what = f"{kind.__name__}: {case.what}"
    return case


def bytes_changed(case: Case) -> None:
    """Bits flipped, a part cut out or off, another content: what the hashes detect."""
    case.hidden = False
    name = case.rng.choice(FILES)
    path, content = case.folder / name, bytearray((case.folder / name).read_bytes())
    at, way = case.rng.randrange(len(content)), case.rng.randrange(5)
    if way == 0:
        content[at] ^= 1 << case.rng.randrange(8)
    elif way == 1:
        del content[at:]
    elif way == 2:
        del content[at : at + case.rng.randrange(1, 100)]
    elif way == 3:
        content[at:at] = case.rng.randbytes(20)
    else:
        content = bytearray((case.folder / case.rng.choice(FILES)).read_bytes())
    path.write_bytes(content)
    case.what = f"{name}, way {way} at {at}"


def header_changed(case: Case) -> None:
    """Bytes of the header of a safetensors file, with right hashes."""
    path = case.folder / case.rng.choice((WEIGHTS, GOLDEN))
    content = bytearray(path.read_bytes())
    if case.rng.random() < 0.3:
        content[:8] = case.rng.choice((0, 1, 2**24, 2**40, 2**63)).to_bytes(8, "little")
    else:
        for _ in range(case.rng.randrange(1, 4)):
            at = case.rng.randrange(8, 8 + int.from_bytes(content[:8], "little"))
            content[at] = case.rng.choice(b'0123456789"{}[],:FIUB')
    path.write_bytes(content)
    case.rehash()


def tensor_changed(case: Case) -> None:
    """A tensor of another value, type, shape or name, with right hashes."""
    name = case.rng.choice((WEIGHTS, WEIGHTS, GOLDEN))
    tensors = load_file(case.folder / name)
    key = case.rng.choice(sorted(tensors))
    old, way = tensors[key], case.rng.choice(("nan", "inf", "half", "int", "flat", "more", "lost", "named", "empty"))
    case.what = f"{name} {key} {way}"
    new: dict[str, Callable[[], torch.Tensor]] = {
        "nan": lambda: old * torch.nan if old.is_floating_point() else old - 10**9,
        "inf": lambda: old / 0 if old.is_floating_point() else old.clone().fill_(100),
        "half": lambda: old.half(),
        "int": lambda: old.long(),
        "flat": lambda: old.flatten().clone(),
        "more": lambda: torch.cat([old.reshape(-1)] * 2),
        "named": lambda: old,
        "empty": lambda: old.flatten()[:0].clone(),
    }
    if way in ("lost", "named"):
        del tensors[key]
    if way != "lost":
        tensors[f"{key}::values" if way == "named" else key] = new[way]()
    if case.rng.random() < 0.2:
        size = torch.tensor([case.rng.choice((-1, 40_000, 2**31, 2**62))] * 2)
        tensors[f"{key}::shape"], tensors[f"{key}::bits"] = size, torch.zeros(0, dtype=torch.uint8)
        tensors[f"{key}::values"] = torch.zeros(0)
        tensors.pop(key, None)
    save_file(tensors, case.folder / name)
    case.rehash()


def value_changed(case: Case) -> None:
    """A hostile value somewhere in the config, with right hashes."""
    config = case.config()
    part = case.rng.choice(("arguments", "arguments", "arguments", "all"))
    places = list(_places(config if part == "all" else config["arguments"]))
    where, key = case.rng.choice(places)
    new, way = case.rng.choice(VALUES), case.rng.random()
    old = where[key]
    case.what = f"{key} {str(old)[:30]!r} -> {str(new)[:40]!r} ({way:.2f})"
    if way < 0.1:
        del where[key]
    elif way < 0.2 and isinstance(where, dict):
        where["added"] = new
    else:
        where[key] = case.rng.choice(NUMBERS) if way < 0.5 and isinstance(old, int) else new
    case.write(config)


def backbone_changed(case: Case) -> None:
    """A hostile network in place of the model's, with right hashes."""
    config = case.config()
    given = case.rng.choice(BACKBONES)
    case.what = str(given)
    arguments = config["arguments"]
    key = "backbone" if "backbone" in arguments else case.rng.choice(sorted(set(arguments) - {"domain"}))
    arguments[key] = given
    case.write(config)


def tokenizer_changed(case: Case) -> None:
    """A hostile tokenizer, with right hashes; other models get sizes that are too large."""
    config = case.config()
    domain = config["arguments"]["domain"]
    if domain.get("tokenizer"):
        parts = json.loads(domain["tokenizer"])
        where, key = case.rng.choice(list(_places(parts)))
        where[key] = case.rng.choice((4 * 10**9, -1, "", None, [], {}, "[UNK]", "\0", [[]], "(a+)+$"))
        case.what = f"{key} -> {where[key]!r}"
        domain["tokenizer"] = json.dumps(parts)
    else:
        key = case.rng.choice([k for k in domain if k in ("size", "length", "channels", "vocabulary", "features")])
        size = case.rng.choice((40_000, 10**9, 2**31, 10**40))
        domain[key] = [size, size] if key == "size" else [str(i) for i in range(200_000)] if key in LISTS else size
        case.what = f"{key} -> {size}"
    case.write(config)


def text_changed(case: Case) -> None:
    """A config whose YAML takes time or memory to read, in any format."""
    text = case.rng.choice(TEXTS)
    case.what = text[:30]
    if case.rng.random() < 0.5:
        config = case.config() | {"format": case.rng.choice((1, 2, 3))}
        text = f"{yaml.safe_dump(config)}\n{text}"
    (case.folder / CONFIG).write_text(text)


def parts_mixed(case: Case) -> None:
    """The arguments, weights or golden explanations of another checkpoint, with right hashes."""
    other, name = case.rng.choice(case.others), case.rng.choice(FILES)
    case.what = f"{name} of {other.name}"
    shutil.copy(other / name, case.folder / name)
    case.rehash()


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All places in plain data, as container and key; of long lists some."""
    if isinstance(value, dict | list):
        for key in list(value if isinstance(value, dict) else range(min(len(value), 3))):
            yield value, key
            yield from _places(value[key])


LISTS = ("vocabulary", "features")
KINDS = (
    *((bytes_changed, 3), (header_changed, 2), (tensor_changed, 3), (value_changed, 6), (backbone_changed, 3)),
    *((tokenizer_changed, 2), (text_changed, 2), (parts_mixed, 1)),
)
