"""Which way a chest was looked through, by its header: frontal, from the side, or nothing that is said."""

from pydicom import Dataset

from dicom_io.headers import read_text, read_texts, read_value
from dicom_io.side_views import SIDE_VIEWS, is_side_code, is_side_row, is_worded_as_side_view
from dicom_io.wording import code_values, plain


def side_view(dataset: Dataset) -> str | None:
    """Return in words what says that the film is a lateral or oblique one, or None when nothing does.

    References
    ----------
    PS3.3 C.8.1.2 and C.8.11.5 (View Position, View Code), C.7.6.1.1.1 (Patient Orientation).
    """
    view = plain(read_text(dataset, "ViewPosition"))
    if view:
        return f"View Position is {view}" if view in SIDE_VIEWS else None
    values = code_values(dataset, "ViewCodeSequence")
    if values:
        return "the view code is a side view" if any(map(is_side_code, values)) else None
    orientation = read_texts(dataset, "PatientOrientation")
    if orientation and is_side_row(orientation[0]):
        return "by Patient Orientation it is a lateral one"
    return None


def described_as_side_view(dataset: Dataset) -> bool:
    """Return whether Series Description alone speaks of a side view; PA/LAT says nothing of one film."""
    if read_value(dataset, "ViewPosition") or read_value(dataset, "ViewCodeSequence"):
        return False
    return is_worded_as_side_view(plain(read_text(dataset, "SeriesDescription")))
