"""Repairs: a value whose meaning is certain is written as DICOM wants it, any other is left out."""

import pytest

from dicom_io import repair


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("20240102", "20240102"),
        ("2024.01.02", "20240102"),
        ("2024-01-02", "20240102"),
        ("2024/01/02", "20240102"),
        ("18000101", "18000101"),
        ("20241301", None),
        ("20230229", None),
        ("2024.0102", None),
        ("02.01.2024", None),
        ("", None),
    ],
)
def test_dates(value: str, expected: str | None) -> None:
    assert repair.repair_date(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("10", "10"),
        ("101530", "101530"),
        ("10:15:30", "101530"),
        ("101530.123456", "101530.123456"),
        ("101530.12345678", "101530.123456"),
        ("235960", "235960"),
        ("240000", None),
        ("1015.5", None),
        ("noon", None),
    ],
)
def test_times(value: str, expected: str | None) -> None:
    assert repair.repair_time(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("062Y", "062Y"), ("62", "062Y"), ("7 m", "007M"), ("062y", "062Y"), ("1000", None), ("Y62", None)],
)
def test_ages(value: str, expected: str | None) -> None:
    assert repair.repair_age(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [("m", "M"), ("FEMALE", "F"), ("O", "O"), ("W", None), ("", None)]
)
def test_sexes(value: str, expected: str | None) -> None:
    assert repair.repair_sex(value) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0.2", "0.15"], ["0.2", "0.15"]),
        (["0", "0"], None),
        (["0.2", "-0.2"], None),
        (["0.2"], None),
        (["nan", "0.2"], None),
        (["1e999", "1"], None),
        ([], None),
    ],
)
def test_spacings(values: list[str], expected: list[str] | None) -> None:
    assert repair.repair_spacing(values) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["L", "F"], ["L", "F"]),
        (["l", "FP"], ["L", "FP"]),
        (["LEFT", "FOOT"], None),
        (["LR", "F"], None),
        (["L"], None),
        (["L", ""], None),
    ],
)
def test_orientations(values: list[str], expected: list[str] | None) -> None:
    assert repair.repair_orientation(values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("+0545", "+0545"),
        ("-1200", "-1200"),
        ("-1300", None),
        ("+1400", "+1400"),
        ("+1401", None),
        ("-0000", None),
        ("+0160", None),
        ("CET", None),
    ],
)
def test_utc_offsets(value: str, expected: str | None) -> None:
    assert repair.repair_utc_offset(value) == expected


def test_an_offset_west_of_greenwich_counts_its_minutes_west_too() -> None:
    offset = repair.zone_of("-0330").utcoffset(None)
    assert offset is not None
    assert offset.total_seconds() == -3.5 * 3600


@pytest.mark.parametrize(
    ("value", "expected"),
    [("Chest\x00 PA ", "Chest PA"), ("x" * 17, None), ("a\\b", None), ("x" * 16, "x" * 16)],
)
def test_texts_hold_no_control_characters_and_fit_their_vr(value: str, expected: str | None) -> None:
    assert repair.repair_text(value, 16) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Doe^Jane", "Doe^Jane"),
        ("=".join(["N" * 64] * 3), "=".join(["N" * 64] * 3)),
        ("山" * 64, "山" * 64),
        ("N" * 65, None),
        ("Doe=" + "N" * 65, None),
        ("A=B=C=D", None),
        ("Doe\\Jane", None),
        ("Doe\n^J\x96ane\x85", "Doe^Jane"),
    ],
)
def test_names_fit_their_component_groups(value: str, expected: str | None) -> None:
    assert repair.repair_name(value) == expected


def test_controls_beyond_ascii_are_no_text_either() -> None:
    assert repair.repair_text("M\xc3\x96ller\x85", 64) == "M\xc3ller"


def test_a_height_in_centimetres_is_left_out() -> None:
    assert repair.repair_height("172") is None
    assert repair.repair_height("1.72") == "1.72"
