"""Headers: any text in any character set, any nonsense, and files that cost too much."""

import struct
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, compress, to_bytes
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, Sequence, uid
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_io.errors import NotDicom, StorageError
from dicom_io.headers import Header, identity_problem, is_valid_uid, printable, read_header
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels


def put_raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> Dataset:
    """Put the bytes of a value as a file would hold them, undecoded."""
    tag = Tag(keyword)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return dataset


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "film.dcm"
    path.write_bytes(content)
    return path


# Identifiers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["1", "1.2.840.10008.1.2", "0" * 64, "2.25.329800735698586629295641978511506172918"]
)
def test_digits_and_dots_are_a_uid(text: str) -> None:
    assert is_valid_uid(text)


@pytest.mark.parametrize(
    "text", ["", "1.2.3\n", " 1.2", "1.2/3", "../../tmp/evil", "1" * 65, "1.2.a", "١.٢", "1.2\0"]
)
def test_anything_else_is_no_uid(text: str) -> None:
    assert not is_valid_uid(text)


def test_a_film_with_three_uids_of_which_one_was_announced_has_no_identity_problem() -> None:
    film = build_film()
    assert identity_problem(film, film.SOPInstanceUID) is None


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
@pytest.mark.parametrize(
    "value", [None, b"", b"1.2.DOE^JANE", b"1.2\\1.3", b"1.\0002", b"1" * 66, b"\xff\xfe"]
)
def test_a_missing_or_impossible_uid_is_told_without_its_value(keyword: str, value: bytes | None) -> None:
    film = build_film()
    announced = str(film.SOPInstanceUID)
    del film[keyword]
    if value is not None:
        put_raw(film, keyword, "UI", value)
    came = "other text" if value else "none"
    expected = f"{keyword}: expected 1 to 64 digits and dots (PS3.5 9.1), came {came}"
    assert identity_problem(film, announced) == expected


def test_another_sop_instance_uid_than_announced_is_told_without_either() -> None:
    words = identity_problem(build_film(SOPInstanceUID="1.2.3"), "1.2.4")
    assert words == "SOPInstanceUID: expected that of the C-STORE request, the data set holds another"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("  two \t\r\n words ", "two words"),
        ("a\0b\x1b[31mc\x7f", "ab[31mc"),
        ("a\u202eb\u2028c\x85d", "ab c d"),
        ("Größe 胸", "Größe 胸"),
        ("\ud800x", "x"),
        ("", ""),
    ],
)
def test_printable_text_has_no_control_characters_and_single_blanks(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_printable_text_is_cut() -> None:
    assert printable("a" * 65) == "a" * 64
    assert printable("ab cd", limit=3) == "ab"


# What is kept -----------------------------------------------------------------------------------------


def test_a_header_holds_what_the_film_says() -> None:
    header = read_header(build_film(NumberOfFrames=1, BurnedInAnnotation="NO"))
    assert header.sop_class_uid == "1.2.840.10008.5.1.4.1.1.1"
    assert header.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert header.patient_name == "Grün^Åsa"
    assert header.patient_id == "PID-4711"
    assert header.issuer_of_patient_id == "HOSPITAL-A"
    assert header.patient_age_years == 62.0
    assert header.image_type == ("DERIVED", "PRIMARY")
    assert (header.rows, header.columns, header.number_of_frames) == (256, 224, 1)
    assert header.burned_in_annotation == "NO"
    assert header.study_date == "20240102"


def test_repr_holds_no_patient_data() -> None:
    text = repr(read_header(build_film()))
    for secret in ("Grün", "4711", "HOSPITAL-A", "19610305", "ACC-1", "Chest PA", "62"):
        assert secret not in text


def test_an_empty_data_set_gives_an_empty_header() -> None:
    assert read_header(Dataset()) == Header()


@pytest.mark.parametrize(
    ("character_set", "encoded", "expected"),
    [
        ("ISO_IR 100", "Grün^Åsa".encode("latin-1"), "Grün^Åsa"),
        ("ISO_IR 192", "Grün^Åsa".encode(), "Grün^Åsa"),
        ("ISO_IR 144", "Иванов^Пётр".encode("iso8859-5"), "Иванов^Пётр"),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (None, "Grün^Åsa".encode(), "Grün^Åsa"),
        (None, "Grün^Åsa".encode("latin-1"), "Grün^Åsa"),
        ("ISO_IR 192", b"Gr\xfcn^A", "Gr\ufffdn^A"),
        ("NO_SUCH_SET", b"Smith^A", "Smith^A"),
        ("ISO_IR 100", b"Smith\0^A", "Smith^A"),
    ],
)
def test_names_are_unicode_in_any_character_set(
    character_set: str | None, encoded: bytes, expected: str, tmp_path: Path
) -> None:
    film = build_film(SpecificCharacterSet=character_set, PatientName="X" * len(encoded))
    content = to_bytes(film).replace(b"X" * len(encoded), encoded)
    assert read_header(read_dataset(saved(tmp_path, content))).patient_name == expected


@pytest.mark.parametrize(
    ("age", "born", "taken", "expected"),
    [
        ("062Y", None, None, 62.0),
        ("62", None, None, 62.0),
        ("018M", None, None, 1.5),
        ("010D", None, None, 10 / 365.25),
        ("005W", None, None, 35 / 365.25),
        ("999Y", "19500101", "20200101", 70.0),
        ("", "19500102", "20200101", 69.0),
        ("000Y", "19500101", "20200101", 70.0),
        ("000Y", None, None, 0.0),
        (None, "18000101", "20080504", None),
        (None, "20300101", "20200101", None),
        (None, "1950.01.01", "2020.01.01", 70.0),
        (None, "19501301", "20200101", None),
        (None, "20020101", "20191231", 17.0),
        (None, "20020101", "20200101", 18.0),
        ("old", None, "20200101", None),
        ("-05Y", None, None, None),
    ],
)
def test_ages_are_read_or_left_out(
    age: str | None, born: str | None, taken: str | None, expected: float | None
) -> None:
    film = build_film(AcquisitionDate=None)
    for keyword, vr, value in (
        ("PatientAge", "AS", age),
        ("PatientBirthDate", "DA", born),
        ("StudyDate", "DA", taken),
    ):
        del film[keyword]
        if value is not None:
            put_raw(film, keyword, vr, value.encode())
    assert read_header(film).patient_age_years == expected


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    keyword=st.sampled_from(
        [
            "PatientName",
            "PatientAge",
            "Rows",
            "ImageType",
            "StudyDate",
            "PatientBirthDate",
            "SOPClassUID",
            "NumberOfFrames",
        ]
    ),
    vr=st.sampled_from(["LO", "US", "DS", "IS", "PN", "SQ", "UI", "DA", "AT", "FD", "OB", "UN", "XX"]),
    value=st.binary(max_size=24),
    character_set=st.sampled_from(["ISO_IR 192", "ISO 2022 IR 87", "GBK", "\\", "nonsense"]),
)
def test_no_value_makes_reading_a_header_fail(
    keyword: str, vr: str, value: bytes, character_set: str
) -> None:
    film = build_film()
    put_raw(film, "SpecificCharacterSet", "CS", character_set.encode())
    put_raw(film, keyword, vr, value)
    header = read_header(film)
    assert header.modality == "CR"
    for text in (header.patient_name, header.patient_age_years, header.sop_class_uid, *header.image_type):
        assert "\0" not in str(text)
        str(text).encode()


# Files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_uncompressed_and_deflated_files_are_read(syntax: uid.UID, tmp_path: Path) -> None:
    film = build_film()
    expected_HW = read_pixels(film)
    film.file_meta.TransferSyntaxUID = syntax
    dataset = read_dataset(saved(tmp_path, to_bytes(film)))
    assert dataset.file_meta.TransferSyntaxUID == syntax
    assert read_header(dataset).patient_name == "Grün^Åsa"
    np.testing.assert_array_equal(read_pixels(dataset), expected_HW)


def test_nothing_is_read_later(tmp_path: Path) -> None:
    path = saved(tmp_path, to_bytes(build_film()))
    dataset = read_dataset(path)
    path.unlink()
    assert read_pixels(dataset).shape == (256, 224)


def test_a_missing_file_is_worth_trying_again(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        read_dataset(tmp_path / "absent.dcm")


@pytest.mark.parametrize("content", [b"", b"DICM", b"\x89PNG\r\n" * 100, b"\0" * 128 + b"DICM"[:3]])
def test_other_files_are_not_dicom(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotDicom):
        read_dataset(saved(tmp_path, content))


def test_a_file_above_the_bound_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, to_bytes(build_film()))
    with pytest.raises(NotDicom, match="at most 1000 bytes"):
        read_dataset(path, max_bytes=1000)
    assert read_dataset(path, max_bytes=path.stat().st_size)


def deflated(data: bytes) -> bytes:
    """Return a part-10 file with the given bytes, deflated, as its data set."""
    empty = build_film()
    empty.clear()
    head = to_bytes(empty).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    # The transfer syntax element grew from 20 to 22 bytes, and the group with it.
    place = head.index(b"\x02\x00\x10\x00UI")
    head = head[: place + 6] + struct.pack("<H", 22) + head[place + 8 :]
    (group_length,) = struct.unpack_from("<I", head, 140)
    head = head[:140] + struct.pack("<I", group_length + 2) + head[144:]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head + compressor.compress(data) + compressor.flush()


def test_a_deflate_bomb_is_stopped_at_the_bound(tmp_path: Path) -> None:
    bomb = deflated(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 2**26) + bytes(2**26))
    assert len(bomb) < 2**20
    path = saved(tmp_path, bomb)
    tracemalloc.start()
    started = time.monotonic()
    with pytest.raises(NotDicom, match="inflates to more"):
        read_dataset(path, max_bytes=2**20)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**24
    assert time.monotonic() - started < 2.0


def test_a_cut_deflated_file_is_refused(tmp_path: Path) -> None:
    film = build_film()
    film.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    content = to_bytes(film)
    with pytest.raises(NotDicom):
        read_dataset(saved(tmp_path, content[: len(content) // 2]))


@pytest.mark.parametrize("depth", [50, 2000])
def test_deeply_nested_sequences_do_no_harm(depth: int, tmp_path: Path) -> None:
    opening = b"\x40\x00\x75\xa7SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    empty = build_film()
    empty.clear()
    path = saved(tmp_path, to_bytes(empty) + opening * depth + closing * depth)
    if depth == 50:
        assert read_header(read_dataset(path)).modality is None
    else:
        with pytest.raises(NotDicom):
            read_dataset(path)


def test_a_nested_sequence_of_known_length_does_no_harm() -> None:
    film = build_film()
    content = b""
    for _ in range(3000):
        item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
        content = b"\x40\x00\x75\xa7SQ\0\0" + struct.pack("<I", len(item)) + item
    put_raw(film, "AnatomicRegionSequence", "SQ", content)
    assert read_header(film).modality == "CR"


def test_an_element_that_promises_gigabytes_costs_nothing(tmp_path: Path) -> None:
    content = to_bytes(build_film())
    place = content.rindex(b"\xe0\x7f\x10\x00OW\0\0")
    content = content[: place + 8] + struct.pack("<I", 0xFFFFFFF0) + content[place + 12 :]
    tracemalloc.start()
    read_dataset(saved(tmp_path, content))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**24


def test_cut_and_mutated_files_raise_only_not_dicom(tmp_path: Path) -> None:
    random = np.random.default_rng(11)
    wholes = [to_bytes(build_film()), to_bytes(compress(build_film(), uid.JPEGLosslessSV1))]
    wholes.append(to_bytes(build_film(OtherPatientIDsSequence=Sequence([build_film(PixelData=None)]))))
    refused = 0
    for whole in wholes:
        for _ in range(60):
            damaged = bytearray(whole[: random.integers(140, len(whole))])
            for place in random.integers(132, min(len(damaged), 2000), 5):
                damaged[place % len(damaged)] = random.integers(0, 256)
            try:
                header = read_header(read_dataset(saved(tmp_path, bytes(damaged))))
            except NotDicom:
                refused += 1
            else:
                assert isinstance(header, Header)
    assert refused > 0


def test_warnings_never_repeat_a_value(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    film = build_film()
    put_raw(film, "PatientID", "DA", b"PID-4711")
    put_raw(film, "StudyInstanceUID", "UI", b"PID-4711")
    read_header(film)
    read_header(read_dataset(saved(tmp_path, to_bytes(build_film()))))
    messages: list[Any] = [str(warning.message) for warning in recwarn.list]
    assert not [message for message in messages if "4711" in message]
