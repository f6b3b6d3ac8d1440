"""Values as hospitals write them → values that their VR allows, where the meaning is certain; else none."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from math import isfinite
from typing import Final
from unicodedata import category

_DATE: Final = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})")
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6})\d*)?)?)?")
_AGE: Final = re.compile(r"(\d{1,3})\s*([DWMYdwmy]?)")
_OFFSET: Final = re.compile(r"([+-])(\d{2})(\d{2})")
_CODE_STRING: Final = re.compile(r"[A-Z0-9 _]{1,16}")
_DECIMAL: Final = re.compile(r"[+\-]?(\d+(\.\d*)?|\.\d+)([eE][+\-]?\d+)?")
_SEXES: Final = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
_OPPOSITES: Final = ({"L", "R"}, {"A", "P"}, {"H", "F"})
_CONTROL: Final = dict.fromkeys((*range(32), *range(127, 160)))
"""C0, DEL and C1: no text may hold them (PS3.5 6.1.3)."""


def repair_text(value: str, longest: int) -> str | None:
    """Return the text without control characters, None when it is longer than its VR allows.

    Parameters
    ----------
    value : str
        Text of VR SH or LO.
    longest : int
        Most characters that the VR allows (PS3.5 table 6.2-1).
    """
    text = value.translate(_CONTROL).strip()
    return text if len(text) <= longest and "\\" not in text else None


def repair_name(value: str) -> str | None:
    """Return a person name without control characters, None when a component group is too long.

    Parameters
    ----------
    value : str
        Text of VR PN.

    References
    ----------
    PS3.5 6.2.1: up to three component groups of at most 64 characters each.
    """
    text = value.translate(_CONTROL).strip()
    groups = text.split("=")
    fits = len(groups) <= 3 and all(len(group) <= 64 for group in groups)
    return text if fits and "\\" not in text else None


def repair_identifier(value: str, longest: int) -> str | None:
    """Return an identifier without blanks and line ends around it, None when anything else is wrong.

    Nothing inside is dropped: `12` and `34` with a line end between them, made `1234`, is somebody else.

    Parameters
    ----------
    value : str
        Text of VR SH or LO.
    longest : int
        Most characters that the VR allows (PS3.5 table 6.2-1).
    """
    text = value.strip(" \t\r\n\0")
    clean = "\\" not in text and not any(category(letter) == "Cc" for letter in text)
    return text if clean and len(text) <= longest else None


def is_long_string(text: str) -> bool:
    """Return whether the text is one value of VR LO as we write it: 1-64 printable characters, no backslash.

    References
    ----------
    PS3.5 table 6.2-1.
    """
    return 0 < len(text) <= 64 and text.isprintable() and "\\" not in text


def repair_date(value: str) -> str | None:
    """Return a date as `YYYYMMDD`; `2024.01.02` (ACR-NEMA), `2024-01-02`, `2024/01/02` are certain enough."""
    match = _DATE.fullmatch(value.strip())
    if match is None:
        return None
    year, _, month, day = match.groups()
    try:
        datetime(int(year), int(month), int(day), tzinfo=UTC)
    except ValueError:
        return None
    return f"{year}{month}{day}"


def repair_time(value: str) -> str | None:
    """Return a time as `HH[MM[SS[.FFFFFF]]]`; `10:15:30` (ACR-NEMA) is certain enough."""
    match = _TIME.fullmatch(value.strip())
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    # PS3.5 table 6.2-1: 60 seconds are a leap second.
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 60:
        return None
    return f"{hour}{minute or ''}{second or ''}" + (f".{fraction}" if fraction else "")


def repair_age(value: str) -> str | None:
    """Return an age as three digits and a unit; `62` is taken as years."""
    match = _AGE.fullmatch(value.strip())
    if match is None:
        return None
    return f"{int(match[1]):03d}{(match[2] or 'Y').upper()}"


def repair_sex(value: str) -> str | None:
    """Return `M`, `F` or `O` (PS3.3 C.7.1.1)."""
    return _SEXES.get(value.strip().upper())


def repair_code_string(value: str) -> str | None:
    """Return the value in capitals when it is a Code String, else None."""
    text = value.strip().upper()
    return text if _CODE_STRING.fullmatch(text) else None


def repair_yes_or_no(value: str) -> str | None:
    """Return `YES` or `NO`, None for anything else."""
    text = value.strip().upper()
    return text if text in {"YES", "NO"} else None


def positive_decimal(value: str) -> str | None:
    """Return a Decimal String above zero, None for anything else."""
    text = value.strip()
    if not _DECIMAL.fullmatch(text) or len(text) > 16:
        return None
    return text if isfinite(float(text)) and float(text) > 0 else None


def repair_height(value: str) -> str | None:
    """Return a patient's size in metres; 172 would be centimetres, which the attribute does not allow."""
    text = positive_decimal(value)
    return text if text is not None and float(text) <= 3 else None


def repair_spacing(values: Sequence[str]) -> list[str] | None:
    """Return the spacing of rows and of columns in mm, None unless both are above zero."""
    decimals = [decimal for value in values if (decimal := positive_decimal(value)) is not None]
    return decimals if len(values) == len(decimals) == 2 else None


def repair_orientation(values: Sequence[str]) -> list[str] | None:
    """Return the patient orientation of row and column (PS3.3 C.7.6.1.1.1), None unless both are valid."""
    directions = [value.strip().upper() for value in values]
    return directions if len(directions) == 2 and all(map(_is_direction, directions)) else None


def _is_direction(value: str) -> bool:
    letters = set(value)
    return (
        1 <= len(value) <= 3
        and len(letters) == len(value)
        and letters <= set("APRLHF")
        and not any(pair <= letters for pair in _OPPOSITES)
    )


def repair_utc_offset(value: str) -> str | None:
    """Return an offset as `+HHMM` between -1200 and +1400 (PS3.3 C.12.1.1.8), None for anything else."""
    match = _OFFSET.fullmatch(value.strip())
    if match is None or value.strip() == "-0000" or int(match[3]) > 59:
        return None
    minutes = int(f"{match[1]}1") * (int(match[2]) * 60 + int(match[3]))
    return value.strip() if -12 * 60 <= minutes <= 14 * 60 else None


def zone_of(utc_offset: str) -> timezone:
    """Return the time zone of an offset that `repair_utc_offset` let pass."""
    sign = -1 if utc_offset.startswith("-") else 1
    return timezone(sign * timedelta(hours=int(utc_offset[1:3]), minutes=int(utc_offset[3:5])))
