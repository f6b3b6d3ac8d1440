"""The evidence view: a clean copy of the headers of a film that its results inherit or describe."""

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydicom import config
from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless
from pydicom.valuerep import PersonName

from dicom_io import repair
from dicom_io.charset import TEXT_VRS, decode_undeclared, encodings_of
from dicom_io.errors import InvalidResult
from dicom_io.part10 import PARSE_FAILURES

Repair = Callable[[str], str | None]


def _text(longest: int) -> Repair:
    return lambda value: repair.repair_text(value, longest)


def _identifier(longest: int) -> Repair:
    return lambda value: repair.repair_identifier(value, longest)


REQUIRED: Final = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
"""Type 1 attributes without which nothing can refer to the film."""

TYPE_2: Final[dict[str, Repair]] = {
    "PatientName": repair.repair_name,
    "PatientID": _identifier(64),
    "PatientBirthDate": repair.repair_date,
    "PatientSex": repair.repair_sex,
    "StudyDate": repair.repair_date,
    "StudyTime": repair.repair_time,
    "ReferringPhysicianName": repair.repair_name,
    "StudyID": _identifier(16),
    "AccessionNumber": _identifier(16),
}
"""Patient and study attributes that are written empty when the source has none or an invalid one."""

TYPE_3: Final[dict[str, Repair]] = {
    "IssuerOfPatientID": _identifier(64),
    "PatientAge": repair.repair_age,
    "PatientSize": repair.repair_height,
    "PatientWeight": repair.positive_decimal,
    "StudyDescription": _text(64),
    "TimezoneOffsetFromUTC": repair.repair_utc_offset,
}
"""Patient and study attributes that are left out when the source has none or an invalid one."""

SEQUENCES: Final[dict[str, dict[str, Repair]]] = {
    "OtherPatientIDsSequence": {"PatientID": _identifier(64), "TypeOfPatientID": repair.repair_code_string},
    "IssuerOfAccessionNumberSequence": {"LocalNamespaceEntityID": _text(64)},
    "ProcedureCodeSequence": {
        "CodeValue": _text(16),
        "CodingSchemeDesignator": _text(16),
        "CodeMeaning": _text(64),
    },
}
"""Patient and study sequences, with what an item must hold to be inherited."""

_OPTIONAL_IN_ITEMS: Final[dict[str, Repair]] = {
    "IssuerOfPatientID": _identifier(64),
    "CodingSchemeVersion": _text(16),
}

_IMAGE: Final[dict[str, Repair]] = {
    "Modality": repair.repair_code_string,
    "BodyPartExamined": repair.repair_code_string,
    "BurnedInAnnotation": repair.repair_yes_or_no,
    "AcquisitionDate": repair.repair_date,
    "AcquisitionTime": repair.repair_time,
    "ContentDate": repair.repair_date,
    "ContentTime": repair.repair_time,
}

_LOSSY_METHODS: Final[dict[str, str]] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
"""Transfer syntaxes that always lose, with their method (PS3.3 C.7.6.1.1.5.1)."""
_PERHAPS_LOSSY_METHODS: Final[dict[str, str]] = {JPEG2000: "ISO_15444_1", HTJ2K: "ISO_15444_15"}


@dataclass(frozen=True)
class Evidence:
    """What a result needs to know of its film."""

    headers: Dataset
    """Clean values as Python strings: `TYPE_2` always there, everything else only when valid."""
    character_set: tuple[str, ...]
    """Specific Character Set of the source; empty when it declares none."""

    def local_time(self, moment: datetime) -> datetime:
        """Return the moment in the source's offset; as it is, in the site's zone, when it has none."""
        if moment.tzinfo is None:
            raise InvalidResult("created_at: expected a time with a zone, got one without")
        offset = self.headers.get("TimezoneOffsetFromUTC")
        return moment.astimezone(repair.zone_of(offset)) if offset else moment

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel by its width (PS3.3 C.7.6.3.1.7); 1 also where the header says the impossible."""
        for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
            if keyword in self.headers:
                vertical, horizontal = map(float, self.headers[keyword].value)
                # No detector has such pixels: a film of them would be shown as a strip.
                return vertical / horizontal if 0.25 <= vertical / horizontal <= 4.0 else 1.0
        return 1.0


def view_evidence(source: Dataset) -> Evidence:
    """Return the clean headers of a film; the film itself stays as it is.

    Parameters
    ----------
    source : Dataset
        A film as read from the spool, or made in memory.

    Returns
    -------
    Evidence
        Type 2 attributes of the Patient and Study modules that are missing are empty; a value that its VR or
        range does not allow is repaired where the meaning is certain, else left out.

    Raises
    ------
    InvalidResult
        When a UID that every result must name is missing, or the Patient ID or its issuer is no valid one:
        a result under an empty, shortened or cleaned id could end with another patient.

    References
    ----------
    PS3.3 C.7.1.1, C.7.2.1, C.7.2.2; PS3.5 6.2.
    """
    # pydicom's warnings, and the lines it logs, quote the value, which may be a patient's name.
    with warnings.catch_warnings(), config.disable_value_validation():
        warnings.simplefilter("ignore")
        reader = _Reader(source)
        headers = Dataset()
        _put_identity(headers, reader)
        _put_image(headers, reader)
    _put_lossy(headers, reader, source)
    return Evidence(headers, reader.character_set)


def inherit(result: Dataset, evidence: Evidence) -> None:
    """Write the Patient and Study modules of the film into a result.

    Parameters
    ----------
    result : Dataset
        The object to be completed; what it holds of these modules is replaced.
    evidence : Evidence
        The film's clean headers.
    """
    for keyword in ("StudyInstanceUID", *TYPE_2, *TYPE_3, *SEQUENCES):
        if keyword in evidence.headers:
            result[keyword] = evidence.headers[keyword]
        elif keyword in result:
            del result[keyword]


def inherit_body_part(result: Dataset, evidence: Evidence) -> None:
    """Write Body Part Examined, and Laterality where it must stand beside it (PS3.3 C.7.3.1).

    Parameters
    ----------
    result : Dataset
        A picture or presentation state to be completed.
    evidence : Evidence
        The film's clean headers; without a body part it is a chest, since only chests are judged.
    """
    result.BodyPartExamined = evidence.headers.get("BodyPartExamined", "CHEST")
    if result.BodyPartExamined != "CHEST":
        # Type 2C: any other word might name a paired organ.
        result.Laterality = ""


class _Reader:
    """Reads texts of a data set without leaving a trace in it."""

    def __init__(self, source: Dataset) -> None:
        self._source = source
        self._encodings = [default_encoding]
        self.character_set = tuple(self.values("SpecificCharacterSet"))
        if self.character_set == ("",):
            self.character_set = ()
        self._encodings = encodings_of(self.character_set)

    def nested(self, item: Dataset) -> "_Reader":
        """Return a reader of a sequence item, which shares the character set (PS3.5 7.5.3)."""
        reader = _Reader(item)
        if not reader.character_set:
            reader.character_set, reader._encodings = self.character_set, self._encodings
        return reader

    def items(self, keyword: str) -> list[Dataset]:
        """Return the items of a sequence, none when it is missing or unreadable."""
        element = self._element(keyword)
        return list(element.value) if element is not None and element.VR == "SQ" and element.value else []

    def values(self, keyword: str) -> list[str]:
        """Return the values of an attribute as texts, none when it is missing, empty or unreadable."""
        if dictionary_VR(keyword) in TEXT_VRS and not self.character_set:
            texts = self._undeclared(keyword)
        else:
            element = self._element(keyword)
            if element is None or element.VR == "SQ":
                return []
            texts = [str(value) for value in _each(element.value)]
        texts = [text.strip("\0 ") for text in texts]
        return texts if any(texts) else []

    def value(self, keyword: str, clean: Repair) -> str | None:
        """Return the one clean value of an attribute; None when it has none, several, or an invalid one."""
        values = self.values(keyword)
        return clean(values[0]) or None if len(values) == 1 else None

    def _undeclared(self, keyword: str) -> list[str]:
        """Return texts whose bytes must tell their character set, since the source does not."""
        element = self._stored(keyword)
        if isinstance(element, RawDataElement):
            return decode_undeclared(element.value or b"").split("\\")
        return [] if element is None else [_decode_again(value) for value in _each(element.value)]

    def _element(self, keyword: str) -> DataElement | None:
        element = self._stored(keyword)
        if not isinstance(element, RawDataElement):
            return element
        try:
            return convert_raw_data_element(element, encoding=self._encodings)
        except PARSE_FAILURES:
            return None  # a value that cannot even be parsed for its VR; of a sequence, items that are none

    def _stored(self, keyword: str) -> DataElement | RawDataElement | None:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._source:
            return None
        element: object = self._source.get_item(tag)
        return element if isinstance(element, DataElement | RawDataElement) else None


def _each(value: object) -> list[object]:
    if value is None:
        return []
    if isinstance(value, bytes):  # VR UN
        return [value.decode(default_encoding)]
    if isinstance(value, str | PersonName) or not isinstance(value, Iterable):
        return [value]
    return list(value)


def _decode_again(value: object) -> str:
    """Return a text that pydicom has decoded as Latin-1, in the character set that its bytes have."""
    if isinstance(value, PersonName) and isinstance(value.original_string, bytes):
        return decode_undeclared(value.original_string)
    try:
        return decode_undeclared(str(value).encode("latin-1"))
    except UnicodeEncodeError:
        return str(value)  # never was bytes: a data set made in memory


def _put(headers: Dataset, keyword: str, value: str | list[str] | list[Dataset] | int) -> None:
    headers[keyword] = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=config.IGNORE)


def _put_identity(headers: Dataset, reader: _Reader) -> None:
    for keyword in REQUIRED:
        values = reader.values(keyword)
        if len(values) != 1:
            raise InvalidResult(f"{keyword} of the film: expected one UID, got {len(values)}")
        _put(headers, keyword, values[0])
    for keyword, clean in TYPE_2.items():
        _put(headers, keyword, reader.value(keyword, clean) or "")
    for keyword, clean in TYPE_3.items():
        if (value := reader.value(keyword, clean)) is not None:
            _put(headers, keyword, value)
    for keyword in ("PatientID", "IssuerOfPatientID"):
        if reader.values(keyword) and not headers.get(keyword):
            raise InvalidResult(f"{keyword} of the film: expected one value of 1-64 printable characters")
    for keyword, needed in SEQUENCES.items():
        if items := _clean_items(reader, keyword, needed):
            _put(headers, keyword, items)


def _clean_items(reader: _Reader, keyword: str, needed: dict[str, Repair]) -> list[Dataset]:
    items = []
    for source_item in reader.items(keyword):
        item, item_reader = Dataset(), reader.nested(source_item)
        for name, clean in {**needed, **_OPTIONAL_IN_ITEMS}.items():
            if (value := item_reader.value(name, clean)) is not None:
                _put(item, name, value)
        if all(name in item for name in needed):
            items.append(item)
    return items


def _put_image(headers: Dataset, reader: _Reader) -> None:
    for keyword, clean in _IMAGE.items():
        if (value := reader.value(keyword, clean)) is not None:
            _put(headers, keyword, value)
    for keyword in ("Rows", "Columns"):
        values = reader.values(keyword)
        if len(values) == 1 and values[0].isdecimal():
            _put(headers, keyword, int(values[0]))
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        if (spacing := repair.repair_spacing(reader.values(keyword))) is not None:
            _put(headers, keyword, spacing)
    if (orientation := repair.repair_orientation(reader.values("PatientOrientation"))) is not None:
        _put(headers, "PatientOrientation", orientation)


def _put_lossy(headers: Dataset, reader: _Reader, source: Dataset) -> None:
    meta = getattr(source, "file_meta", None)
    syntax = str(meta.get("TransferSyntaxUID", "")) if meta is not None else ""
    flag = reader.value("LossyImageCompression", repair.repair_code_string)
    if syntax in _LOSSY_METHODS:
        flag = "01"  # whatever the header says
    if flag not in {"00", "01"}:
        return
    _put(headers, "LossyImageCompression", flag)
    if flag == "00":
        return
    ratios = [repair.positive_decimal(ratio) for ratio in reader.values("LossyImageCompressionRatio")]
    methods = [repair.repair_code_string(method) for method in reader.values("LossyImageCompressionMethod")]
    known = {**_LOSSY_METHODS, **_PERHAPS_LOSSY_METHODS}
    if not methods and syntax in known:
        methods = [known[syntax]]
    for keyword, values in (
        ("LossyImageCompressionRatio", ratios),
        ("LossyImageCompressionMethod", methods),
    ):
        valid = [value for value in values if value]
        if valid and len(valid) == len(values):
            _put(headers, keyword, valid)
