"""A patient's age at the time of the study, from what a header says of it."""

import re
from datetime import date

MAX_AGE_YEARS = 120.0
"""An age above this is a placeholder, such as the birth date 18000101."""

_AGE_PATTERN = re.compile(r"(\d{1,3})([DWMY]?)")
_DATE_PATTERN = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_YEARS_PER_UNIT = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0, "": 1.0}


def age_years(stated_age: str | None, birth_date: str | None, *taken_on: str | None) -> float | None:
    """Return the age in years; None when missing or impossible.

    Parameters
    ----------
    stated_age
        Patient's Age (0010,1010), such as ``011M``; it counts first, also without its unit (``62``), as some
        devices write it. When it is missing, impossible or zero, the completed years from birth count.
    birth_date
        Patient's Birth Date (0010,0030).
    taken_on
        Dates of the study, the first that can be read counts.
    """
    stated = _stated(stated_age)
    if stated:
        return stated
    born = _date(birth_date)
    taken = next((day for text in taken_on if (day := _date(text))), None)
    if born is None or taken is None or taken < born:
        return stated
    years = float(taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day)))
    return years if years <= MAX_AGE_YEARS else stated


def _stated(text: str | None) -> float | None:
    match = _AGE_PATTERN.fullmatch(text or "")
    if match is None:
        return None
    years = int(match[1]) * _YEARS_PER_UNIT[match[2]]
    return years if years <= MAX_AGE_YEARS else None


def _date(text: str | None) -> date | None:
    match = _DATE_PATTERN.fullmatch(text or "")
    try:
        return None if match is None else date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return None
