"""Headers as hospitals never should write them, drawn by hypothesis, always the same ones."""

import warnings
from io import BytesIO
from random import Random
from typing import Any, Final

import numpy as np
from builders import build_dx, build_film, build_secondary_capture, phantom_HW, put_pixels
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.charset import convert_encodings, encode_string
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian

ABSENT: Final = None

NAMES: Final[list[tuple[str | list[str] | None, str]]] = [
    (None, "Doe^Jane"),
    (None, "Grün^Åsa"),
    ("ISO_IR 100", "Grün^Åsa"),
    ("ISO_IR 101", "Łukasiewicz^Żaneta"),
    ("ISO_IR 144", "Люкceмбypг^Анна"),
    ("ISO_IR 126", "Διονυσιος^Αννα"),
    ("ISO_IR 127", "قباني^لنزار"),
    ("ISO_IR 138", "שרון^דבורה"),
    ("ISO_IR 148", "Çavuşoğlu^İnci"),
    ("ISO_IR 166", "สมชาย^นภา"),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東="),
    ("GB18030", "Wang^XiaoDong=王^小东="),
    ("GBK", "Wang^XiaoDong=王^小东="),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Buc^Jérôme"),
    ("ISO_IR 999", "Doe^Jane"),
    ("ISO_IR 192", ""),
    ("ISO_IR 192", "^^^^"),
    ("ISO_IR 192", "N" * 64),
    ("ISO_IR 192", f"{'Å' * 7}^{'ß' * 8}={'山' * 5}={'や' * 4}"),
    ("ISO_IR 192", "x" * 300),
]
"""Specific Character Set, and a name of a patient in it, or not."""

SHORT: Final = [ABSENT, "", "A1", "0123456789ABCDEF", "0123456789ABCDEFG", "a\tb", " padded ", "é1"]
LONG: Final = [ABSENT, "", "Thorax pa", "L" * 64, "L" * 65, "Brustkorb ä", "two\\values", "line\r\nend"]
DATES: Final = [ABSENT, "", "20240102", "2024.01.02", "2024-01-02", "20240230", "202401", "yesterday"]
TIMES: Final = [ABSENT, "", "101530", "101530.123456", "10:15:30", "256199", "10", "noon"]
SPACINGS: Final = [
    ABSENT,
    "",
    [0.2, 0.2],
    [0.15, 0.3],
    [0, 0],
    [-0.1, -0.1],
    ["0.1"],
    ["a", "b"],
    [1e-9, 9e9],
]
DECIMALS: Final = [ABSENT, "", "70.5", "0", "-1", "NaN", "1.23456789012345678", "70,5"]

HEADERS: Final[dict[str, list[Any]]] = {
    "PatientID": [ABSENT, "", "PID-1", "I" * 64, "0123456789ABCDEF", "Ü-77"],
    "IssuerOfPatientID": [ABSENT, "", "HOSPITAL", "I" * 64],
    "PatientBirthDate": DATES,
    "PatientSex": [ABSENT, "", "F", "M", "O", "female", "U", "X"],
    "PatientAge": [ABSENT, "", "062Y", "62", "62Y", "999Y", "old", "6M"],
    "PatientSize": [ABSENT, "", "1.72", "172", "0"],
    "PatientWeight": DECIMALS,
    "StudyDate": DATES,
    "StudyTime": TIMES,
    "ContentDate": DATES,
    "ContentTime": TIMES,
    "AcquisitionDate": DATES,
    "AcquisitionTime": TIMES,
    "ReferringPhysicianName": [ABSENT, "", "Rey^Nina", "ward", "x" * 100, "Müller^Ö"],
    "StudyID": SHORT,
    "AccessionNumber": SHORT,
    "StudyDescription": LONG,
    "TimezoneOffsetFromUTC": [ABSENT, "", "+0100", "-0330", "+1400", "CET", "-0000", "+9900"],
    "BodyPartExamined": [ABSENT, "", "CHEST", "THORAX", "chest", "LUNG", "thorax, pa"],
    "BurnedInAnnotation": [ABSENT, "", "YES", "NO", "MAYBE"],
    "PatientOrientation": [
        ABSENT,
        "",
        ["L", "F"],
        ["R", "F"],
        ["LEFT", "FOOT"],
        ["L"],
        ["L", "R"],
        ["LPF", "F"],
    ],
    "Laterality": [ABSENT, "", "L", "both"],
    "PixelSpacing": SPACINGS,
    "ImagerPixelSpacing": SPACINGS,
    "PixelAspectRatio": [ABSENT, [1, 1], [2, 1], [0, 0], [1]],
    "LossyImageCompression": [ABSENT, "", "00", "01", "YES"],
    "LossyImageCompressionRatio": [ABSENT, "", "12.5", ["10", "2"], "0", "ten"],
    "LossyImageCompressionMethod": [ABSENT, "", "ISO_10918_1", ["ISO_10918_1", "ISO_15444_1"], "jpeg!"],
    "RescaleSlope": [ABSENT, "1", "0", "2.5", "-1", "NaN"],
    "RescaleIntercept": [ABSENT, "0", "-1024", "0.5"],
    "RescaleType": [ABSENT, "US", "HU", "optical density"],
    "WindowCenter": [ABSENT, "", "2048", ["2048", "100"], "-50.25", "x"],
    "WindowWidth": [ABSENT, "", "4096", ["4096", "50"], "0", "0.5"],
    "VOILUTFunction": [ABSENT, "", "LINEAR", "SIGMOID", "LINEAR_EXACT", "GAMMA"],
    "PresentationLUTShape": [ABSENT, "IDENTITY", "INVERSE", "odd"],
}
"""Values of an attribute, the good and the bad; each film takes one of each."""

_PRIVATE: Final = [None, b"plain", b"\xff\xfe\x00 binary"]
_BUILDERS: Final = (build_film, build_dx, build_secondary_capture)


@st.composite
def odd_films(draw: st.DrawFn) -> FileDataset:
    """Draw a film as read from disk; its values are what its bytes say, not what was set.

    One seed draws all: hypothesis varies a few choices of many at a time, and films would be much alike.
    """
    random = Random(draw(st.integers(0, 2**63 - 1)))
    stored_bits = random.choice([8, 10, 12, 16])
    film = random.choice(_BUILDERS)()
    rows, cols = random.choice([(64, 56), (40, 90), (33, 31)])
    is_signed = random.choice([False, True])
    grey_HW = phantom_HW(rows, cols) * (2 ** (stored_bits - is_signed) - 1)
    put_pixels(
        film,
        np.rint(grey_HW).astype(np.int32),
        bits_stored=stored_bits,
        signed=is_signed,
        photometric_interpretation=random.choice(["MONOCHROME1", "MONOCHROME2"]),
    )
    private = random.choice(_PRIVATE)
    if private is not None:
        block = film.private_block(0x0019, "EXAMPLE IMAGING", create=True)
        block.add_new(0x01, "OB", private + b"\0" * (len(private) % 2))
        film.private_block(0x0019, "EXAMPLE IMAGING").add_new(0x02, "LO", "private text")
    character_set, name = random.choice(NAMES)
    texts = {keyword: random.choice(values) for keyword, values in HEADERS.items()}
    texts |= {"SpecificCharacterSet": character_set, "PatientName": name}
    for keyword, value in texts.items():
        _put(film, keyword, value, character_set)
    return _as_read(film)


def _put(film: Dataset, keyword: str, value: Any, character_set: str | list[str] | None) -> None:
    """Put the bytes of a value into the film, whatever its VR thinks of them."""
    if keyword in film:
        del film[keyword]
    if value is not ABSENT:
        text = "\\".join(map(str, value)) if isinstance(value, list) else value
        data = _encode(text, character_set)
        data += b" " * (len(data) % 2)
        tag = Tag(keyword)
        # Raw, since any other element would be read, and repaired or refused, by pydicom here already.
        film[tag] = RawDataElement(tag, dictionary_VR(tag), len(data), data, 0, True, True)


def _encode(text: str, character_set: str | list[str] | None) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return bytes(encode_string(text, convert_encodings(character_set)))
        except (UnicodeError, UserWarning, LookupError):
            return text.encode()  # what a careless device writes


def _as_read(film: FileDataset) -> FileDataset:
    """Return the film as it is read: in Implicit VR a value has the VR of its attribute again."""
    film.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, film, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def _own_id(element: RawDataElement, number: int) -> RawDataElement:
    """Return the patient's id, as long as it was, with the film's number: else films share patients."""
    own = f"-{number:03}".encode()
    stem = bytes(element.value).rstrip()
    data = stem[: max(0, len(stem) - len(own))] + own
    data += b" " * (len(data) % 2)
    return element._replace(value=data, length=len(data))


def draw_films(count: int) -> list[FileDataset]:
    """Return odd films, each in a study of its own; the same ones for the same count."""
    films: list[FileDataset] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(odd_films())
    def collect(film: FileDataset) -> None:
        films.append(film)

    collect()
    for number, film in enumerate(films):
        film.StudyInstanceUID, film.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
        film.SOPInstanceUID = f"1.2.3.{number}.1.1"
        if film.get_item("PatientID") and film.get_item("PatientID").value.strip():
            film[Tag("PatientID")] = _own_id(film.get_item("PatientID"), number)
    return films
