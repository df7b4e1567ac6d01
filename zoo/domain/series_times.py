"""Times in the files of users: numbers, or dates in ISO 8601."""

import calendar
import math
import re
from datetime import UTC, datetime

SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "day": 86400.0, "week": 604800.0}
MONTHS = {"month": 1, "quarter": 3, "year": 12}  # of the calendar, so that monthly data have equal steps
MONTH_ONLY = re.compile(r"\d{4}-\d{2}")
SLASHES = re.compile(r"^(\d{4})/(\d{2})/(\d{2})")


def time_of(text: str, unit: str) -> float:
    """A time in multiples of `unit`.

    Args:
        text: a number, which is in this unit already, or a date such as "2024-03", "2024-03-01", "2024/03/01" or
            "2024-03-01T12:30:00+01:00"; without a time zone it is taken as UTC.
        unit: for dates one of ms, s, min, h, day, week, month, quarter or year.

    Raises:
        ValueError: neither a finite number nor a date, or a date with a unit that dates do not have. The message
            begins with "must", to be preceded by the name of the value.
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return _date(text, unit)
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number or a date; got {text!r:.80}")
    return number


def _date(text: str, unit: str) -> float:
    try:
        text = SLASHES.sub(r"\1-\2-\3", text)
        date = datetime.fromisoformat(f"{text}-01" if MONTH_ONLY.fullmatch(text) else text)
    except ValueError:
        raise ValueError(f"must be a number or a date like 2024-03-01 12:30; got {text!r:.80}") from None
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    if unit in SECONDS:
        return date.timestamp() / SECONDS[unit]
    if unit in MONTHS:
        seconds = (date - date.replace(day=1, hour=0, minute=0, second=0, microsecond=0)).total_seconds()
        part = seconds / (SECONDS["day"] * calendar.monthrange(date.year, date.month)[1])
        return (date.year * 12 + date.month - 1 + part) / MONTHS[unit]
    units = ", ".join([*SECONDS, *MONTHS])
    raise ValueError(f"must be a number if the unit is '{unit}'; for dates set `unit` of the data to one of {units}")
