"""Writes the report of a conversion: convert.json, convert.html, and a table on the terminal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo.conversion.report import Conversion, report
from zoo.utils.atomic import write_text
from zoo.utils.json_text import to_json
from zoo.views.conversion import about, budget_line, conversion_page, lines_of, warnings_of

STEM = "convert"


def write_report(conversion: Conversion, folder: Path, commands: Sequence[str] = ()) -> dict[str, Any]:
    """Measures a conversion, writes the report to a folder, prints it, and returns its numbers.

    Args:
        conversion: the model and what it was converted from.
        folder: of the files.
        commands: to go on with, for the page.
    """
    record = report(conversion)
    warnings = warnings_of(record, len(conversion.model.domain.classes))
    write_text(folder / f"{STEM}.json", to_json(record, indent=1) + "\n")
    page = conversion_page(f"Conversion: {folder.resolve().name}", record, warnings, commands)
    write_text(folder / f"{STEM}.html", page)
    print(f"\n{about(record)}")
    lines = lines_of(record)
    names, values = (max(len(line[i]) for line in lines) for i in range(2))
    for line in lines:
        print(f"  {line.name:<{names}}  {line.value:>{values}}  {line.meaning}")
    for text in (*([budget_line(record["budget"])] if "budget" in record else []), *warnings):
        print(text)
    print(f"report   {folder / STEM}.html · numbers {folder / STEM}.json")
    return record
