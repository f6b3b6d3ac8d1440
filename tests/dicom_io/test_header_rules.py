"""The table of header rules: each refuses, spares, weighs what it says, and stands in the documentation."""

from dataclasses import dataclass
from typing import Any

import pytest
from builders import build_code, build_film
from parts import ROOT
from pydicom import Dataset
from pydicom.sr.codedict import codes

from dicom_io.acceptance import HEADER_RULES, AcceptanceRules, HeaderRule, Reason, Weight, check_header
from dicom_io.body_parts import Part, named_by_codes, named_by_text
from dicom_io.headers import OWN_MANUFACTURER

NOTHING_SAID = {"BodyPartExamined": None, "StudyDescription": None, "SeriesDescription": None}


@dataclass(frozen=True)
class Example:
    """What one rule refuses, and the nearest thing that it must not."""

    refused: dict[str, Any]
    spared: dict[str, Any]


EXAMPLES: dict[str, Example] = {
    "_own_output": Example({"Manufacturer": OWN_MANUFACTURER}, {"Manufacturer": None}),
    "_other_sop_class": Example({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, {}),
    "_several_frames": Example({"NumberOfFrames": 2}, {"NumberOfFrames": 1}),
    "_algorithm_output": Example(
        {"ImageType": ["DERIVED", "SECONDARY"], "AlgorithmName": "CAD"},
        {"ImageType": ["DERIVED", "SECONDARY"]},
    ),
    "_no_pixels": Example({"PixelData": None}, {"PixelData": None, "FloatPixelData": b"\0" * 4}),
    "_animal": Example(
        {"PatientSpeciesDescription": "Canine"}, {"PatientSpeciesDescription": "Homo sapiens"}
    ),
    "_another_part": Example({"BodyPartExamined": "HIP"}, {"BodyPartExamined": "CHEST"}),
    "_unknown_part": Example({"BodyPartExamined": "KNIE"}, {"BodyPartExamined": "UNKNOWN"}),
    "_another_part_described": Example(
        {**NOTHING_SAID, "StudyDescription": "Left hip"}, {**NOTHING_SAID, "StudyDescription": "Routine"}
    ),
    "_side_view": Example({"ViewPosition": "LL"}, {"ViewPosition": "AP"}),
    "_side_view_described": Example(
        {"ViewPosition": None, "SeriesDescription": "Chest lat"},
        {"ViewPosition": None, "SeriesDescription": "PA/LAT"},
    ),
    "_child": Example({"PatientAge": "005Y"}, {"PatientAge": "018Y"}),
}


def name_of(rule: HeaderRule) -> str:
    return rule.check.__name__


def test_every_rule_has_an_example() -> None:
    assert [name_of(rule) for rule in HEADER_RULES] == list(EXAMPLES)


@pytest.mark.parametrize("rule", HEADER_RULES, ids=name_of)
def test_a_rule_refuses_what_it_should_and_spares_the_rest(rule: HeaderRule) -> None:
    example = EXAMPLES[name_of(rule)]
    detail = rule.check(build_film(**example.refused), AcceptanceRules())
    assert detail is not None
    assert detail.startswith("expected")
    assert rule.check(build_film(**example.spared), AcceptanceRules()) is None


@pytest.mark.parametrize("rule", HEADER_RULES, ids=name_of)
def test_the_table_decides_by_its_rule_alone(rule: HeaderRule) -> None:
    refusal = check_header(build_film(**EXAMPLES[name_of(rule)].refused))
    assert refusal is not None
    assert (refusal.reason, refusal.weight) == (rule.reason, rule.weight)


def test_the_first_rule_gives_the_reason_and_the_gravest_the_weight() -> None:
    refusal = check_header(build_film(BodyPartExamined="KNIE", ViewPosition="LL", PatientAge="005Y"))
    assert refusal is not None
    assert (refusal.reason, refusal.weight) == (Reason.NOT_CHEST, Weight.FINAL)
    refusal = check_header(build_film(BodyPartExamined="KNIE", ViewPosition="LL"))
    assert refusal is not None
    assert (refusal.reason, refusal.weight) == (Reason.NOT_CHEST, Weight.CLAIM)


def test_every_rule_stands_in_the_documentation_in_its_order() -> None:
    page = (ROOT / "docs" / "decisions" / "0011-reading-and-refusing.md").read_text("utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| `") and line.count("|") == 5
    ]
    expected = [
        [f"`{rule.reason}`", rule.weight.name.lower(), rule.question, rule.clause] for rule in HEADER_RULES
    ]
    assert rows == expected


# Words and codes --------------------------------------------------------------------------------------

CHEST_NAMES = (
    *(
        "CHEST",
        "Chest_PA",
        "CXR",
        "Thorax",
        "RÖ-THORAX",
        "Lungs",
        "Tórax AP",
        "TORACE",
        "Toraks",
        "Cage thoracique",
    ),
    *("Poumons", "Polmoni", "Pulmões", "Plămâni", "Lunge", "Bröst", "Keuhkot", "Klatka piersiowa", "Płuca"),
    *("Plíce", "Hrudník", "Mellkas", "Tüdő", "Göğüs", "Akciğer", "Ngực", "Органы грудной клетки", "Лёгкие"),
    *("Легені", "Гръден кош", "Θώρακας", "חזה", "الصدر", "الرئة", "قفسه سینه", "छाती", "ทรวงอก"),
    *("胸部", "肺", "흉부", "폐", "CHEST AND RIBS"),
)
OTHER_NAMES = (
    *("HIP", "Left hand", "RT KNEE", "TSPINE", "LSPINE", "Thoracic spine", "BWS Thorax", "Columna torácica"),
    *(
        "Colonna toracica",
        "Rachide toracico",
        "Coluna torácica",
        "胸椎",
        "CHESTABDPELVIS",
        "NECKCHEST",
    ),
    *(
        "CHEST ABDOMEN",
        "Chest, Abdomen and Pelvis",
        "Hip joint",
        "BREAST",
        "HEART",
        "RIB",
        "TRACHEA",
        "WHOLEBODY",
    ),
)


@pytest.mark.parametrize("name", CHEST_NAMES)
def test_the_chest_has_many_names(name: str) -> None:
    assert named_by_text(name) is Part.CHEST


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_parts_have_names_too(name: str) -> None:
    assert named_by_text(name) is Part.ANOTHER


@pytest.mark.parametrize("name", ["KNIE", "main gauche", "Кисть", "手", "Raum 3", "PORTABLE"])
def test_a_word_that_is_not_known_is_said_to_be_unknown(name: str) -> None:
    assert named_by_text(name) is Part.UNKNOWN


@pytest.mark.parametrize("name", [None, "", "  ", "UNKNOWN", "N/A"])
def test_no_word_says_nothing(name: str | None) -> None:
    assert named_by_text(name) is Part.NONE


@pytest.mark.parametrize("group", ["CID4009", "CID4031"])
def test_every_anatomic_region_of_the_standard_but_the_chest_is_another_part(group: str) -> None:
    regions = getattr(codes, group)
    parts = {name: named_by_codes({getattr(regions, name).value}, None) for name in regions.dir()}
    assert {name for name, part in parts.items() if part is Part.CHEST} == {"Chest"}
    assert {part for name, part in parts.items() if name != "Chest"} == {Part.ANOTHER}


def test_a_code_of_a_hospitals_own_is_read_by_its_meaning() -> None:
    assert named_by_codes({"4711"}, "Thorax") is Part.CHEST
    assert named_by_codes({"4711"}, "Knee") is Part.ANOTHER
    assert named_by_codes({"4711"}, "Röntgen") is Part.UNKNOWN
    assert named_by_codes(set(), None) is Part.NONE


def views() -> list[tuple[str, str]]:
    return [
        (code.value, code.meaning) for name in codes.CID4010.dir() if (code := getattr(codes.CID4010, name))
    ]


@pytest.mark.parametrize(("value", "meaning"), views(), ids=str)
def test_every_view_of_the_standard_is_a_side_view_by_its_meaning(value: str, meaning: str) -> None:
    film = build_film(ViewPosition=None, ViewCodeSequence=[build_code(value, "SCT", meaning)])
    sideways = any(
        word in meaning.lower() for word in ("lateral", "oblique", "medial", "sagittal", "tangential")
    )
    assert (check_header(film) is not None) == sideways


@pytest.mark.parametrize("old", ["R-10236", "R-10232", "R-10228", "R-10224", "R-10230", "R-10220", "R-10210"])
def test_side_views_are_known_by_their_older_codes(old: str) -> None:
    film = build_film(ViewPosition=None, ViewCodeSequence=[build_code(old, "SNM3", "side")])
    refusal = check_header(film)
    assert refusal is not None
    assert refusal.reason is Reason.LATERAL


def test_an_empty_data_set_is_refused_in_words() -> None:
    refusal = check_header(Dataset())
    assert refusal is not None
    assert refusal.reason is Reason.SOP_CLASS
