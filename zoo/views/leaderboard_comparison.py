"""Built-in and post-hoc explanations of the same models, side by side."""

from collections.abc import Sequence

from zoo.views.leaderboard_numbers import Interval, Row, heading, interval, table, text

# Columns: key of the metric, name of its number, heading. All but the last two also suit data without known parts.
COMPARED = (
    ("M2", "rank correlation", "mask-out rank correlation"),
    ("M3", "gain", "deletion gain"),
    ("M4", "kept", "sufficiency: kept"),
    ("M4", "flipped", "sufficiency: flipped"),
    ("M8", "swap test", "contrastivity"),
    ("M10", "gap", "encoding gap"),
    ("M11", "average precision", "recovery: AP"),
    ("M14", "informedness", "importance: informedness"),
    ("FunnyBirds", "mean", "FunnyBirds"),
)
OWN = "built-in"


def comparison(models: Sequence[Row]) -> str:
    """A table with a line for each explanation of each model, and a sentence for each model; "" without post-hoc ones.

    Args:
        models: results of each model and seed.
    """
    groups = {row[0]["name"]: explanations(row) for row in models if row[0].get("methods")}
    shown = [line for lines in groups.values() for line in lines.values()]
    columns = [one for one in COMPARED if any(interval(line, *one[:2]) for line in shown)]
    if not columns:
        return ""
    rows = []
    for model, lines in groups.items():
        found = {name: [interval(line, *one[:2]) for one in columns] for name, line in lines.items()}
        best = [best_of([numbers[i] for numbers in found.values()]) for i in range(len(columns))]
        for name, numbers in found.items():
            cells = [f"**{text(one)}**" if one and one == best[i] else text(one) for i, one in enumerate(numbers)]
            rows.append([model, name, *(cells if name != OWN or any(numbers) else ["n/a"] * len(columns))])
    header = ("model", "explanation", *(heading(shown, *one) for one in columns))
    notes = [f"- {model}: {sentence(lines, columns)}" for model, lines in groups.items() if OWN in lines]
    return "\n\n".join([table(header, rows, 2), "\n".join(notes)]).rstrip()


def explanations(row: Row) -> dict[str, Row]:
    """The results of each explanation of a model, by name."""
    own = {OWN: row} if "metrics" in row[0] else {}
    return own | {name: [{"metrics": one["methods"][name]} for one in row] for name in row[0]["methods"]}


def best_of(found: Sequence[Interval | None]) -> Interval | None:
    """The best mean."""
    known = [one for one in found if one is not None]
    return max(known, key=lambda one: one.direction * one.value, default=None)


def sentence(lines: dict[str, Row], columns: Sequence[tuple[str, str, str]]) -> str:
    """How the built-in explanation compares with the best post-hoc method in each column."""
    better, clearly, won, count = 0, [], [], 0
    for key, name, title in columns:
        own = interval(lines[OWN], key, name)
        other = best_of([interval(line, key, name) for method, line in lines.items() if method != OWN])
        if own is None or other is None:
            continue
        count += 1
        better += own.direction * (other.value - own.value) > 0
        if separate(other, own):
            clearly.append(title)
        if separate(own, other):
            won.append(title)
    if not count:
        return "its own units have no place in the input, so only post-hoc explanations have these numbers."
    parts = [f"the best post-hoc method is ahead of the built-in explanation in {better} of {count} columns"]
    parts.append(f"with separate intervals in {len(clearly)}{listed(clearly)}")
    parts.append(f"the built-in explanation is ahead with separate intervals in {len(won)}{listed(won)}")
    return f"{parts[0]}, {parts[1]}; {parts[2]}."


def separate(first: Interval, second: Interval) -> bool:
    """Whether the first is better and the intervals do not overlap."""
    return first.low > second.high if first.direction > 0 else first.high < second.low


def listed(titles: Sequence[str]) -> str:
    """The titles in brackets; "" if there are none."""
    return f" ({', '.join(titles)})" if titles else ""
