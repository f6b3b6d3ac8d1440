"""What we keep of a study, a series and an instance."""

import re
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset, config
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_io.ages import age_years
from dicom_io.part10 import PARSE_FAILURES

OWN_MANUFACTURER = "cxr-worker"
"""Manufacturer (0008,0070) of every object that we write; the loop guard knows our output by it."""

_UID_PATTERN = re.compile(r"[0-9.]{1,64}")


def is_valid_uid(text: str) -> bool:
    """Return whether the text has only digits and dots, 1 to 64 of them (PS3.5 9.1).

    Leading zeros and empty components are tolerated: hospitals have them, and they harm nothing.
    """
    return _UID_PATTERN.fullmatch(text) is not None


def identity_problem(dataset: Dataset, sop_instance_uid: str) -> str | None:
    """Return in words why no result can refer to this data set, or None when one can.

    Parameters
    ----------
    dataset : pydicom.Dataset
        As received; nothing of it is repeated in the words.
    sop_instance_uid : str
        Affected SOP Instance UID of the C-STORE request (PS3.7 9.1.1.1.4), under which it is known.
    """
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        value = read_value(dataset, keyword)
        if not is_valid_uid(str(value)):
            came = "none" if value is None else "other text"
            return f"{keyword}: expected 1 to 64 digits and dots (PS3.5 9.1), came {came}"
    if read_value(dataset, "SOPInstanceUID") != sop_instance_uid:
        return "SOPInstanceUID: expected that of the C-STORE request, the data set holds another"
    return None


def printable(text: str, limit: int = 64) -> str:
    """Return foreign text as one line for a log or a table, of at most `limit` characters.

    Control and format characters go, blanks and line ends become single blanks.
    """
    words = "".join(letter if letter.isprintable() else " " * letter.isspace() for letter in text).split()
    return " ".join(words)[:limit].rstrip()


@dataclass(frozen=True)
class Header:
    """What the database keeps of one instance; None or () where the data set says nothing readable.

    Text is Unicode, without NUL characters. Nothing that could name a patient is in `repr`.
    """

    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None
    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    transfer_syntax_uid: str | None = None
    modality: str | None = None
    manufacturer: str | None = None
    image_type: tuple[str, ...] = ()
    body_part_examined: str | None = None
    view_position: str | None = None
    burned_in_annotation: str | None = None
    photometric_interpretation: str | None = None
    rows: int | None = None
    columns: int | None = None
    number_of_frames: int | None = None
    study_date: str | None = None
    """As sent, normally YYYYMMDD."""
    study_time: str | None = None
    """As sent, normally HHMMSS."""
    patient_id: str | None = field(default=None, repr=False)
    issuer_of_patient_id: str | None = field(default=None, repr=False)
    patient_name: str | None = field(default=None, repr=False)
    """As in the data set, components separated by ^, groups by =."""
    patient_birth_date: str | None = field(default=None, repr=False)
    patient_sex: str | None = field(default=None, repr=False)
    patient_age_years: float | None = field(default=None, repr=False)
    """From PatientAge, else from birth and study date; None when neither is possible."""
    accession_number: str | None = field(default=None, repr=False)
    study_description: str | None = field(default=None, repr=False)
    series_description: str | None = field(default=None, repr=False)


_TEXT_FIELDS = {
    "sop_class_uid": "SOPClassUID",
    "sop_instance_uid": "SOPInstanceUID",
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "modality": "Modality",
    "manufacturer": "Manufacturer",
    "body_part_examined": "BodyPartExamined",
    "view_position": "ViewPosition",
    "burned_in_annotation": "BurnedInAnnotation",
    "photometric_interpretation": "PhotometricInterpretation",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "patient_id": "PatientID",
    "issuer_of_patient_id": "IssuerOfPatientID",
    "patient_name": "PatientName",
    "patient_birth_date": "PatientBirthDate",
    "patient_sex": "PatientSex",
    "accession_number": "AccessionNumber",
    "study_description": "StudyDescription",
    "series_description": "SeriesDescription",
}
_NUMBER_FIELDS = {"rows": "Rows", "columns": "Columns", "number_of_frames": "NumberOfFrames"}


def read_header(dataset: Dataset) -> Header:
    """Return what we keep of a data set; a value that is missing or invalid becomes None, never an error.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Any data set, with or without `file_meta`, in any character set. Text without a declared character
        set that is valid UTF-8 is read as UTF-8.
    """
    values: dict[str, Any] = {name: read_text(dataset, keyword) for name, keyword in _TEXT_FIELDS.items()}
    values |= {name: _read_integer(dataset, keyword) for name, keyword in _NUMBER_FIELDS.items()}
    return Header(
        image_type=read_texts(dataset, "ImageType"),
        transfer_syntax_uid=read_text(getattr(dataset, "file_meta", Dataset()), "TransferSyntaxUID"),
        patient_age_years=read_age_years(dataset),
        **values,
    )


def read_value(dataset: Dataset, keyword: str) -> Any:
    """Return an attribute's value, or None when it is missing, empty or cannot be decoded.

    pydicom decodes a value when it is first asked for, so that each access may fail.
    """
    try:
        with config.disable_value_validation():  # its warnings repeat values, and those may be names
            value = dataset.get(keyword)
    except PARSE_FAILURES:
        return None
    return None if value is None or value == "" else value


def read_items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; none when it is missing, or came as something else than a sequence."""
    value = read_value(dataset, keyword)
    return list(value) if isinstance(value, Sequence) else []


def read_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return all values of an attribute as stripped Unicode text, without NUL characters; () if none."""
    value = read_value(dataset, keyword)
    if value is None or isinstance(value, bytes):
        return ()
    undeclared = not read_value(dataset, "SpecificCharacterSet")
    try:
        texts = [str(part) for part in (value if isinstance(value, MultiValue | list) else [value])]
    except PARSE_FAILURES:
        return ()
    return tuple(_clean(_as_utf8(text) if undeclared else text) for text in texts)


def read_text(dataset: Dataset, keyword: str) -> str | None:
    """Return an attribute as Unicode text, several values joined by a backslash as DICOM writes them."""
    return "\\".join(read_texts(dataset, keyword)) or None


def _as_utf8(text: str) -> str:
    """Undo that pydicom reads bytes without a declared character set as Latin-1, if they are UTF-8."""
    try:
        return text.encode("iso8859-1").decode("utf-8")
    except UnicodeError:
        return text


def _clean(text: str) -> str:
    # PostgreSQL stores neither NUL nor lone surrogates.
    return text.replace("\0", "").encode("utf-8", errors="replace").decode("utf-8").strip()


def _read_integer(dataset: Dataset, keyword: str) -> int | None:
    value = read_value(dataset, keyword)
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def read_age_years(dataset: Dataset) -> float | None:
    """Return the patient's age at the time of the study in years; None when missing or impossible.

    PatientAge counts first, also without its unit (`62`), as some devices write it. When it is missing,
    impossible or zero, the completed years from birth to study count.
    """
    keywords = ("PatientAge", "PatientBirthDate", "StudyDate", "AcquisitionDate")
    return age_years(*(read_text(dataset, keyword) for keyword in keywords))
