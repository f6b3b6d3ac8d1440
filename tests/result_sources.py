"""Films with odd headers, and the results that tests build from them."""

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from builders import build_dx, build_film, build_secondary_capture, put_pixels, to_bytes
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_io.capture import build_capture
from dicom_io.findings import Algorithm, Device, Finding, Presence, ResultContext
from dicom_io.report import build_report
from dicom_io.validators import missing_validators

SHARED_DATA: Final = Path(
    os.environ.get("CXR_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _rgb() -> Dataset:
    film = build_secondary_capture()
    grey_HW = film.pixel_array >> 4
    return put_pixels(film, np.stack([grey_HW] * 3, axis=-1), bits_stored=8, photometric_interpretation="RGB")


def _bare() -> Dataset:
    """A film with the attributes of type 1 and its pixels, nothing else."""
    film = build_film()
    kept = {"SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PixelData", "Rows"}
    kept |= {"Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"}
    kept |= {"PhotometricInterpretation"}
    for element in list(film):
        if element.keyword not in kept:
            del film[element.tag]
    return film


def _with_bytes(name: bytes, character_set: str | None) -> Dataset:
    """A film whose name holds bytes that its character set does not announce."""
    film = build_film(
        SpecificCharacterSet=character_set, PatientName="N" * len(name), ReferringPhysicianName="Rey^Nina"
    )
    return dcmread(BytesIO(to_bytes(film).replace(b"N" * len(name), name)))


ODD_SOURCES: Final[dict[str, Callable[[], Dataset]]] = {
    "utf_8": build_film,
    "ascii_without_character_set": lambda: build_film(
        SpecificCharacterSet=None, PatientName="Doe^Jane", ReferringPhysicianName="Rey^Nina"
    ),
    "latin_1": lambda: build_film(SpecificCharacterSet="ISO_IR 100"),
    "gb18030": lambda: build_film(SpecificCharacterSet="GB18030", PatientName="Wang^XiaoDong=王^小东"),
    "iso_2022_japanese": lambda: build_film(
        SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう"
    ),
    "iso_2022_korean": lambda: build_film(
        SpecificCharacterSet=["", "ISO 2022 IR 149"], PatientName="Hong^Gildong=洪^吉洞=홍^길동"
    ),
    "cyrillic": lambda: build_film(SpecificCharacterSet="ISO_IR 144", PatientName="Люкceмбypг^Анна"),
    # The second byte of the last letters is that of a backslash.
    "gb18030_with_a_backslash_byte": lambda: _with_bytes("Zhang^Wei=張^乗俓".encode("gb18030"), "GB18030"),
    "iso_2022_with_a_backslash_byte": lambda: build_film(
        SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Miyazaki^Tarou=宮崎^太郎"
    ),
    "shift_jis_with_a_backslash_byte": lambda: _with_bytes("ﾔﾏﾀﾞ=表^能".encode("shift_jis"), "ISO_IR 13"),
    "undeclared_utf_8": lambda: _with_bytes("Grün^Åsa".encode(), None),
    "undeclared_latin_1": lambda: _with_bytes("Grün^Åsa".encode("latin-1"), None),
    "undeclared_japanese": lambda: _with_bytes(
        b"Yamada^Tarou=" + "山田".encode("iso2022_jp") + b"^" + "太郎".encode("iso2022_jp"), None
    ),
    "broken_utf_8": lambda: _with_bytes(b"Gr\xfcn^\xc5sa", "ISO_IR 192"),
    "unknown_character_set": lambda: build_film(SpecificCharacterSet="LATIN-ONE", PatientName="Doe^Jane"),
    "latin_1_under_an_empty_first_set": lambda: build_film(
        SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Grün^Åsa"
    ),
    "nothing_but_type_1": _bare,
    "empty_type_2": lambda: build_film(
        **dict.fromkeys(
            (
                "PatientName",
                "PatientID",
                "PatientBirthDate",
                "PatientSex",
                "StudyDate",
                "StudyTime",
                "StudyID",
            ),
            "",
        ),
        AccessionNumber="",
        ReferringPhysicianName="",
    ),
    "odd_values": lambda: build_film(
        PatientAge="62",
        PatientBirthDate="1961.03.05",
        StudyDate="2024.01.02",
        StudyTime="10:15:30",
        ContentDate="20241301",
        PatientSex="female",
        PixelSpacing=[0, 0],
        ImagerPixelSpacing=[0, 0],
        PatientSize="0",
        PatientWeight="-1",
        StudyID="an id of more than sixteen characters",
        StudyDescription="x" * 80,
        PatientOrientation=["LEFT", "FOOT"],
        BurnedInAnnotation="MAYBE",
        TimezoneOffsetFromUTC="CET",
        BodyPartExamined="thorax, pa",
    ),
    "single_component_name": lambda: build_film(PatientName="Cher", ReferringPhysicianName="ward"),
    "far_offset": lambda: build_film(TimezoneOffsetFromUTC="+0545", BurnedInAnnotation="YES"),
    "lossy": lambda: build_film(
        LossyImageCompression="01",
        LossyImageCompressionRatio="12.5",
        LossyImageCompressionMethod="ISO_15444_1",
    ),
    "lossy_without_method": lambda: build_film(LossyImageCompression="01", LossyImageCompressionRatio="35"),
    "sequences": lambda: build_film(
        OtherPatientIDsSequence=Sequence(
            [
                _item(PatientID="OTHER-1", IssuerOfPatientID="B", TypeOfPatientID="TEXT"),
                _item(IssuerOfPatientID="C"),
            ]
        ),
        IssuerOfAccessionNumberSequence=Sequence([_item(LocalNamespaceEntityID="RIS")]),
        ProcedureCodeSequence=Sequence(
            [
                _item(CodeValue="399208008", CodingSchemeDesignator="SCT", CodeMeaning="Plain chest X-ray"),
                _item(CodeValue="no meaning"),
            ]
        ),
    ),
    "empty_sequences": lambda: build_film(
        OtherPatientIDsSequence=Sequence([]),
        IssuerOfAccessionNumberSequence=Sequence([_item()]),
        ProcedureCodeSequence=Sequence([_item()]),
    ),
    "dx": lambda: build_dx(PixelSpacing=[0.14, 0.14], ImagerPixelSpacing=[0.15, 0.15]),
    "dx_for_processing": lambda: build_dx(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1", PresentationIntentType="FOR PROCESSING"
    ),
    "secondary_capture": build_secondary_capture,
    "secondary_capture_rgb": _rgb,
}
"""Every film here must give results without a validator's error."""


def real_films() -> Iterator[tuple[str, Dataset]]:
    """Yield the real chest films at hand; pixels are put in where a file has none."""
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if path:
        yield "RG1_UNCR", dcmread(path)
    for file in sorted((SHARED_DATA / "dicom").glob("chest_*.dcm")):
        film = dcmread(file)
        if "PixelData" not in film:
            put_pixels(film, np.arange(32 * 32, dtype=np.uint16).reshape(32, 32))
        yield file.stem, film


def spot_HW(  # noqa: N802 - shape suffix
    rows: int = 12, cols: int = 12, peak: float = 0.9
) -> NDArray[np.float32]:
    """Return a heat map with one round spot in the lower left quarter of the film."""
    y_HW, x_HW = np.mgrid[0:rows, 0:cols].astype(np.float64)
    y_HW, x_HW = (y_HW + 0.5) / rows, (x_HW + 0.5) / cols
    map_HW = peak * np.exp(-((y_HW - 0.65) ** 2 + (x_HW - 0.3) ** 2) / 0.03)
    return map_HW.astype(np.float32)


def build_context(presence: Presence = Presence.PRESENT, probability: float = 0.873) -> ResultContext:
    """Return what a result says besides its film: threshold 0.5, abstain band 0.45-0.55, time in UTC."""
    return ResultContext(
        finding=Finding(presence, probability, threshold=0.5, band_low=0.45, band_high=0.55),
        algorithm=Algorithm(
            name="cxr-net",
            version="1.2.0",
            weights_sha256="0123456789abcdef" * 4,
            parameters=(
                "input 320 x 320 pixels",
                "calibration temperature 1.30",
                "prevalence at training 0.150, assumed 0.050",
                "backend openvino",
            ),
        ),
        device=Device(node_id="node-1", software_version="0.1.0"),
        created_at=datetime(2024, 1, 3, 9, 0, 5, tzinfo=UTC),
    )


POSITIVE: Final = build_context()
NEGATIVE: Final = build_context(Presence.ABSENT, 0.0321)
UNDETERMINED: Final = build_context(Presence.UNDETERMINED, 0.5)


def need_program(name: str, package: str) -> None:
    """Skip the test where a program is not installed; in CI that is a failure."""
    if shutil.which(name) is not None:
        return
    missing = f"not installed: {name} (Debian package {package})"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


def need_validators(*tools: str) -> None:
    """Skip the test where a validator is not installed; in CI that is a failure."""
    missing = [name for name in missing_validators() if name.split()[0] in tools]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def ramp_HW(film: Dataset) -> NDArray[np.float32]:  # noqa: N802 - shape suffix
    """Return grey values of the film's size; a ramp, since only the size matters."""
    rows, cols = int(film.Rows), int(film.Columns)
    return np.linspace(0.0, 1.0, rows * cols, dtype=np.float32).reshape(rows, cols)


def build_results(film: Dataset, context: ResultContext) -> tuple[Dataset, Dataset]:
    """Return report and heat map of a film."""
    capture = build_capture(film, ramp_HW(film), spot_HW(), context)
    return build_report(film, context, capture), capture
