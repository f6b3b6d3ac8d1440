"""A heat map → a secondary capture image: the overlay picture with the headers of PS3.3 A.8.1."""

from dataclasses import replace
from typing import Final

import numpy as np
from highdicom.sc import SCImage
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pydicom.valuerep import DSfloat

from dicom_io import codes
from dicom_io.charset import settle_character_set
from dicom_io.evidence import inherit, view_evidence
from dicom_io.findings import ResultContext
from dicom_io.identity import (
    MANUFACTURER,
    describe_equipment,
    describe_instance,
    require_sound,
    without_names,
)
from dicom_io.overlay import Layout, lay_out, render_overlay
from dicom_io.uids import Kind, result_uid

__all__ = ["SERIES_DESCRIPTION", "SERIES_NUMBER", "build_capture", "render_overlay"]

SERIES_NUMBER: Final = 9002
SERIES_DESCRIPTION: Final = "AI heat map COVID-19, research use only"
DERIVATION: Final = "Film with a Grad-CAM heat map for COVID-19 as overlay, scaled, with margins for text"


def build_capture(
    source: Dataset,
    image_HW: NDArray[np.float32],
    cam_HW: NDArray[np.float32],
    context: ResultContext,
) -> Dataset:
    """Return the heat map of one film as a secondary capture.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool; it is not modified.
    image_HW : NDArray[np.float32], shape (rows, cols)
        Displayed grey values of the film, 0-1, air dark.
    cam_HW : NDArray[np.float32], any shape
        Heat map on the model's fixed scale 0-1, covering the film's extent.
    context : ResultContext
        The finding, and who made it when.

    Returns
    -------
    Dataset
        Secondary Capture (1.2.840.10008.5.1.4.1.1.7), 8-bit RGB, longest side at most 2048; the same for the
        same arguments.

    Raises
    ------
    InvalidResult
        See `render_overlay` and `build_report`.

    References
    ----------
    PS3.3 A.8.1, C.7.6.1, C.8.6; highdicom `SCImage`.
    """
    require_sound(context)
    evidence = view_evidence(source)
    film = evidence.headers
    moment = evidence.local_time(context.created_at)
    picture_HW3 = render_overlay(image_HW, cam_HW, replace(context, created_at=moment))
    capture = SCImage.from_ref_dataset(
        ref_dataset=without_names(film),
        pixel_array=picture_HW3,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=_uid(context, film, Kind.HEAT_MAP_SERIES),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(context, film, Kind.HEAT_MAP),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),  # highdicom insists; `_describe_image` writes the source's own
        series_description=SERIES_DESCRIPTION,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    inherit(capture, evidence)
    describe_equipment(capture, context)
    describe_instance(capture, moment)
    capture.DateOfSecondaryCapture = capture.ContentDate
    capture.TimeOfSecondaryCapture = capture.ContentTime
    _describe_image(capture, film, lay_out(image_HW.shape[0], image_HW.shape[1]), image_HW.shape[0])
    settle_character_set(capture, evidence.character_set)
    return capture


def _uid(context: ResultContext, film: Dataset, kind: Kind) -> str:
    return result_uid(context, film.SOPInstanceUID, kind, SecondaryCaptureImageStorage)


def _describe_image(capture: Dataset, film: Dataset, layout: Layout, rows: int) -> None:
    """Write what the picture has of its film: orientation, spacing, losses, reference."""
    capture.ConversionType = "WSD"
    capture.BodyPartExamined = film.get("BodyPartExamined", "CHEST")
    if capture.BodyPartExamined != "CHEST":
        # Type 2C (PS3.3 C.7.3.1): any other word might name a paired organ.
        capture.Laterality = ""
    capture.PatientOrientation = film.get("PatientOrientation", "")
    capture.DerivationDescription = DERIVATION
    for keyword in (
        "BurnedInAnnotation",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ):
        if keyword in film:
            capture[keyword] = film[keyword]
    if "PixelSpacing" in film:
        factor = rows / layout.film_rows
        capture.PixelSpacing = [DSfloat(float(mm) * factor, auto_format=True) for mm in film.PixelSpacing]
    capture.SourceImageSequence = [_source_reference(film)]


def _source_reference(film: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = film.SOPClassUID
    reference.ReferencedSOPInstanceUID = film.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_FOR_PROCESSING)]
    # PS3.3 C.7.6.1.1.4: the margins give the picture another extent than the film's.
    reference.SpatialLocationsPreserved = "NO"
    return reference
