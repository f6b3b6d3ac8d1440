"""From a DICOM file (PS3.10) to a data set, with bounds on what a hostile one may cost, and back to bytes."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

from pydicom import config, dcmread, dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset as read_elements
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_io.errors import NotDicom, StorageError

MAX_FILE_BYTES = 256 * 2**20
"""Largest file that is read, and largest data set that a deflated one may become."""

PARSE_FAILURES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    BytesLengthException,
    InvalidDicomError,
)
"""What pydicom raises on damaged or hostile data sets: RecursionError is a RuntimeError, UnboundLocalError a
NameError, every decoding error a ValueError."""


def read_dataset(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> FileDataset:
    """Read a DICOM file (PS3.10) whole, with bounds on what it may cost.

    Parameters
    ----------
    path : Path
        A file with preamble and file meta information. Nothing refers to it afterwards: no value is read
        later.
    max_bytes : int
        Largest file, and largest data set after inflation.

    Returns
    -------
    pydicom.dataset.FileDataset
        The data set, its `file_meta` as in the file. Values are decoded, and may fail, when first used.

    Raises
    ------
    NotDicom
        If it is no DICOM file, is damaged where it must be parsed, or exceeds `max_bytes`.
    StorageError
        If the file cannot be opened or read.

    Notes
    -----
    A deflated data set (PS3.5 A.5) is inflated here, up to the bound, before pydicom sees it: pydicom
    inflates without one, and a file of 1 MB may hold 1 GB.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise NotDicom(f"expected a file of at most {max_bytes} bytes, came {size}")
        # Whole into memory: a file would let an element that promises 4 GB allocate them.
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"expected a readable file, came {type(error).__name__}") from error
    if data[128:132] != b"DICM":
        raise NotDicom("expected a DICOM file (PS3.10): the prefix DICM after 128 bytes is missing")
    try:
        with config.disable_value_validation():
            return _parse(data, max_bytes)
    except PARSE_FAILURES as error:
        raise NotDicom(f"expected a DICOM data set, parsing failed with {type(error).__name__}") from error


def read_file_meta(data: bytes) -> FileMetaDataset:
    """Return the file meta information of a DICOM file (PS3.10 section 7.1); nothing behind it is looked at.

    Parameters
    ----------
    data : bytes
        The file.

    Raises
    ------
    NotDicom
        If it is no DICOM file, or its file meta information is damaged.
    """
    if data[128:132] != b"DICM":
        raise NotDicom("expected a DICOM file (PS3.10): the prefix DICM after 128 bytes is missing")
    try:
        with config.disable_value_validation():
            return dcmread(BytesIO(data[: _data_set_start(data)])).file_meta
    except PARSE_FAILURES as error:
        raise NotDicom(
            f"expected file meta information, parsing failed with {type(error).__name__}"
        ) from error


def write_bytes(dataset: Dataset) -> bytes:
    """Return a data set with file meta information as a part-10 file (PS3.10 section 7.1).

    Raises
    ------
    Exception
        One of `PARSE_FAILURES` if it cannot be written, as may be with a damaged one.
    """
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _parse(data: bytes, max_bytes: int) -> FileDataset:
    start = _data_set_start(data)
    dataset = dcmread(BytesIO(data[:start]))
    if dataset.file_meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return dcmread(BytesIO(data))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[start:], max_bytes + 1)
    if len(inflated) > max_bytes:
        raise NotDicom(f"expected a deflated data set of at most {max_bytes} bytes, it inflates to more")
    if not inflater.eof:
        raise NotDicom("expected a whole deflated data set, it is cut off")
    elements = read_elements(BytesIO(inflated), is_implicit_VR=False, is_little_endian=True)
    whole = FileDataset(
        BytesIO(), elements, dataset.preamble, dataset.file_meta, is_implicit_VR=False, is_little_endian=True
    )
    whole.set_original_encoding(False, True, elements.original_character_set)
    return whole


def _data_set_start(data: bytes) -> int:
    """Return where the file meta information ends: elements of group 2, always Explicit VR Little Endian."""
    position = 132
    while data[position : position + 2] == b"\x02\x00":
        if data[position + 4 : position + 6] in (b"OB", b"UN", b"UT", b"SQ"):
            (length,) = struct.unpack_from("<I", data, position + 8)
            position += 12 + length
        else:
            (length,) = struct.unpack_from("<H", data, position + 6)
            position += 8 + length
    return position
