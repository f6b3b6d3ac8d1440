"""Decompress an object for a peer that takes its SOP class uncompressed alone (PS3.5 section 10)."""

from io import BytesIO

from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_io import codecs
from dicom_io.errors import UnreadablePixels
from dicom_io.part10 import PARSE_FAILURES, read_file_meta, write_bytes


def is_compressed(transfer_syntax_uid: str) -> bool:
    """Return whether Pixel Data is encapsulated in this transfer syntax (PS3.5 annex A.4)."""
    return bool(UID(transfer_syntax_uid).is_encapsulated)


def decompress(dataset: Dataset) -> None:
    """Decompress Pixel Data in place, to Explicit VR Little Endian.

    The SOP Instance UID stays: the image is the same, and what a lossy compression took away was taken before
    (PS3.3 section C.7.6.1.1.5). Colours that were stored as luminance and chrominance become RGB, and
    Photometric Interpretation says so.

    Parameters
    ----------
    dataset : pydicom.dataset.Dataset
        With file meta information and encapsulated Pixel Data.

    Raises
    ------
    UnreadablePixels
        The pixels cannot be decoded.
    """
    codecs.register()
    try:
        dataset.decompress(decoding_plugin=codecs.PLUGIN, generate_instance_uid=False)
    except (*PARSE_FAILURES, RuntimeError, NotImplementedError) as error:
        raise UnreadablePixels(f"expected pixels that can be decoded: {type(error).__name__}") from error


def put_encapsulated(image: Dataset, encapsulated: bytes) -> None:
    """Replace Pixel Data by what is encapsulated (PS3.5 section A.4); the element is a new one.

    Parameters
    ----------
    image : pydicom.dataset.Dataset
        The caller says in its file meta information how it is encoded.
    encapsulated : bytes
        As `pydicom.encaps.encapsulate` returns it.
    """
    element = DataElement("PixelData", "OB", encapsulated)
    element.is_undefined_length = True
    image["PixelData"] = element


def plain(encoded: bytes) -> bytes:
    """Return a part-10 object without compression; one that has none stays as it is, byte for byte.

    Raises
    ------
    NotDicom
        It is no DICOM object.
    UnreadablePixels
        The pixels cannot be decoded.
    """
    if not is_compressed(read_file_meta(encoded).TransferSyntaxUID):
        return encoded
    dataset = dcmread(BytesIO(encoded))
    decompress(dataset)
    return write_bytes(dataset)
