"""Model cards: the README.md of a checkpoint, rendered from its config.yaml alone."""

import math
from collections.abc import Mapping, Sequence
from textwrap import indent
from typing import Any

from zoo.checkpoints.config_file import CERTIFICATE, STORAGE
from zoo.core.certificate import Certificate
from zoo.core.storage import Storage

CARD = "README.md"
TEXTS = (
    "name",
    "family",
    "title",
    "data",
    "data_licence",
    "licence",
    "config",
    "command",
    "recipe",
    "device",
    "use",
    "limits",
)
NUMBERS = ("seed", "rows", "seconds")
KEYS = {*TEXTS, *NUMBERS, "interval", "twin", "truth"}
CONFUSIONS = "confusions"  # optional: the most confused pairs of classes, see `zoo.training.report.Confusion`
RUN = {"name", CONFUSIONS}  # what `fit` knows about its checkpoint


def render(config: Mapping[str, Any]) -> str:
    """The card of a checkpoint, as Markdown; a short one for a checkpoint written by `fit`.

    Args:
        config: the content of its config.yaml.

    Raises:
        ValueError: a text or a number is missing.
    """
    if set(config["about"]) == RUN:
        return render_run(config)
    require_complete(config)
    about, metrics = config["about"], config["metrics"]
    main = next(iter(metrics))
    interval = ""
    if about["interval"] is not None:
        interval = "95 % interval {:.4f} to {:.4f}, ".format(*about["interval"])
    test, what = tested(config), "episodes" if main == "return" else "rows"
    rows = [(f"{test} {main}", f"{metrics[main]:.4f} ({interval}{about['rows']:,} {what})")]
    rows += [(f"{test} {key}", f"{value:.4f}") for key, value in metrics.items() if key != main]
    if twin := about["twin"]:
        rows.append((f"black-box twin, {main}", f"{twin['value']:.4f} (`{twin['config']}`)"))
    rows += [(key, value if isinstance(value, str) else f"{value:.3g}") for key, value in about["truth"].items()]
    rows += [*stored(config), *certified(config)]
    rows.append(("training", f"{about['seconds']:,} s on {about['device']}, seed {about['seed']}"))
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return f"""# {about["name"]}

{about["title"]}

Model `{config["model"]}` of the family {about["family"]}.

```python
import zoo

model = zoo.load("{about["name"]}")
```

## Results

| metric | value |
|---|---|
{table}
{confused(about.get(CONFUSIONS))}
## Data

{about["data"]} Licence: {about["data_licence"]}

## Training command

{indent(about["command"], "    ")}

## Intended use and limits

{about["use"]}

{about["limits"]}

Licence of the weights: {about["licence"]}
"""


def render_run(config: Mapping[str, Any]) -> str:
    """The card of a checkpoint written by `fit`: results, and how to load it."""
    rows = "\n".join(
        [f"| {tested(config)} {key} | {value:.4f} |" for key, value in config["metrics"].items()]
        + [f"| {name} | {text} |" for name, text in (*stored(config), *certified(config))]
    )
    return f"""# {config["about"]["name"]}

Model `{config["model"]}`, trained by `python train.py fit`.

```python
import zoo

model = zoo.load("FOLDER")  # the folder of this file
```

## Results

| metric | value |
|---|---|
{rows}
{confused(config["about"][CONFUSIONS])}"""


def tested(config: Mapping[str, Any]) -> str:
    """Which results the metrics of a checkpoint are; they were measured before its weights were rounded."""
    return "test, float32:" if STORAGE in config else "test"


def stored(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows about rounded weights; none if there are none.

    Raises:
        ValueError: the description is not valid.
    """
    return Storage.from_dict(config[STORAGE]).lines() if STORAGE in config else []


def certified(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The rows about the certificate of a checkpoint; none if it has none.

    Raises:
        ValueError: the certificate is not valid.
    """
    return Certificate.from_dict(config[CERTIFICATE]).lines() if CERTIFICATE in config else []


def confused(pairs: Sequence[Mapping[str, Any]] | None) -> str:
    """The section about the most confused pairs of classes; "" without any."""
    if not pairs:
        return ""
    lines = [f"| {_cell(p['true'])} | {_cell(p['predicted'])} | {p['times']:,} of {p['of']:,} |" for p in pairs]
    table = "\n".join(["| true class | predicted | test rows |", "|---|---|---|", *lines])
    return f"\n## Most confused classes\n\n{table}\n"


def require_complete(config: Mapping[str, Any]) -> None:
    """Checks that the content of a card is complete.

    Raises:
        ValueError: names the missing or unknown keys, or what is not a finite number.
    """
    about, metrics = config.get("about"), config["metrics"]
    if not isinstance(about, Mapping) or set(about) - {CONFUSIONS} != KEYS:
        found = sorted(set(KEYS) ^ (set(about) - {CONFUSIONS})) if isinstance(about, Mapping) else type(about).__name__
        raise ValueError(f"the model card needs the keys {', '.join(sorted(KEYS))}; missing or unknown: {found}.")
    if blank := [key for key in TEXTS if not isinstance(about[key], str) or not about[key].strip()]:
        raise ValueError(f"the model card has no text for {', '.join(blank)}.")
    numbers = {**{key: about[key] for key in NUMBERS}, **metrics}
    if about["interval"] is not None:  # of a metric that is no share of rows
        numbers |= {f"interval[{i}]": value for i, value in enumerate(_pair(about["interval"]))}
    if about["twin"] is not None:
        if not isinstance(about["twin"], Mapping) or set(about["twin"]) != {"config", "value"}:
            raise ValueError(f"the twin of a model card must have a 'config' and a 'value'; got {about['twin']!r}.")
        numbers["twin"] = about["twin"]["value"]
    if not metrics or not isinstance(about["truth"], Mapping):
        raise ValueError("the model card has no results; save the checkpoint with metrics and about={'truth': ...}.")
    if wrong := [key for key, value in numbers.items() if not _is_number(value)]:
        raise ValueError(f"the model card has no finite number for {', '.join(wrong)}.")


def _cell(text: str) -> str:
    """A text within a Markdown table."""
    return " ".join(str(text).replace("|", "\\|").split())


def _pair(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) and len(value) == 2 else [None, None]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
