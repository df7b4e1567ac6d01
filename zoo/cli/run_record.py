"""What a run was made of: `run.json` in its folder, compared whenever the run is used again.

A run that is resumed with other data, or tested with another preprocessing, gives wrong numbers. So `fit` records
config, domain, data and versions when it starts; a difference is reported key by key and refused unless forced.
"""

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from zoo.domain import Domain
from zoo.training.teacher import Teacher
from zoo.utils.atomic import write_text
from zoo.utils.printable import LINES, printable

RECORD = "run.json"
LIBRARIES = ("torch", "lightning", "timm", "torchvision")
SHOWN = 8
# What may differ between two calls of one run: where files lie, how many processes load them, what is printed.
FREE = ("data.init_args.workers", "data.init_args.root", "data.init_args.cache")
TRAINER = (  # not what ends a run, such as max_epochs: a run may be resumed to train for longer
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "overfit_batches",
    "deterministic",
    "reload_dataloaders_every_n_epochs",
)


@dataclass(frozen=True)
class RunRecord:
    """What a run was made of, as plain data."""

    config: dict[str, Any]
    """`model`, `data`, `seed` and what changes the training among the options of the trainer."""
    domain: dict[str, Any]
    """What inputs and outputs mean: classes, preprocessing, names."""
    splits: dict[str, dict[str, Any]]
    """Size and hash of each split, see `zoo.data.base.fingerprint`."""
    versions: dict[str, str]
    """Of Python and of the libraries that compute."""

    def save(self, folder: Path) -> None:
        """Writes the record into a run's folder."""
        write_text(folder / RECORD, json.dumps(asdict(self), indent=1, ensure_ascii=False, default=str) + "\n")

    def differences(self, other: "RunRecord") -> list[str]:
        """What differs between this run and another, one line each; none if one may resume the other."""
        found = [*_differences(self.domain, other.domain, "domain."), *_differences(self.config, other.config, "")]
        return [*found, *_differences(self.splits, other.splits, "split ")]


def make_record(
    config: Mapping[str, Any], domain: Mapping[str, Any], splits: Mapping[str, Any], teacher: Teacher | None = None
) -> RunRecord:
    """The record of a run that begins.

    Args:
        config: the whole config as plain data.
        domain: of the data.
        splits: see `zoo.data.base.fingerprint.fingerprint`.
        teacher: of the recipe, whose hash is recorded.
    """
    trainer = config.get("trainer") or {}
    kept = {
        "model": config.get("model"),
        "data": config.get("data"),
        "seed": config.get("seed_everything"),
        "cache_features": config.get("cache_features"),
        "trainer": {name: trainer[name] for name in TRAINER if trainer.get(name) is not None},
    }
    if teacher is not None:
        kept["teacher_sha256"] = teacher.sha256
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    kept, meaning, parts = json.loads(json.dumps([kept, domain, splits], default=str))  # as it will be read back
    return RunRecord(kept, meaning, parts, versions)


def read_record(folder: Path) -> RunRecord | None:
    """The record in a run's folder; None if there is none.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return RunRecord(**json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); start the run again with --overwrite true.") from None


def require_same(differences: list[str], what: str, force: bool) -> None:
    """Refuses to go on when something differs, or prints the differences if the user insists.

    Args:
        differences: one line each.
        what: what would be done, such as "resume runs/birds".
        force: whether the user insists.

    Raises:
        ValueError: there are differences.
    """
    if not differences:
        return
    more = len(differences) - SHOWN
    lines = "\n  ".join([*differences[:SHOWN], *([f"... and {more} more"] if more > 0 else [])])
    if force:
        shown = printable(lines, keep=LINES)
        print(f"warning: config or data differ from those of the training ({what}):\n  {shown}", file=sys.stderr)
        return
    raise ValueError(
        f"cannot {what}: config or data differ from those of the training.\n  {lines}\nUse the config and the data of "
        "the training, or go on regardless with --force true."
    )


def domain_differences(trained: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Differences of two domains as plain data, such as renamed classes, one line each."""
    before, now = (json.loads(json.dumps(Domain.from_dict(d).to_dict(), default=str)) for d in (trained, given))
    return list(_differences(before, now, "domain."))


def split_differences(folder: Path, splits: Mapping[str, Any]) -> list[str]:
    """Differences of the given splits from those in the record of a run, one line each; none without a record."""
    record = read_record(folder)
    if record is None:
        return []
    before = {name: record.splits[name] for name in splits if name in record.splits}
    return list(_differences(before, {name: splits[name] for name in before}, "split "))


def _differences(before: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(k for k in now if k not in before)]:
            place = f"{where}{key}"
            if place in FREE:
                continue
            if key not in now:
                yield f"{place}: was {_short(before[key])}, is missing now"
            elif key not in before:
                yield f"{place}: was missing, is {_short(now[key])}"
            else:
                yield from _differences(before[key], now[key], f"{place}." if isinstance(now[key], Mapping) else place)
    elif before != now and where.endswith("sha256"):
        what = "masks" if where.endswith(".masks.sha256") else "items or labels"
        yield f"{where.removesuffix('.sha256').removesuffix('.masks')}: other {what}"
    elif before != now:
        yield f"{where.removesuffix('.')}: {_changed(before, now)}"


def _changed(before: Any, now: Any) -> str:
    if isinstance(before, list) and isinstance(now, list):
        pairs = list(zip(before, now, strict=False))
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        if len(before) != len(now):
            return f"had {len(before)} entries, has {len(now)}" + (
                f"; entry {first} differs" if first < len(pairs) else ""
            )
        return f"entry {first} was {_short(before[first])}, is {_short(now[first])}"
    return f"was {_short(before)}, is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
