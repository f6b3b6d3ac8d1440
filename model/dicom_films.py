"""What a DICOM header says of a film: its patient, its view and whether a child is on it."""

from pathlib import Path

from pydicom import Dataset, config, dcmread
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_io.ages import age_years
from dicom_io.errors import NotDicom
from dicom_io.part10 import PARSE_FAILURES
from dicom_io.side_views import is_side_code, is_side_row
from model.manifest import SIDE_VIEW, Film, view_of

ADULT_YEARS = 18
"""From this age on a patient is no child, for films that are learned as for those that are judged."""

KEPT = {
    "sop_instance_uid": "SOPInstanceUID",
    "study_instance_uid": "StudyInstanceUID",
    "modality": "Modality",
}
"""What is said of a file besides its film, by the attribute that says it."""


def film_of(root: Path, path: str, label: str = "") -> tuple[Film, dict[str, str]]:
    """Return a DICOM file as a film, and what tells it from others.

    Parameters
    ----------
    root
        Folder that the film's path is relative to.
    path
        The file below `root`.
    label
        The film's label.

    Returns
    -------
    Film
        With Patient ID (0010,0020); view `SIDE_VIEW` or what View Position (0018,5101) says; age group by
        Patient's Age (0010,1010), else by birth and study date. ``unknown`` where the header says nothing.
    dict
        The keys of `KEPT` with their values; empty where the header says nothing.

    Raises
    ------
    dicom_io.errors.NotDicom
        If the file cannot be parsed; the message names it.
    """
    try:
        with config.disable_value_validation():  # its warnings repeat values, and those may be names
            header = dcmread(root / path, stop_before_pixels=True)
            ages = ("PatientAge", "PatientBirthDate", "StudyDate", "AcquisitionDate")
            years = age_years(*(_text(header, keyword) for keyword in ages))
            film = Film(path, label, _text(header, "PatientID"), view=_view(header), age_group=_group(years))
            return film, {name: _text(header, keyword) for name, keyword in KEPT.items()}
    except PARSE_FAILURES as error:
        raise NotDicom(f"expected a DICOM file, {path} is none: {type(error).__name__}") from error


def _view(header: Dataset) -> str:
    """Return the view by the first attribute that says one, in the order in which the worker asks them."""
    if stated := _text(header, "ViewPosition"):
        return view_of(stated)
    if codes := [_text(item, "CodeValue") for item in _items(header, "ViewCodeSequence")]:
        return SIDE_VIEW if any(map(is_side_code, codes)) else "unknown"
    return SIDE_VIEW if is_side_row(_text(header, "PatientOrientation")) else "unknown"


def _group(years: float | None) -> str:
    if years is None:
        return "unknown"
    return "child" if years < ADULT_YEARS else "adult"


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    value = header.get(keyword)
    return list(value) if isinstance(value, Sequence) else []


def _text(dataset: Dataset, keyword: str) -> str:
    """Return an attribute as text, several values joined by a backslash as DICOM writes them."""
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue | list) else [value]
    return "\\".join("" if part is None else str(part) for part in values).replace("\0", "").strip()
