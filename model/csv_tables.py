"""CSV tables that people write, read strictly: a mistake is told with its line, no row is lost in silence."""

import csv
import io
from collections import Counter
from pathlib import Path
from typing import cast

Row = dict[str, str | None]


def read_table(path: Path, data: bytes | None = None) -> tuple[tuple[str, ...], list[tuple[int, Row]]]:
    """Return the names of the columns, and each row with the number of the line that it begins on.

    Parameters
    ----------
    path
        The file, in UTF-8 with or without a byte order mark.
    data
        Its content, where it had to be unpacked first.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not UTF-8 or no CSV, a quote that is never closed among it, two columns have one name, or a
        row has a value that no column names; the message names file and line.
    """
    if data is None:
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}, line {line}: expected UTF-8, came the byte 0x{data[error.start]:02x}: save the table "
            "as UTF-8"
        ) from error
    # Strict: otherwise a stray quote swallows every row to the next one, or to the end.
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, Row]] = []
    line = 1
    try:
        names = tuple(reader.fieldnames or ())
        line = reader.line_num + 1
        _check_names(path, names)
        for row in reader:
            _check_width(path, line, row, len(names))
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {line}: expected CSV, came a row that cannot be read ({error}): a quote stands "
            'only around a whole value, and is doubled within one ("")'
        ) from error
    return names, rows


def _check_names(path: Path, names: tuple[str, ...]) -> None:
    twice = sorted(name for name, times in Counter(names).items() if name and times > 1)
    if twice:
        raise ValueError(
            f"{path}, line 1: expected each column once, came {twice} more than once: which of them holds, "
            "nobody knows"
        )


def _check_width(path: Path, line: int, row: Row, columns: int) -> None:
    """Refuse values behind the last column: a comma without quotes has moved every value after it.

    Empty ones are let through, since spreadsheets write them.
    """
    # ``csv.DictReader`` keeps what no column names as a list under None.
    beyond = cast("dict[None, list[str]]", row).pop(None, [])
    if any(value.strip() for value in beyond):
        raise ValueError(
            f"{path}, line {line}: expected {columns} values, one per column, came {columns + len(beyond)}: "
            'a value that holds a comma stands in quotes ("a,b")'
        )
