"""A film of nobody, and the result objects about it, for a test of the way into a PACS."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dicom_io.capture import build_capture
from dicom_io.findings import Algorithm, Device, Finding, Presence, ResultContext
from dicom_io.presentation import build_presentation
from dicom_io.profiles import Profile
from dicom_io.report import build_report, encode
from dicom_io.scu import Identity
from dicom_io.selfcheck import check_result
from dicom_io.summary import build_summary

PATIENT_ID = "CXRWORKER-TEST"
PATIENT_NAME = "TEST^CXR-WORKER^DELETE ME"
STUDY_DESCRIPTION = "TEST OF CXR-WORKER, NO PATIENT, DELETE"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
SIDE_PX = 512
NO_HEAT_HW = np.zeros((8, 8), np.float32)


@dataclass(frozen=True)
class TestObject:
    """A result object about the film of nobody."""

    __test__ = False

    kind: str
    """`sr`, `sc`, `summary` or `annotation`, as in the database."""
    identity: Identity
    encoded: bytes


def build_test_objects(
    device: Device, created_at: datetime, profile: Profile = Profile.COMPREHENSIVE_3D
) -> tuple[TestObject, ...]:
    """Return a report and a heat map about a film that does not exist, of a patient who does not.

    Parameters
    ----------
    device : Device
        Who speaks.
    created_at : datetime
        Time-zone aware.
    profile : Profile
        Form of the report.

    Returns
    -------
    tuple of TestObject
        Report and heat map in one new study. The finding is Undetermined at 50 %: whoever meets it in a PACS
        must not take it for one.

    Raises
    ------
    InvalidResult
        An object failed the check that every result passes.
    """
    film, context = _film(created_at), _context(device, created_at)
    capture = build_capture(film, phantom_HW(), NO_HEAT_HW, context)
    report = build_report(film, context, capture, profile)
    return tuple(_keep(kind, dataset, film, context) for kind, dataset in (("sr", report), ("sc", capture)))


def build_optional_objects(device: Device, created_at: datetime) -> tuple[TestObject, ...]:
    """Return what a destination gets on demand alone, about the same film: summary page, presentation state.

    Parameters
    ----------
    device : Device
        Who speaks.
    created_at : datetime
        Time-zone aware.

    Raises
    ------
    InvalidResult
        An object failed the check that every result passes.
    """
    film, context = _film(created_at), _context(device, created_at)
    page = build_summary(film, phantom_HW(), NO_HEAT_HW, context)
    _describe_grey(film)
    state = build_presentation(film, NO_HEAT_HW, context)
    made = (("summary", page), ("annotation", state))
    return tuple(_keep(kind, dataset, film, context) for kind, dataset in made)


def _context(device: Device, created_at: datetime) -> ResultContext:
    return ResultContext(
        finding=Finding(Presence.UNDETERMINED, 0.5, threshold=0.5, band_low=0.4, band_high=0.6),
        algorithm=Algorithm("TEST, no algorithm", "0", "0" * 64, ("test of the way into this PACS",)),
        device=device,
        created_at=created_at,
    )


def _keep(kind: str, dataset: Dataset, film: Dataset, context: ResultContext) -> TestObject:
    encoded = encode(dataset)
    check_result(encoded, film, context)
    return TestObject(kind, _identity(dataset), encoded)


def phantom_HW() -> NDArray[np.float32]:  # noqa: N802 - shape suffix
    """Return a wedge with a disc, as test phantoms have: grey values 0-1 of no body.

    Returns
    -------
    NDArray[np.float32], shape (512, 512)
    """
    y_HW, x_HW = np.mgrid[0:SIDE_PX, 0:SIDE_PX] / (SIDE_PX - 1)
    disc_HW = (x_HW - 0.5) ** 2 + (y_HW - 0.5) ** 2 < 0.09
    grey_HW: NDArray[np.float32] = np.where(disc_HW, 1 - x_HW, x_HW).astype(np.float32)
    return grey_HW


def _film(created_at: datetime) -> Dataset:
    """Headers of the film; it is never sent, so it holds no pixels."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = CR_STORAGE, generate_uid(None)
    film.StudyInstanceUID, film.SeriesInstanceUID = generate_uid(None), generate_uid(None)
    film.PatientID, film.PatientName = PATIENT_ID, PATIENT_NAME
    film.PatientBirthDate = film.PatientSex = film.AccessionNumber = film.ReferringPhysicianName = ""
    film.StudyID, film.StudyDescription = "TEST", STUDY_DESCRIPTION
    film.StudyDate, film.StudyTime = created_at.strftime("%Y%m%d"), created_at.strftime("%H%M%S")
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "PHANTOM", "PA"
    film.ImageType = ["ORIGINAL", "PRIMARY"]
    film.Rows = film.Columns = SIDE_PX
    return film


def _describe_grey(film: Dataset) -> None:
    """Write how its grey values would be stored and shown; without it no presentation state is made."""
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.SamplesPerPixel, film.PhotometricInterpretation, film.PixelRepresentation = 1, "MONOCHROME2", 0
    film.BitsAllocated, film.BitsStored, film.HighBit = 8, 8, 7
    film.WindowCenter, film.WindowWidth = 128, 256


def _identity(dataset: Dataset) -> Identity:
    return Identity(
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        patient_id=PATIENT_ID,
    )
