"""How lateral and oblique projections are worded: one table for what is served and what is learned."""

import re
from functools import cache

SIDE_VIEWS = {
    *("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LLO", "RLO", "ML", "LM", "LLD", "RLD"),
    *("RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE", "PROFIL", "SEITLICH"),
}
"""View Position values of a lateral or oblique film (PS3.3 C.8.1.2, C.8.11.5)."""

_SIDE_MEANING = re.compile(r"lateral|oblique|medial|sagittal|tangential", re.IGNORECASE)
_SIDE_WORDS = re.compile(r"\b(LAT(ERAL(E|NA)?)?|PROFIL|PROFILE|SEITLICH|OBLIQUE|DWARS)\b")
_FRONTAL_WORDS = re.compile(r"\b(PA|AP|P\.A|A\.P|FRONTAL|FACE)\b")


def is_worded_as_side_view(text: str) -> bool:
    """Return whether free text in upper case speaks of a side view; PA/LAT says nothing of one film."""
    return bool(_SIDE_WORDS.search(text)) and not _FRONTAL_WORDS.search(text)


def is_side_code(value: str) -> bool:
    """Return whether a code value is that of a view in CID 4010 (DX View) that is no frontal one (PS3.16)."""
    # Local: whoever asks for words alone needs no DICOM library.
    from pydicom.sr.coding import Code

    return any(Code(value, scheme, "") == side for scheme in ("SCT", "SRT") for side in _side_codes())


def is_side_row(direction: str) -> bool:
    """Return whether rows in that direction, the first value of Patient Orientation, make a lateral film.

    The rows of a lateral film run from front to back (PS3.3 C.7.6.1.1.1).
    """
    return direction[:1] in ("A", "P")


@cache
def _side_codes() -> tuple[object, ...]:
    """Return the side views of CID 4010; pydicom compares them with their older SRT codes too."""
    from pydicom.sr.codedict import codes

    views = (getattr(codes.CID4010, name) for name in codes.CID4010.dir())
    return tuple(view for view in views if _SIDE_MEANING.search(view.meaning))
