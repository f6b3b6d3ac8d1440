"""Children among the normal films of the COVID-19 Radiography Database are told, whatever its sheet says."""

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import escape
from zipfile import ZipFile

import pytest

from model.radiography import normals, radiography
from model.workbook import read_rows

RSNA = "https://www.kaggle.com/c/rsna-pneumonia-detection-challenge/data"
KERMANY = "https://www.kaggle.com/paultimothymooney/chest-xray-pneumonia"
HEADER = ("FILE NAME", "FORMAT", "SIZE", "URL")
XMLNS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    """Write a workbook as Excel does: every text once, cells name it by its number."""
    texts: dict[str, int] = {}
    body = "".join(
        f'<row r="{number}">'
        + "".join(
            f'<c r="{"ABCDEFG"[place]}{number}" t="s"><v>{texts.setdefault(text, len(texts))}</v></c>'
            for place, text in enumerate(row)
            if text
        )
        + "</row>"
        for number, row in enumerate(rows, 1)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with ZipFile(path, "w") as archive:
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{XMLNS}"><sheetData>{body}</sheetData></worksheet>',
        )
        shared = "".join(f"<si><t>{escape(text)}</t></si>" for text in texts)
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="{XMLNS}">{shared}</sst>')


def lay_out(root: Path, names: Iterable[str]) -> None:
    for name in names:
        path = root / "Normal" / "images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def sheet(root: Path, children: Iterable[int]) -> None:
    inside = set(children)
    rows = ((f"NORMAL-{n}", "PNG", "256*256", KERMANY if n in inside else RSNA) for n in range(1, 10_193))
    workbook(root / "Normal.metadata.xlsx", (HEADER, *rows))


def children(root: Path) -> set[str]:
    return {Path(film.path).stem for film in normals(root) if film.age_group == "child"}


def test_a_workbook_is_read_as_excel_writes_it(tmp_path: Path) -> None:
    workbook(tmp_path / "a.xlsx", [HEADER, ("NORMAL-1", "PNG", "", "a&b"), ("NORMAL-2", "", "256*256", "")])

    assert read_rows(tmp_path / "a.xlsx") == [
        {"FILE NAME": "NORMAL-1", "FORMAT": "PNG", "SIZE": "", "URL": "a&b"},
        {"FILE NAME": "NORMAL-2", "FORMAT": "", "SIZE": "256*256", "URL": ""},
    ]


def test_a_file_that_is_no_workbook_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("FILE NAME,URL")

    with pytest.raises(ValueError, match=r"a\.xlsx: expected an Excel workbook"):
        read_rows(tmp_path / "a.xlsx")


def test_children_are_told_by_the_numbers_that_their_pixels_have_and_not_by_the_wrong_sheet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, ["Normal-62", "Normal-63", "Normal-1403", "Normal-1404", "Normal-8852", "Normal-10192"])
    sheet(tmp_path, range(8852, 10_193))

    assert children(tmp_path) == {"Normal-63", "Normal-1403"}
    assert not caplog.records


def test_a_child_that_another_sheet_names_is_a_child_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, ["Normal-1", "Normal-70", "Normal-8852"])
    sheet(tmp_path, [1, *range(8852, 10_193)])

    assert children(tmp_path) == {"Normal-1", "Normal-70", "Normal-8852"}
    assert (
        "2 normal films, Normal/images/Normal-1.png the first, are children by Normal.metadata" in caplog.text
    )


def test_without_the_sheet_children_are_still_told_and_its_absence_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, ["Normal-62", "Normal-63"])

    assert children(tmp_path) == {"Normal-63"}
    assert f"no Normal.metadata.xlsx in {tmp_path}" in caplog.text


def test_a_film_of_another_name_is_no_adult_silently(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lay_out(tmp_path, ["NORMAL (1)", "Normal-10193", "Normal-1"])
    sheet(tmp_path, [])

    assert children(tmp_path) == set()
    assert "2 normal films, Normal/images/NORMAL (1).png the first, are not named" in caplog.text


def test_a_sheet_without_its_columns_is_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, ["Normal-1"])
    workbook(tmp_path / "Normal.metadata.xlsx", [("NAME", "LINK"), ("NORMAL-1", RSNA)])

    with pytest.raises(ValueError, match=r"Normal\.metadata\.xlsx has no column \['FILE NAME', 'URL'\]"):
        radiography(tmp_path)
