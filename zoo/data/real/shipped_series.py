"""Public-domain series that the package statsmodels contains, read from its files."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from zoo.utils.csv_files import Table, TableRow, read_table
from zoo.utils.errors import did_you_mean
from zoo.utils.optional import need

PREFIX = "statsmodels:"
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class Shipped(NamedTuple):
    """A series of a package.

    Attributes:
        rows: column "time" and the variables, from the cells of one row of the file.
        unit: of the times, which are one apart or a multiple of it.
    """

    rows: Callable[[dict[str, str]], list[dict[str, str]]]
    unit: str


def _co2(cells: dict[str, str]) -> list[dict[str, str]]:
    day = cells["date"]
    return [{"time": f"{day[:4]}-{day[4:6]}-{day[6:]}", "co2": cells["co2"]}]


def _elnino(cells: dict[str, str]) -> list[dict[str, str]]:
    return [{"time": f"{cells['YEAR']}-{m:02}", "temperature": cells[name]} for m, name in enumerate(MONTHS, 1)]


def _sunspots(cells: dict[str, str]) -> list[dict[str, str]]:
    return [{"time": cells["YEAR"], "sunspots": cells["SUNACTIVITY"]}]


def _nile(cells: dict[str, str]) -> list[dict[str, str]]:
    return [{"time": cells["year"], "volume": cells["volume"]}]


def _macrodata(cells: dict[str, str]) -> list[dict[str, str]]:
    month = 3 * int(float(cells["quarter"])) - 2
    values = {name: value for name, value in cells.items() if name not in ("year", "quarter")}
    return [{"time": f"{int(float(cells['year']))}-{month:02}", **values}]


SERIES = {
    "co2": Shipped(_co2, "week"),
    "elnino": Shipped(_elnino, "month"),
    "macrodata": Shipped(_macrodata, "quarter"),
    "nile": Shipped(_nile, "year"),
    "sunspots": Shipped(_sunspots, "year"),
}
"""co2: weekly at Mauna Loa 1958-2001, some weeks missing; elnino: monthly sea surface temperature 1950-2010; macrodata:
quarterly figures of the US economy 1959-2009; nile: yearly flow 1871-1970; sunspots: yearly 1700-2008."""


def shipped_series(name: str) -> tuple[Table, str]:
    """A series as a table with a column "time", and the unit of time.

    Args:
        name: "statsmodels:co2" or another of `SERIES`.

    Raises:
        ValueError: there is no such series.
        ImportError: statsmodels is not installed (the extra `forecast`).
    """
    short = name.removeprefix(PREFIX)
    if short not in SERIES:
        raise ValueError(f"no series named '{name}'; {did_you_mean(short, SERIES)}")
    package = need("statsmodels", "forecast")
    path = Path(package.__file__).parent / "datasets" / short / f"{short}.csv"
    rows = [
        TableRow(path, row.line, {key: value.strip() for key, value in cells.items()})
        for row in read_table(path, what="series").rows
        for cells in SERIES[short].rows(row.cells)
    ]
    return Table(path, tuple(rows[0].cells), rows), SERIES[short].unit
