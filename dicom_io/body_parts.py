"""Which part of the body a header names: chest, another one, or none that we know.

Codes and terms come from pydicom's dictionary of PS3.16 (CID 4009 DX Anatomy Imaged, CID 4031 Common Anatomic
Regions); by hand are only the words of hospitals and the short forms of annex L, which no library has.
"""

import re
from enum import Enum

from pydicom.sr.codedict import codes

from dicom_io.wording import plain


class Part(Enum):
    """What a word or code says of the part of the body."""

    CHEST = "chest"
    ANOTHER = "another"
    UNKNOWN = "unknown"
    """A word or code that we do not know."""
    NONE = "none"
    """Nothing is said."""


CHEST_WORDS = (
    # English and Latin, with what radiographers type
    *("CHEST", "CHST", "CXR", "THORAX", "THX", "LUNG", "PULMO", "CAGE THORAC"),
    # Spanish, Portuguese, Italian, Romanian, French, German, Dutch
    *("TORAX", "TORAC", "TORAKS", "PECHO", "PETTO", "POUMON", "POLMON", "PULMAO", "PULMOES", "PLAMAN"),
    *("BRUSTKORB", "BORSTKAS", "LONGFOTO"),
    # Swedish, Finnish, Polish, Czech, Slovak, Croatian, Hungarian, Turkish, Vietnamese, Malay
    *("BROST", "RINTAKEHA", "KEUHKO", "KLATKA PIERS", "KL. PIERS", "PŁUC", "PLUC", "HRUDNIK", "PLICE"),
    *("GRUDNI", "MELLKAS", "TUDO", "GOGUS", "AKCIGER", "NGUC", "PARU-PARU"),
    # Russian, Ukrainian, Bulgarian, Greek
    *("ГРУДН", "ЛЕГКИ", "ЛЕГЕН", "ГРЪД", "ΘΩΡΑΚ", "ΠΝΕΥΜΟΝ"),
    # Hebrew, Arabic, Persian, Hindi, Thai, Chinese and Japanese, Korean
    *("חזה", "صدر", "رئة", "سینه", "ریه", "छाती", "ทรวงอก", "胸", "肺", "흉부", "폐"),
)
"""The chest as hospitals write it; part of a longer text is enough."""

BEYOND_CHEST_WORDS = (
    *("SPINE", "WIRBEL", "BWS", "COLUMN", "COLONN", "COLUNA", "COLOANA", "RACHI", "LUMB", "KREGOSLUP"),
    *("PATER", "ПОЗВОН", "胸椎", "흉추", "ABD", "PELVIS", "BREAST"),
)
"""These beside a chest word mean another film: THORACIC SPINE, CHESTABDPELVIS."""

# An Arabic hamza or a Hindi vowel is a mark as well.
_CHEST_WORDS = tuple(plain(word) for word in CHEST_WORDS)
_BEYOND_CHEST_WORDS = tuple(plain(word) for word in BEYOND_CHEST_WORDS)

_NOTHING_SAID = {"", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "NONE", "NULL", "OTHER", "N/A", "NA", "."}

_OTHER_PART_WORDS = re.compile(
    r"\b(SKULL|HEAD|SINUS(ES)?|MANDIBLE|NECK|SHOULDERS?|CLAVICLES?|SCAPULA|HUMERUS|ELBOWS?|FOREARMS?|WRISTS?|"
    r"HANDS?|FINGERS?|THUMB|ABDOMEN|KUB|PELVIS|HIPS?|FEMUR|KNEES?|PATELLA|TIBIA|FIBULA|ANKLES?|CALCANEUS|"
    r"F(OO|EE)T|TOES?|EXTREMITY|[CTL]-?SPINE|(CERVICAL|THORACIC|LUMBAR) SPINE|SACRUM|COCCYX)\b"
)
"""Whole words of a text that name another part of the body."""

_SHORT_TERMS = {
    *("CSPINE", "TSPINE", "LSPINE", "SSPINE", "TLSPINE", "LSSPINE", "JAW", "ARM", "LEG", "CALF", "TMJ"),
    *("BACK", "BRAIN", "FACE", "NOSE", "ORBIT", "EAR", "HEADNECK", "WHOLEBODY", "RIB", "RIBS", "AXILLA"),
    *("ABDOMENPELVIS", "CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST", "NECKCHESTABDOMEN"),
    *("NECKCHESTABDPELV", "TEETH", "TOOTH", "KIDNEY", "LIVER", "BUTTOCK", "CAROTID", "AORTA", "THYROID"),
}
"""Body Part Examined in PS3.16 annex L, where it is no meaning of the context groups."""

_CHEST_CODES = {"51185008", "816094009", "39607008", "43799004", "T-D3000", "T-28000", "T-D3200"}
"""Chest, lung and thoracic cavity in SNOMED CT, older and newer, and in SRT; pydicom maps to the older."""

_REGIONS = [
    getattr(group, name) for group in (codes.CID4009, codes.CID4031) for name in group.dir()
]  # fmt: skip
_OTHER_CODES = {region.value for region in _REGIONS} - _CHEST_CODES
_OTHER_TERMS = {plain(region.meaning).replace(" ", "") for region in _REGIONS} - {"CHEST", "THORAX", "LUNG"}


def named_by_text(text: str | None) -> Part:
    """Return which part Body Part Examined names, or any text that stands for it.

    Parameters
    ----------
    text : str or None
        In any language; a defined term of PS3.16 annex L, or what the hospital writes.
    """
    words = plain(text)
    if words in _NOTHING_SAID:
        return Part.NONE
    term = words.replace(" ", "")
    if term in _OTHER_TERMS or term in _SHORT_TERMS:
        return Part.ANOTHER
    if any(word in words for word in _CHEST_WORDS):
        beyond = any(word in words for word in _BEYOND_CHEST_WORDS)
        return Part.ANOTHER if beyond else Part.CHEST
    return Part.UNKNOWN if other_part_in(text) is None else Part.ANOTHER


def named_by_codes(values: set[str], meaning: str | None) -> Part:
    """Return which part an Anatomic Region Sequence names.

    Parameters
    ----------
    values : set of str
        Its code values.
    meaning : str or None
        Code Meaning of the first item: counts for a chest with a code of a hospital's own.
    """
    if not values and meaning is None:
        return Part.NONE
    if values & _CHEST_CODES or named_by_text(meaning) is Part.CHEST:
        return Part.CHEST
    return Part.ANOTHER if values & _OTHER_CODES else named_by_text(meaning)


def other_part_in(text: str | None) -> str | None:
    """Return the first word of a description that names another part of the body, or None."""
    found = _OTHER_PART_WORDS.search(plain(text))
    return found[0] if found else None
