"""Is this a frontal chest radiograph of an adult that we may read? If not, for which reason.

The header is asked first (`check_header`), then the pixels (`check_pixels`), because headers lie; what only
a network can see is the model's gate. Saying nothing is never a reason to refuse.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.uid import UID

from dicom_io.headers import OWN_MANUFACTURER, read_age_years, read_text, read_texts, read_value


class Reason(StrEnum):
    """Why a film is refused; the value stands in the database and in `refused(...)`."""

    SOP_CLASS = "sop_class"
    """Not a single-frame CR, DX for presentation or Secondary Capture."""
    OWN_OUTPUT = "own_output"
    """Written by cxr-worker itself (loop guard)."""
    OTHER_ALGORITHM = "other_algorithm"
    """A secondary image made by another algorithm."""
    NO_PIXELS = "no_pixels"
    """The object has no Pixel Data."""
    UNREADABLE = "unreadable"
    """Pixel Data that cannot be decoded as the header says."""
    UNSUPPORTED = "unsupported"
    """Decodable, but not one frame of grey or colour within the limits."""
    NOT_CHEST = "not_chest"
    """Another part of the body."""
    LATERAL = "lateral"
    """A chest, but a lateral or oblique view."""
    CHILD = "child"
    """Younger than the model's patients."""
    NOT_HUMAN = "not_human"
    """An animal."""
    OUT_OF_DISTRIBUTION = "out_of_distribution"
    """Unlike the films that the model was trained on."""
    TOO_SMALL = "too_small"
    """Too few pixels to judge."""
    BLANK = "blank"
    """A picture without contrast."""
    NOT_DICOM = "not_dicom"
    """Bytes that cannot be parsed as a DICOM data set."""
    INVALID_UID = "invalid_uid"
    """A study, series or SOP instance UID is missing, impossible or not the announced one."""
    UID_CONFLICT = "uid_conflict"
    """Other pixels under a SOP Instance UID that is known already."""
    IDENTITY_CHANGED = "identity_changed"
    """The same pixels and UID with another patient or study."""
    REPEAT = "repeat"
    """The same film again."""


@dataclass(frozen=True)
class Refusal:
    """One reason, and plain words for an administrator: what was expected, what came; no patient data."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class AcceptanceRules:
    """The limits that an installation or a model may set."""

    min_age_years: float | None = 18.0
    """Younger patients are refused; None accepts all ages."""
    min_side_px: int = 128
    """Shortest side of a film; the least detailed training films have 128."""
    max_aspect: float = 3.0
    """Longest side over shortest side."""

    def __post_init__(self) -> None:
        if self.min_side_px < 1 or self.max_aspect < 1.0:
            raise ValueError("expected min_side_px and max_aspect of at least 1")


JUDGED_SOP_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
}
"""Judged when they hold one frame; everything else is kept by its header only."""

_CHEST_WORDS = (
    *("CHEST", "CHST", "CXR", "THORAX", "TORAX", "THX", "LUNG", "PULMO", "POUMON", "POLMON"),
    *("PECHO", "PETTO", "BRUSTKORB", "BORSTKAS", "BROST", "KLATKA PIERS", "HRUDNIK", "MELLKAS", "GOGUS"),
    *("ГРУДН", "ЛЕГКИ", "ΘΩΡΑΚ", "胸", "肺", "흉부", "폐", "صدر"),
)
"""The chest in upper case without accents, as hospitals write it; part of a longer text is enough."""

_BEYOND_CHEST_WORDS = ("SPINE", "WIRBEL", "COLUMN", "RACHIS", "ABD", "PELVIS", "BREAST")
"""These beside a chest word mean another film: THORACIC SPINE, CHESTABDPELVIS."""

_NO_BODY_PART = {"", "UNKNOWN", "UNDEFINED", "UNSPECIFIED", "NONE", "NULL", "OTHER", "N/A", "NA", "."}

_OTHER_PARTS = re.compile(
    r"\b(SKULL|HEAD|SINUS(ES)?|MANDIBLE|NECK|SHOULDERS?|CLAVICLES?|SCAPULA|HUMERUS|ELBOWS?|FOREARMS?|WRISTS?|"
    r"HANDS?|FINGERS?|THUMB|ABDOMEN|KUB|PELVIS|HIPS?|FEMUR|KNEES?|PATELLA|TIBIA|FIBULA|ANKLES?|CALCANEUS|"
    r"F(OO|EE)T|TOES?|EXTREMITY|[CTL]-?SPINE|(CERVICAL|THORACIC|LUMBAR) SPINE|SACRUM|COCCYX)\b"
)
"""Whole words of a description that name another part of the body."""

_CHEST_CODES = {"51185008", "816094009", "39607008", "43799004", "T-D3000", "T-28000", "T-D3200"}
"""Chest, lung and thoracic cavity in SNOMED CT and its older SRT codes (CID 4031, PS3.16)."""

_SIDE_VIEWS = {"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "RAO", "LAO", "RPO", "LPO", "OBL", "OBLIQUE"}
"""View Position values of a lateral or oblique film (PS3.3 C.8.1.2, C.8.11.5)."""

_SIDE_VIEW_CODES = {
    *("399067008", "399173006", "399198007", "399352003", "399260004", "399099002", "260427002"),
    *("399135007", "399356000", "399006002", "399038007", "399184004", "399236003", "399182000"),
    *("R-102CD", "R-10236", "R-10232", "R-10228", "R-10224", "R-10230", "R-40783"),
    *("R-10220", "R-40985", "R-10212", "R-10210", "R-10238", "R-10234", "R-102C1"),
}
"""Lateral and oblique views in SNOMED CT and SRT (CID 4010, PS3.16)."""

_SIDE_VIEW_WORDS = re.compile(r"\b(LAT(ERAL)?|PROFIL|SEITLICH|OBLIQUE)\b")
_FRONTAL_WORDS = re.compile(r"\b(PA|AP|P\.A|A\.P|FRONTAL)\b")
_HUMAN = re.compile(r"\b(HUMAN|HOMO SAPIENS)\b")
_HUMAN_CODES = {"337915000", "30996001", "L-85003", "L-85B00"}

_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_INTEGER_STRING = re.compile(r"[0-9]{1,12}")
_CODE_VALUE = re.compile(r"[A-Za-z0-9.-]{1,16}")
_OTHER = "something else"

Check = Callable[[Dataset], str | None]


def check_header(dataset: Dataset, rules: AcceptanceRules | None = None) -> Refusal | None:
    r"""Return why the header forbids to judge this film, or None when it does not.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The whole data set; pixels are not decoded. Missing and invalid values are no reason.
    rules : AcceptanceRules, optional
        The limits; adults only by default.

    Notes
    -----
    `DERIVED\PRIMARY` is an ordinary processed radiograph, and Burned In Annotation alone says nothing about
    what the film shows: neither is asked.
    """
    for reason, check in HEADER_CHECKS:
        detail = check(dataset)
        if detail is not None:
            return Refusal(reason, detail)
    return _child(dataset, rules or AcceptanceRules())


def _own_output(dataset: Dataset) -> str | None:
    # A PACS may rewrite Series Description; nobody else writes this manufacturer.
    if _plain(read_text(dataset, "Manufacturer")) == _plain(OWN_MANUFACTURER):
        return f"expected a film of a modality, came an object that {OWN_MANUFACTURER} wrote"
    return None


def _other_sop_class(dataset: Dataset) -> str | None:
    sop_class_uid = read_text(dataset, "SOPClassUID")
    if sop_class_uid not in JUDGED_SOP_CLASSES:
        # A name of the standard may be repeated; a UID without one can hold anything.
        name = UID(sop_class_uid or "", config.IGNORE).name
        came = name if name != (sop_class_uid or "") else _OTHER
        return f"expected CR, DX for presentation or Secondary Capture, came {came}"
    frames = read_text(dataset, "NumberOfFrames")
    if frames not in (None, "0", "1"):
        return f"expected one frame, came {_repeatable(frames, _INTEGER_STRING)}"
    return None


def _algorithm_output(dataset: Dataset) -> str | None:
    if "SECONDARY" in read_texts(dataset, "ImageType")[1:2] and _names_an_algorithm(dataset):
        return "expected a film of a modality, came a SECONDARY image with the identification of an algorithm"
    return None


def _names_an_algorithm(dataset: Dataset) -> bool:
    """Look for attributes of algorithm identification (PS3.3 10.20), at the top and one level down."""
    levels = [dataset]
    for keyword in dataset.dir():
        if keyword.endswith("Sequence"):
            levels += list(read_value(dataset, keyword) or ())
    return any("Algorithm" in keyword for level in levels for keyword in level.dir())


def _no_pixels(dataset: Dataset) -> str | None:
    return None if read_value(dataset, "PixelData") else "expected Pixel Data, came none"


def _animal(dataset: Dataset) -> str | None:
    species = _plain(read_text(dataset, "PatientSpeciesDescription"))
    codes = _codes(dataset, "PatientSpeciesCodeSequence")
    if (species and not _HUMAN.search(species)) or (codes and not codes & _HUMAN_CODES):
        return "expected a human, the header names another species"
    if read_text(dataset, "PatientBreedDescription") or _codes(dataset, "PatientBreedCodeSequence"):
        return "expected a human, the header names a breed"
    if _plain(read_text(dataset, "ResponsiblePersonRole")) == "OWNER":
        return "expected a human, the header names an owner"
    return None


def _child(dataset: Dataset, rules: AcceptanceRules) -> Refusal | None:
    years = read_age_years(dataset)
    if rules.min_age_years is None or years is None or years >= rules.min_age_years:
        return None
    return Refusal(
        Reason.CHILD,
        f"expected a patient of at least {rules.min_age_years:g} years, the header says younger",
    )


def _other_body_part(dataset: Dataset) -> str | None:
    body_part = _plain(read_text(dataset, "BodyPartExamined"))
    if body_part not in _NO_BODY_PART:
        came = _repeatable(read_text(dataset, "BodyPartExamined"), _CODE_STRING)
        return None if _is_chest(body_part) else f"expected the chest, Body Part Examined is {came}"
    regions = read_value(dataset, "AnatomicRegionSequence") or ()
    if regions:
        meaning = _plain(read_text(regions[0], "CodeMeaning"))
        if not _codes(dataset, "AnatomicRegionSequence") & _CHEST_CODES and not _is_chest(meaning):
            came = _repeatable(read_text(regions[0], "CodeValue"), _CODE_VALUE)
            return f"expected the chest, the anatomic region has code {came}"
        return None
    return _other_part_described(dataset)


def _other_part_described(dataset: Dataset) -> str | None:
    """Ask the descriptions, the most specific first; the first that names a part of the body decides."""
    for keyword in ("SeriesDescription", "ProtocolName", "StudyDescription"):
        description = _plain(read_text(dataset, keyword))
        other = _OTHER_PARTS.search(description)
        if other:
            # Only the word that we know is repeated: descriptions may hold a name.
            return f"expected the chest, {keyword} says {other[0]}"
        if _is_chest(description):
            return None
    return None


def _is_chest(text: str) -> bool:
    return any(word in text for word in _CHEST_WORDS) and not any(
        word in text for word in _BEYOND_CHEST_WORDS
    )


def _side_view(dataset: Dataset) -> str | None:
    view = _plain(read_text(dataset, "ViewPosition"))
    if view:
        return f"expected a frontal view, View Position is {view}" if view in _SIDE_VIEWS else None
    codes = _codes(dataset, "ViewCodeSequence")
    if codes:
        return "expected a frontal view, the view code is a side view" if codes & _SIDE_VIEW_CODES else None
    # The rows of a lateral film run from front to back (PS3.3 C.7.6.1.1.1).
    orientation = read_texts(dataset, "PatientOrientation")
    if orientation and orientation[0][:1] in ("A", "P"):
        return "expected a frontal view, by Patient Orientation it is a lateral one"
    description = _plain(read_text(dataset, "SeriesDescription"))
    if _SIDE_VIEW_WORDS.search(description) and not _FRONTAL_WORDS.search(description):
        return "expected a frontal view, Series Description says otherwise"
    return None


HEADER_CHECKS: tuple[tuple[Reason, Check], ...] = (
    (Reason.OWN_OUTPUT, _own_output),
    (Reason.SOP_CLASS, _other_sop_class),
    (Reason.OTHER_ALGORITHM, _algorithm_output),
    (Reason.NO_PIXELS, _no_pixels),
    (Reason.NOT_HUMAN, _animal),
    (Reason.NOT_CHEST, _other_body_part),
    (Reason.LATERAL, _side_view),
)
"""What the header is asked, in this order; each check returns the detail of a refusal, or None. The age,
which has a limit to be set, is asked last."""


def check_pixels(image_HW: NDArray[np.float32], rules: AcceptanceRules | None = None) -> Refusal | None:
    """Return why a decoded film cannot be judged whatever it shows, or None.

    Parameters
    ----------
    image_HW : NDArray[np.float32]
        Grey values, 0-1, as `dicom_io.pixels.read_pixels` returns them.
    rules : AcceptanceRules, optional
        The limits.
    """
    rules = rules or AcceptanceRules()
    shortest, longest = sorted(image_HW.shape)
    if shortest < rules.min_side_px:
        return Refusal(
            Reason.TOO_SMALL,
            f"expected a shortest side of at least {rules.min_side_px} pixels, came {shortest}",
        )
    if longest > rules.max_aspect * shortest:
        return Refusal(
            Reason.OUT_OF_DISTRIBUTION,
            f"expected sides of at most {rules.max_aspect:g} to 1, came {longest} x {shortest}",
        )
    levels, spread = _contrast(image_HW)
    if levels < _MIN_LEVELS or spread < _MIN_SPREAD:
        return Refusal(
            Reason.BLANK,
            f"expected at least {_MIN_LEVELS} of 256 grey levels and a spread of {_MIN_SPREAD}, "
            f"came {levels} and {spread:.3f}",
        )
    return None


_MIN_LEVELS = 16
"""Grey levels of 256 that occur; the flattest real films have more than 100."""

_MIN_SPREAD = 0.02
"""Difference between the 1st and 99th percentile, 0-1."""


def _contrast(image_HW: NDArray[np.float32]) -> tuple[int, float]:
    # Every seventh row and column tell as much, in a fiftieth of the time.
    sample_HW = image_HW[::7, ::7]
    levels = np.count_nonzero(np.bincount((sample_HW * 255.0).astype(np.uint8).ravel()))
    low, high = np.percentile(sample_HW, [1.0, 99.0])
    return int(levels), float(high - low)


def _plain(text: str | None) -> str:
    """Return upper case without accents and outer blanks, underscores as blanks, for comparison."""
    decomposed = unicodedata.normalize("NFKD", text or "")
    kept = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return unicodedata.normalize("NFC", kept).upper().replace("_", " ").strip()


def _repeatable(text: str | None, pattern: re.Pattern[str]) -> str:
    """Return a value that is what its attribute may hold; any other text may be a name, or worse."""
    return text if text and pattern.fullmatch(text) else _OTHER


def _codes(dataset: Dataset, keyword: str) -> set[str]:
    """Return the code values of a code sequence's items."""
    return {code for item in read_value(dataset, keyword) or () if (code := read_text(item, "CodeValue"))}
