"""Explanations as safetensors files, and their units as plain data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from zoo.core.evidence import Unit
from zoo.domain import Domain
from zoo.utils.atomic import write_bytes

TENSORS = ("scores", "target", "activation")
OPTIONAL = ("contributions", "bias", "support", "inputs", "effects", "slopes")
LISTED = ("statements", "texts", "warnings", "counterfactuals")  # one entry for each row
GROUPS = ("details", "alternatives")  # tensors by name
EDGES = ("edges.source", "edges.destination", "edges.weight")


def write_explanation(path: str | Path, fields: Mapping[str, Any]) -> None:
    """Writes the fields of an `Explanation` to one safetensors file; no model is needed to read it back."""
    tensors = {name: fields[name] for name in (*TENSORS, *OPTIONAL) if fields[name] is not None}
    tensors |= dict(zip(EDGES, fields["edges"] or (), strict=False))
    for group in GROUPS:
        tensors |= {f"{group}.{name}": value for name, value in fields[group].items()}
    units = fields["units"]
    tensors |= {f"picture.{k}": unit.picture for k, unit in enumerate(units) if unit.picture is not None}
    plain = [{"name": u.name, "kind": u.kind, "target": u.target, "source": dict(u.source)} for u in units]
    metadata = {
        "units": json.dumps(plain),
        "domain": json.dumps(fields["domain"].to_dict()),
        "space": fields["space"],
        "reference": fields["reference"],
        **{name: json.dumps(fields[name]) for name in LISTED},
    }
    # Clones, because safetensors refuses tensors that share memory.
    write_bytes(Path(path), save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, metadata))


def read_explanation(path: str | Path) -> dict[str, Any]:
    """The fields that `write_explanation` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file does not contain an explanation.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no explanation at {path}.")
    try:
        with safe_open(str(path), framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a valid safetensors file ({error}); expected one written by Explanation.save()."
        ) from error
    if not {"units", "domain", "space"} <= set(metadata):
        raise ValueError(
            f"{path} is a safetensors file without an explanation; expected one written by Explanation.save()."
        )
    units = enumerate(json.loads(metadata["units"]))
    return {
        **{name: tensors[name] for name in TENSORS},
        **{name: tensors.get(name) for name in OPTIONAL},
        "units": tuple(Unit(**unit, picture=tensors.get(f"picture.{k}")) for k, unit in units),
        "domain": Domain.from_dict(json.loads(metadata["domain"])),
        "space": metadata["space"],
        "edges": tuple(tensors[name] for name in EDGES) if EDGES[0] in tensors else None,
        "reference": metadata.get("reference", "zero"),  # files of version 0.1 have none
        **{group: _of_group(tensors, f"{group}.") for group in GROUPS},
        "statements": tuple(json.loads(metadata.get("statements", "[]"))),
        "texts": tuple(json.loads(metadata.get("texts", "[]"))),
        "warnings": tuple(map(tuple, json.loads(metadata.get("warnings", "[]")))),
        "counterfactuals": tuple(json.loads(metadata.get("counterfactuals", "[]"))),
    }


def _of_group(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
