"""The rows of an Excel workbook's first sheet: an .xlsx is a zip of XML (ECMA-376 part 1)."""

from pathlib import Path
from xml.etree import ElementTree
from zipfile import BadZipFile, ZipFile

MAIN = {"": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
SHEET, TEXTS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
"""Where Excel puts the first sheet, and the texts that its cells name by number (18.3, 18.4)."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of the first sheet below its first row, which names the columns; all cells are text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no workbook.
    """
    try:
        with ZipFile(path) as archive:
            sheet = ElementTree.fromstring(archive.read(SHEET))
            shared = (
                ElementTree.fromstring(archive.read(TEXTS)).findall("si", MAIN)
                if TEXTS in archive.namelist()
                else []
            )
        texts = [_text(item) for item in shared]
        rows = [_cells(row, texts) for row in sheet.iterfind("sheetData/row", MAIN)]
    except (BadZipFile, KeyError, IndexError, ElementTree.ParseError) as error:
        raise ValueError(f"{path.name}: expected an Excel workbook (.xlsx), this is none: {error}") from error
    names = rows[0] if rows else {}
    return [{name: row.get(column, "") for column, name in names.items()} for row in rows[1:]]


def _cells(row: ElementTree.Element, texts: list[str]) -> dict[str, str]:
    """Return the text of each cell by the letters of its column; empty cells are left out in the file."""
    return {
        cell.get("r", "").rstrip("0123456789"): _value(cell, texts).strip()
        for cell in row.iterfind("c", MAIN)
    }


def _value(cell: ElementTree.Element, texts: list[str]) -> str:
    inline = cell.find("is", MAIN)
    if inline is not None:
        return _text(inline)
    value = cell.findtext("v", "", MAIN)
    return texts[int(value)] if cell.get("t") == "s" else value


def _text(item: ElementTree.Element) -> str:
    # Plain, or in pieces that are formatted apart.
    return "".join(piece.text or "" for where in ("t", "r/t") for piece in item.iterfind(where, MAIN))
