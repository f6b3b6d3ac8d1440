"""Two films under one SOP Instance UID: what is a repeat, a changed identity, or another picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, compress, phantom_HW, to_bytes
from pydicom import FileDataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from dicom_io.acceptance import Reason
from dicom_io.part10 import read_dataset
from worker.twins import compare


class Folder:
    """Films on disk, numbered in the order in which they came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.films: list[tuple[int, Path]] = []

    def put(self, film: FileDataset) -> Path:
        number = len(self.films) + 1
        file = self.path / f"{number}.dcm"
        file.write_bytes(to_bytes(film))
        self.films.append((number, file))
        return file

    def reason(self, later: FileDataset) -> Reason | None:
        *earlier, (_, file) = [*self.films, (0, self.put(later))]
        refusal = compare(read_dataset(file), earlier)
        return None if refusal is None else refusal.reason


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.put(build_film())
    return made


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_another_encoding_is_a_repeat(folder: Folder, syntax: str) -> None:
    assert folder.reason(compress(build_film(), syntax)) == Reason.REPEAT


@pytest.mark.parametrize(
    "changed",
    [
        {"WindowCenter": "2000", "WindowWidth": "1000"},
        {"StudyDescription": "Thorax", "AccessionNumber": "ACC-2", "InstitutionName": "Elsewhere"},
        {"PatientName": "GRÜN^ÅSA^^"},
        {"PatientName": "Grün^Åsa=漢字^名=かな^な"},
        {"IssuerOfPatientID": None},
        {"PatientBirthDate": ""},
    ],
    ids=["window", "descriptions", "case", "other scripts", "no issuer", "no birth date"],
)
def test_what_archives_add_or_drop_is_a_repeat(folder: Folder, changed: dict[str, Any]) -> None:
    assert folder.reason(build_film(**changed)) == Reason.REPEAT


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("PatientID", "PID-4712"),
        ("PatientID", None),
        ("StudyInstanceUID", "1.2.3.4"),
        ("IssuerOfPatientID", "HOSPITAL-B"),
        ("PatientName", "Braun^Eva"),
        ("PatientBirthDate", "19610306"),
    ],
)
def test_another_patient_or_study_is_a_changed_identity(
    folder: Folder, keyword: str, value: str | None
) -> None:
    refusal = compare(build_film(**{keyword: value}), folder.films)
    assert refusal is not None
    assert refusal.reason == Reason.IDENTITY_CHANGED
    assert refusal.detail.startswith("image 1 is the same film with another ")
    assert value is None or value not in refusal.detail


def test_other_pixels_are_a_conflict_whoever_the_patient_is(folder: Folder) -> None:
    mirrored = np.fliplr(phantom_HW())
    assert folder.reason(build_film(mirrored)) == Reason.UID_CONFLICT
    assert folder.reason(build_film(mirrored, PatientID="PID-4712")) == Reason.IDENTITY_CHANGED


def test_a_film_without_readable_pixels_is_no_repeat_of_one_with(folder: Folder) -> None:
    assert folder.reason(build_film(Rows=None)) == Reason.UID_CONFLICT


def test_the_same_change_again_is_a_repeat_of_the_changed_film(folder: Folder) -> None:
    """Else each repeat of what an operator has decided would be an alarm again."""
    folder.put(build_film(PatientID="PID-4712"))
    again = compress(build_film(PatientID="PID-4712"), RLELossless)
    refusal = compare(again, folder.films)
    assert refusal is not None
    assert refusal.reason == Reason.REPEAT
    assert refusal.detail.endswith("image 2")
    assert folder.reason(build_film(PatientID="PID-4713")) == Reason.IDENTITY_CHANGED


def test_with_nothing_readable_before_it_a_film_is_judged(folder: Folder, tmp_path: Path) -> None:
    ((_, file),) = folder.films
    file.write_bytes(b"no film")
    gone = tmp_path / "gone.dcm"
    assert compare(build_film(), [(1, file), (2, gone)]) is None
    whole = folder.put(build_film())
    assert compare(build_film(PatientID="X"), [(1, file), (2, gone), (3, whole)]) is not None
