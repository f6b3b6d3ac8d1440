"""CSV tables that people write, read strictly: a mistake is told with its line, no row is lost in silence."""

import csv
import io
from pathlib import Path

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
        If it is not UTF-8 or no CSV, a quote that is never closed among it; the message names file and line.
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
        for row in reader:
            rows.append((line, row))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {line}: expected CSV, came a row that cannot be read ({error}): a quote stands "
            'only around a whole value, and is doubled within one ("")'
        ) from error
    return names, rows
