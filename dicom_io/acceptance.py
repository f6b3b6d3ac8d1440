"""Is this a frontal chest radiograph of an adult that we may read? If not, for which reason.

The header is asked first (`check_header`, the table `HEADER_RULES`), then the pixels (`check_pixels`),
because
headers lie; what only a network can see is the model's gate. Saying nothing is never a reason to refuse.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, config
from pydicom.uid import UID

from dicom_io import body_parts, views
from dicom_io.body_parts import Part
from dicom_io.headers import (
    OWN_MANUFACTURER,
    read_age_years,
    read_items,
    read_text,
    read_texts,
    read_value,
)
from dicom_io.polarity import MIN_LIKENESS, likeness_to_a_chest
from dicom_io.wording import OTHER, code_values, plain, repeatable


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
    POLARITY = "polarity"
    """A chest that is shown as its negative: the header's MONOCHROME1 or MONOCHROME2 is wrong."""
    HEADER_CONTRADICTED = "header_contradicted"
    """The header says that it is no frontal chest film, the pixels say that it is one."""
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


class Weight(IntEnum):
    """What the pixels can do about a refusal by the header, where a gate can ask them."""

    HINT = 1
    """Free text, or a word that we do not know: the pixels decide."""
    CLAIM = 2
    """An attribute made for the purpose: pixels that say otherwise are a contradiction, which a person must
    clear up; the film is refused either way."""
    FINAL = 3
    """Nothing that pixels could tell."""


@dataclass(frozen=True)
class Refusal:
    """One reason, and plain words for an administrator: what was expected, what came; no patient data."""

    reason: Reason
    detail: str
    weight: Weight = Weight.FINAL


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

_HUMAN = re.compile(r"\b(HUMAN|HOMO SAPIENS)\b")
_HUMAN_CODES = {"337915000", "30996001", "L-85003", "L-85B00"}

_CODE_STRING = re.compile(r"[A-Z0-9 _]{1,16}")
_INTEGER_STRING = re.compile(r"[0-9]{1,12}")
_CODE_VALUE = re.compile(r"[A-Za-z0-9.-]{1,16}")


def _own_output(dataset: Dataset, _: AcceptanceRules) -> str | None:
    # A PACS may rewrite Series Description; nobody else writes this manufacturer.
    if plain(read_text(dataset, "Manufacturer")) == plain(OWN_MANUFACTURER):
        return f"expected a film of a modality, came an object that {OWN_MANUFACTURER} wrote"
    return None


def _other_sop_class(dataset: Dataset, _: AcceptanceRules) -> str | None:
    sop_class_uid = read_text(dataset, "SOPClassUID")
    if sop_class_uid in JUDGED_SOP_CLASSES:
        return None
    # A name of the standard may be repeated; a UID without one can hold anything.
    name = UID(sop_class_uid or "", config.IGNORE).name
    came = name if name != (sop_class_uid or "") else OTHER
    return f"expected CR, DX for presentation or Secondary Capture, came {came}"


def _several_frames(dataset: Dataset, _: AcceptanceRules) -> str | None:
    frames = read_text(dataset, "NumberOfFrames")
    if frames in (None, "0", "1"):
        return None
    return f"expected one frame, came {repeatable(frames, _INTEGER_STRING)}"


def _algorithm_output(dataset: Dataset, _: AcceptanceRules) -> str | None:
    if "SECONDARY" in read_texts(dataset, "ImageType")[1:2] and _names_an_algorithm(dataset):
        return "expected a film of a modality, came a SECONDARY image with the identification of an algorithm"
    return None


def _names_an_algorithm(dataset: Dataset) -> bool:
    """Look for attributes of algorithm identification (PS3.3 10.20), at the top and one level down."""
    levels = [dataset]
    for keyword in dataset.dir():
        if keyword.endswith("Sequence"):
            levels += read_items(dataset, keyword)
    return any("Algorithm" in keyword for level in levels for keyword in level.dir())


def _no_pixels(dataset: Dataset, _: AcceptanceRules) -> str | None:
    # Pixels in floating point are there, and refused by another reason when they are read.
    if any(read_value(dataset, f"{kind}PixelData") for kind in ("", "Float", "DoubleFloat")):
        return None
    return "expected Pixel Data, came none"


def _animal(dataset: Dataset, _: AcceptanceRules) -> str | None:
    species = plain(read_text(dataset, "PatientSpeciesDescription"))
    codes = code_values(dataset, "PatientSpeciesCodeSequence")
    if (species and not _HUMAN.search(species)) or (codes and not codes & _HUMAN_CODES):
        return "expected a human, the header names another species"
    if read_text(dataset, "PatientBreedDescription") or code_values(dataset, "PatientBreedCodeSequence"):
        return "expected a human, the header names a breed"
    if plain(read_text(dataset, "ResponsiblePersonRole")) == "OWNER":
        return "expected a human, the header names an owner"
    return None


def _another_part(dataset: Dataset, _: AcceptanceRules) -> str | None:
    part, words = _stated_part(dataset)
    return f"expected the chest, {words}" if part is Part.ANOTHER else None


def _unknown_part(dataset: Dataset, _: AcceptanceRules) -> str | None:
    part, words = _stated_part(dataset)
    return f"expected the chest, {words}" if part is Part.UNKNOWN else None


def _stated_part(dataset: Dataset) -> tuple[Part, str]:
    """Ask the attributes that are made to say it: Body Part Examined, else the anatomic region."""
    body_part = read_text(dataset, "BodyPartExamined")
    part = body_parts.named_by_text(body_part)
    if part is not Part.NONE:
        return part, f"Body Part Examined is {repeatable(body_part, _CODE_STRING)}"
    regions = read_items(dataset, "AnatomicRegionSequence")[:1]
    if not regions:
        return Part.NONE, ""
    part = body_parts.named_by_codes(
        code_values(dataset, "AnatomicRegionSequence"), read_text(regions[0], "CodeMeaning")
    )
    came = repeatable(read_text(regions[0], "CodeValue"), _CODE_VALUE)
    return part, f"the anatomic region has code {came}"


def _another_part_described(dataset: Dataset, _: AcceptanceRules) -> str | None:
    """Ask the descriptions, the most specific first; the first that names a part of the body decides."""
    if _stated_part(dataset)[0] is not Part.NONE:
        return None
    for keyword in ("SeriesDescription", "ProtocolName", "StudyDescription"):
        description = read_text(dataset, keyword)
        other = body_parts.other_part_in(description)
        if other:
            # Only the word that we know is repeated: descriptions may hold a name.
            return f"expected the chest, {keyword} says {other}"
        if body_parts.named_by_text(description) is Part.CHEST:
            return None
    return None


def _side_view(dataset: Dataset, _: AcceptanceRules) -> str | None:
    words = views.side_view(dataset)
    return f"expected a frontal view, {words}" if words else None


def _side_view_described(dataset: Dataset, _: AcceptanceRules) -> str | None:
    if views.described_as_side_view(dataset):
        return "expected a frontal view, Series Description says otherwise"
    return None


def _child(dataset: Dataset, rules: AcceptanceRules) -> str | None:
    years = read_age_years(dataset)
    if rules.min_age_years is None or years is None or years >= rules.min_age_years:
        return None
    return f"expected a patient of at least {rules.min_age_years:g} years, the header says younger"


@dataclass(frozen=True)
class HeaderRule:
    """One question to the header."""

    reason: Reason
    weight: Weight
    question: str
    """In words; "yes" refuses."""
    clause: str
    """Where the standard defines what is asked."""
    check: Callable[[Dataset, AcceptanceRules], str | None]
    """Returns the detail of a refusal, or None."""


HEADER_RULES: tuple[HeaderRule, ...] = (
    HeaderRule(
        Reason.OWN_OUTPUT, Weight.FINAL,
        "Did cxr-worker write it (Manufacturer)?", "PS3.3 C.7.5.1", _own_output,
    ),
    HeaderRule(
        Reason.SOP_CLASS, Weight.FINAL,
        "Is it no CR, DX for presentation or Secondary Capture?", "PS3.4 B.5", _other_sop_class,
    ),
    HeaderRule(
        Reason.SOP_CLASS, Weight.FINAL,
        "Has it several frames?", "PS3.3 C.7.6.6", _several_frames,
    ),
    HeaderRule(
        Reason.OTHER_ALGORITHM, Weight.FINAL,
        "Is it SECONDARY and names an algorithm?", "PS3.3 C.7.6.1.1.2, 10.20", _algorithm_output,
    ),
    HeaderRule(
        Reason.NO_PIXELS, Weight.FINAL,
        "Has it no pixels?", "PS3.3 C.7.6.3", _no_pixels,
    ),
    HeaderRule(
        Reason.NOT_HUMAN, Weight.FINAL,
        "Is the patient of another species, has a breed or an owner?", "PS3.3 C.7.1.1", _animal,
    ),
    HeaderRule(
        Reason.NOT_CHEST, Weight.CLAIM,
        "Does Body Part Examined, else the anatomic region, name another part?",
        "PS3.3 C.7.3.1, 10.5; PS3.16 annex L, CID 4009, 4031", _another_part,
    ),
    HeaderRule(
        Reason.NOT_CHEST, Weight.HINT,
        "Is Body Part Examined, else the anatomic region, a word or code that we do not know?",
        "PS3.3 C.7.3.1, 10.5", _unknown_part,
    ),
    HeaderRule(
        Reason.NOT_CHEST, Weight.HINT,
        "With neither, does a description name another part?",
        "PS3.3 C.7.2.1, C.7.3.1", _another_part_described,
    ),
    HeaderRule(
        Reason.LATERAL, Weight.CLAIM,
        "Does View Position, else the view code, else Patient Orientation, say lateral or oblique?",
        "PS3.3 C.8.1.2, C.8.11.5, C.7.6.1.1.1; PS3.16 CID 4010", _side_view,
    ),
    HeaderRule(
        Reason.LATERAL, Weight.HINT,
        "With neither position nor code, does Series Description say lateral?",
        "PS3.3 C.7.3.1", _side_view_described,
    ),
    HeaderRule(
        Reason.CHILD, Weight.FINAL,
        "Is the patient younger than the model's patients (age, else birth date)?",
        "PS3.3 C.7.2.2, C.7.1.1", _child,
    ),
)  # fmt: skip
"""What the header is asked, in this order; the first yes gives the reason."""


def check_header(dataset: Dataset, rules: AcceptanceRules | None = None) -> Refusal | None:
    r"""Return why the header forbids to judge this film, or None when it does not.

    Parameters
    ----------
    dataset : pydicom.Dataset
        The whole data set; pixels are not decoded. Missing and invalid values are no reason.
    rules : AcceptanceRules, optional
        The limits; adults only by default.

    Returns
    -------
    Refusal or None
        Reason and detail of the first rule that refuses, with the greatest weight of all that do: a hint
        is not left to the pixels when the age is final.

    Notes
    -----
    `DERIVED\PRIMARY` is an ordinary processed radiograph, and Burned In Annotation alone says nothing about
    what the film shows: neither is asked.
    """
    rules = rules or AcceptanceRules()
    found = [
        Refusal(rule.reason, detail, rule.weight)
        for rule in HEADER_RULES
        if (detail := rule.check(dataset, rules)) is not None
    ]
    if not found:
        return None
    return replace(found[0], weight=max(refusal.weight for refusal in found))


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
    likeness = likeness_to_a_chest(image_HW)
    if likeness < -MIN_LIKENESS:
        return Refusal(
            Reason.POLARITY,
            f"expected air dark, the picture is like the negative of a chest ({likeness:.2f} of -1): "
            "Photometric Interpretation or window must be wrong",
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
