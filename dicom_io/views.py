"""Which way a chest was looked through, by its header: frontal, from the side, or nothing that is said."""

import re

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_io.headers import read_text, read_texts, read_value
from dicom_io.wording import code_values, plain

SIDE_VIEWS = {
    *("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LLO", "RLO", "ML", "LM", "LLD", "RLD"),
    *("RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE", "PROFIL", "SEITLICH"),
}
"""View Position values of a lateral or oblique film (PS3.3 C.8.1.2, C.8.11.5)."""

_SIDE_MEANING = re.compile(r"lateral|oblique|medial|sagittal|tangential", re.IGNORECASE)
_SIDE_CODES = [
    view
    for view in (getattr(codes.CID4010, name) for name in codes.CID4010.dir())
    if _SIDE_MEANING.search(view.meaning)
]
"""Views of CID 4010 (DX View) that are no frontal ones; pydicom compares them with their older SRT codes
too."""

_SIDE_WORDS = re.compile(r"\b(LAT(ERAL(E|NA)?)?|PROFIL|PROFILE|SEITLICH|OBLIQUE|DWARS)\b")
_FRONTAL_WORDS = re.compile(r"\b(PA|AP|P\.A|A\.P|FRONTAL|FACE)\b")


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
        return "the view code is a side view" if any(map(_is_side_code, values)) else None
    # The rows of a lateral film run from front to back (PS3.3 C.7.6.1.1.1).
    orientation = read_texts(dataset, "PatientOrientation")
    if orientation and orientation[0][:1] in ("A", "P"):
        return "by Patient Orientation it is a lateral one"
    return None


def described_as_side_view(dataset: Dataset) -> bool:
    """Return whether Series Description alone speaks of a side view; PA/LAT says nothing of one film."""
    if read_value(dataset, "ViewPosition") or read_value(dataset, "ViewCodeSequence"):
        return False
    description = plain(read_text(dataset, "SeriesDescription"))
    return bool(_SIDE_WORDS.search(description)) and not _FRONTAL_WORDS.search(description)


def _is_side_code(value: str) -> bool:
    return any(Code(value, scheme, "") == side for scheme in ("SCT", "SRT") for side in _SIDE_CODES)
