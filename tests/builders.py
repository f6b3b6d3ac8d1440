"""Builders of DICOM data sets for the tests: made in code, one picture is pydicom-data's."""

from functools import cache
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian

from dicom_io.pixels import read_pixels

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
DX_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
DX_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_UID_ROOT = "1.2.826.0.1.3680043.10.1588.99"

_PATIENT_AND_STUDY: dict[str, Any] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "StudyInstanceUID": f"{_UID_ROOT}.1",
    "SeriesInstanceUID": f"{_UID_ROOT}.2",
    "PatientName": "Grün^Åsa",
    "PatientID": "PID-4711",
    "IssuerOfPatientID": "HOSPITAL-A",
    "PatientBirthDate": "19610305",
    "PatientSex": "F",
    "PatientAge": "062Y",
    "StudyDate": "20240102",
    "StudyTime": "101530",
    "ContentDate": "20240102",
    "ContentTime": "101600",
    "AcquisitionDate": "20240102",
    "ReferringPhysicianName": "Rey^Nina",
    "StudyID": "S1",
    "AccessionNumber": "ACC-1",
    "StudyDescription": "Chest PA",
    "SeriesDescription": "PA",
    "SeriesNumber": 1,
    "InstanceNumber": 1,
    "Manufacturer": "Example Imaging",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "Laterality": None,
}


def phantom_HW(  # noqa: N802 - shape suffix
    rows: int = 256, cols: int = 224, seed: int = 0
) -> NDArray[np.float32]:
    """Return a synthetic frontal chest, float32 in 0-1, air (lungs and surroundings) dark, bone bright.

    It is asymmetric in both directions (heart on the image's right, liver below), so that a flipped,
    turned or inverted picture is noticed.
    """
    random = np.random.default_rng(seed)
    y_HW, x_HW = np.mgrid[0:rows, 0:cols].astype(np.float64)
    y_HW, x_HW = y_HW / rows, x_HW / cols

    def ellipse(centre_y: float, centre_x: float, radius_y: float, radius_x: float) -> NDArray[np.float64]:
        distance_HW = np.hypot((y_HW - centre_y) / radius_y, (x_HW - centre_x) / radius_x)
        return 1.0 / (1.0 + np.exp((distance_HW - 1.0) * 25.0))

    tissue_HW = 0.60 * ellipse(0.65, 0.5, 0.75, 0.47)
    lungs_HW = ellipse(0.45, 0.30, 0.30, 0.15) + ellipse(0.45, 0.70, 0.28, 0.13)
    image_HW = tissue_HW - 0.42 * lungs_HW
    image_HW += 0.30 * ellipse(0.60, 0.57, 0.16, 0.12)  # heart
    image_HW += 0.20 * ellipse(0.88, 0.33, 0.10, 0.22)  # liver
    image_HW += 0.25 * ellipse(0.50, 0.50, 0.60, 0.035)  # spine
    ribs_HW = 0.05 * np.sin(y_HW * 60.0 + 8.0 * (x_HW - 0.5) ** 2) * (tissue_HW > 0.3)
    image_HW += ribs_HW + random.normal(0.0, 0.004, size=(rows, cols))
    return np.clip(image_HW, 0.0, 1.0).astype(np.float32)


def chest_HW(  # noqa: N802 - shape suffix
    rows: int = 256, cols: int = 224, seed: int = 0
) -> NDArray[np.float32]:
    """Return the real chest film of pydicom-data (MIT), reduced, and for each seed cut a little differently.

    The model's gate lets it pass, and no phantom.
    """
    film_HW = _whole_chest_HW()
    random = np.random.default_rng(seed)
    (top, bottom), (left, right) = ((random.random(2) * 0.03 * side).astype(int) for side in film_HW.shape)
    cut_HW = film_HW[top : film_HW.shape[0] - bottom, left : film_HW.shape[1] - right]
    return np.asarray(Image.fromarray(cut_HW).resize((cols, rows), Image.Resampling.BOX)).clip(0.0, 1.0)


@cache
def _whole_chest_HW() -> NDArray[np.float32]:  # noqa: N802 - shape suffix
    return read_pixels(dcmread(str(get_testdata_file("RG1_UNCR.dcm", download=False))))


def set_attributes(dataset: Dataset, attributes: dict[str, Any]) -> Dataset:
    """Set attributes by keyword; the value None removes one."""
    for keyword, value in attributes.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    return dataset


def put_pixels(
    dataset: Dataset,
    stored_HW: NDArray[Any],
    *,
    bits_stored: int = 12,
    signed: bool = False,
    photometric_interpretation: str = "MONOCHROME2",
) -> Dataset:
    """Write integers (rows, cols) or (rows, cols, 3) as uncompressed little endian Pixel Data."""
    bits_allocated = 8 if bits_stored <= 8 else 16
    # PS3.5 8.1.1: the unused high bits of a signed value hold its sign, so the plain cast is right.
    dtype = np.dtype(f"<{'i' if signed else 'u'}{bits_allocated // 8}")
    data = stored_HW.astype(dtype).tobytes()
    dataset.SamplesPerPixel = 1 if stored_HW.ndim == 2 else 3
    if dataset.SamplesPerPixel == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = photometric_interpretation
    dataset.Rows, dataset.Columns = stored_HW.shape[:2]
    dataset.BitsAllocated = bits_allocated
    dataset.BitsStored = bits_stored
    dataset.HighBit = bits_stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if bits_allocated == 8 else "OW"
    return dataset


def encode_frame(stored: NDArray[Any], transfer_syntax_uid: str, bits_stored: int) -> bytes:
    """Compress unsigned integers (rows, cols) or (rows, cols, 3); lossy where the syntax is lossy."""
    match transfer_syntax_uid:
        case uid.JPEGBaseline8Bit:
            return bytes(imagecodecs.jpeg8_encode(stored, level=95))
        case uid.JPEGExtended12Bit:
            return bytes(imagecodecs.jpeg8_encode(stored, level=98, bitspersample=12))
        case uid.JPEGLossless:
            options = {"lossless": True, "predictor": 6, "bitspersample": bits_stored}
            return bytes(imagecodecs.jpeg8_encode(stored, **options))
        case uid.JPEGLosslessSV1:
            options = {"lossless": True, "predictor": 1, "bitspersample": bits_stored}
            return bytes(imagecodecs.jpeg8_encode(stored, **options))
        case uid.JPEGLSLossless | uid.JPEGLSNearLossless:
            near = 0 if transfer_syntax_uid == uid.JPEGLSLossless else 2
            return bytes(imagecodecs.jpegls_encode(stored, level=near))
        case uid.JPEG2000Lossless | uid.JPEG2000:
            options = {"codecformat": "j2k", "bitspersample": bits_stored}
            options |= {"reversible": True} if transfer_syntax_uid == uid.JPEG2000Lossless else {"level": 60}
            return bytes(imagecodecs.jpeg2k_encode(stored, **options))
        case uid.HTJ2K:
            return bytes(imagecodecs.htj2k_encode(stored, level=0.001, reversible=False))
        case uid.HTJ2KLossless | uid.HTJ2KLosslessRPCL:
            return bytes(imagecodecs.htj2k_encode(stored, reversible=True))
    raise ValueError(f"no encoder for {transfer_syntax_uid}")


def put_compressed(dataset: FileDataset, frame: bytes, transfer_syntax_uid: str) -> FileDataset:
    """Replace Pixel Data by one compressed frame; the rest of the header stays as it is."""
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.UID(transfer_syntax_uid)
    return dataset


def compress(dataset: FileDataset, transfer_syntax_uid: str) -> FileDataset:
    """Compress the Pixel Data of an uncompressed data set in place."""
    if transfer_syntax_uid == uid.RLELossless:
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
        return dataset
    unsigned = "u1" if dataset.BitsAllocated == 8 else "<u2"
    shape = (dataset.Rows, dataset.Columns) + ((3,) if dataset.SamplesPerPixel == 3 else ())
    pixels = np.frombuffer(dataset.PixelData, unsigned)[: int(np.prod(shape))].reshape(shape)
    pixels = pixels & (2**dataset.BitsStored - 1)  # codecs without sign store the bits of a signed value
    frame = encode_frame(pixels, transfer_syntax_uid, dataset.BitsStored)
    return put_compressed(dataset, frame, transfer_syntax_uid)


def _build(sop_class_uid: str, modality: str, image_HW: NDArray[np.float32] | None) -> FileDataset:
    file_meta = FileMetaDataset()
    file_meta.MediaStorageSOPClassUID = sop_class_uid
    file_meta.MediaStorageSOPInstanceUID = f"{_UID_ROOT}.3"
    file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file_meta.ImplementationClassUID = f"{_UID_ROOT}.9"
    dataset = FileDataset("", {}, file_meta=file_meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = f"{_UID_ROOT}.3"
    dataset.Modality = modality
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    set_attributes(dataset, _PATIENT_AND_STUDY)
    grey_HW = phantom_HW() if image_HW is None else image_HW
    return put_pixels(dataset, np.rint(grey_HW * 4095).astype(np.uint16))  # type: ignore[return-value]


def build_film(image_HW: NDArray[np.float32] | None = None, **overrides: Any) -> FileDataset:
    """Return a valid CR chest film (PA, adult, 12 of 16 bits, MONOCHROME2, Explicit VR Little Endian).

    Parameters
    ----------
    image_HW : NDArray[np.float32], optional
        Grey values in 0-1, air dark; by default `phantom_HW()`.
    **overrides : Any
        Attributes by DICOM keyword; the value None removes one.
    """
    dataset = _build(CR_STORAGE, "CR", image_HW)
    return _override(dataset, {"ImagerPixelSpacing": [0.2, 0.2], **overrides})


def build_dx(image_HW: NDArray[np.float32] | None = None, **overrides: Any) -> FileDataset:
    """Return a valid DX chest film for presentation, with the attributes that the DX module demands."""
    attributes = {
        "ImagerPixelSpacing": [0.15, 0.15],
        "PresentationIntentType": "FOR PRESENTATION",
        "PixelIntensityRelationship": "LOG",
        "PixelIntensityRelationshipSign": -1,
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY",
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "PatientOrientation": ["L", "F"],
        "ImageLaterality": "U",
    }
    return _override(_build(DX_FOR_PRESENTATION, "DX", image_HW), {**attributes, **overrides})


def build_secondary_capture(image_HW: NDArray[np.float32] | None = None, **overrides: Any) -> FileDataset:
    """Return a Secondary Capture of a chest film."""
    dataset = _build(SECONDARY_CAPTURE, "OT", image_HW)
    return _override(dataset, {"ConversionType": "WSD", "ImageType": ["DERIVED", "SECONDARY"], **overrides})


def _override(dataset: FileDataset, attributes: dict[str, Any]) -> FileDataset:
    set_attributes(dataset, attributes)
    # The file meta repeats both UIDs (PS3.10 7.1).
    dataset.file_meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", CR_STORAGE)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", f"{_UID_ROOT}.3")
    return dataset


def build_code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return an item of a code sequence."""
    return set_attributes(
        Dataset(), {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}
    )


def to_bytes(dataset: Dataset) -> bytes:
    """Return the data set as a part-10 file."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
