"""A picture → a secondary capture image: the heat map over its film, with the headers of PS3.3 A.8.1."""

from dataclasses import dataclass, replace
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
from dicom_io.evidence import Evidence, inherit, inherit_body_part, view_evidence
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

__all__ = ["SERIES_DESCRIPTION", "SERIES_NUMBER", "Series", "build_capture", "render_overlay", "wrap_picture"]

SERIES_NUMBER: Final = 9002
SERIES_DESCRIPTION: Final = "AI heat map COVID-19, research use only"
DERIVATION: Final = "Film with a Grad-CAM heat map for COVID-19 as overlay, scaled, with margins for text"


@dataclass(frozen=True)
class Series:
    """What the pictures of one kind have in common."""

    number: int
    description: str
    """Series Description, with the words "research use only"."""
    derivation: str
    """Derivation Description: how the picture came from the film."""
    image: Kind
    """What the SOP Instance UID is derived from."""
    series: Kind
    """What the Series Instance UID is derived from."""


HEAT_MAPS: Final = Series(SERIES_NUMBER, SERIES_DESCRIPTION, DERIVATION, Kind.HEAT_MAP, Kind.HEAT_MAP_SERIES)


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
    moment = evidence.local_time(context.created_at)
    aspect = evidence.pixel_aspect
    picture_HW3 = render_overlay(image_HW, cam_HW, replace(context, created_at=moment), aspect)
    capture = wrap_picture(picture_HW3, evidence, context, HEAT_MAPS)
    layout = lay_out(image_HW.shape[0], image_HW.shape[1], aspect)
    _place_in_space(capture, evidence.headers, layout, (image_HW.shape[0], image_HW.shape[1]))
    return capture


def wrap_picture(
    picture_HW3: NDArray[np.uint8], evidence: Evidence, context: ResultContext, series: Series
) -> Dataset:
    """Return a picture of a film as a secondary capture without orientation and spacing.

    Parameters
    ----------
    picture_HW3 : NDArray[np.uint8], shape (H, W, 3)
        RGB; no patient's name or id is on it.
    evidence : Evidence
        The film's clean headers.
    context : ResultContext
        Who made it when.
    series : Series
        The kind of the picture.

    Returns
    -------
    Dataset
        Secondary Capture (1.2.840.10008.5.1.4.1.1.7) with the Patient and Study modules of the film.

    References
    ----------
    PS3.3 A.8.1, C.7.6.1, C.8.6; highdicom `SCImage`.
    """
    film = evidence.headers
    moment = evidence.local_time(context.created_at)
    capture = SCImage.from_ref_dataset(
        ref_dataset=without_names(film),
        pixel_array=picture_HW3,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        series_instance_uid=_uid(context, film, series.series),
        series_number=series.number,
        sop_instance_uid=_uid(context, film, series.image),
        instance_number=1,
        manufacturer=MANUFACTURER,
        patient_orientation=("L", "F"),  # highdicom insists; emptied below
        series_description=series.description,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    inherit(capture, evidence)
    inherit_body_part(capture, evidence)
    describe_equipment(capture, context)
    describe_instance(capture, moment)
    capture.DateOfSecondaryCapture = capture.ContentDate
    capture.TimeOfSecondaryCapture = capture.ContentTime
    _describe_image(capture, film, series.derivation)
    settle_character_set(capture, evidence.character_set)
    return capture


def _uid(context: ResultContext, film: Dataset, kind: Kind) -> str:
    return result_uid(context, film.SOPInstanceUID, kind, SecondaryCaptureImageStorage)


def _describe_image(capture: Dataset, film: Dataset, derivation: str) -> None:
    """Write what the picture has of its film: losses, burned-in text, reference."""
    capture.ConversionType = "WSD"
    capture.PatientOrientation = ""
    capture.DerivationDescription = derivation
    for keyword in (
        "BurnedInAnnotation",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ):
        if keyword in film:
            capture[keyword] = film[keyword]
    capture.SourceImageSequence = [_source_reference(film)]


def _place_in_space(capture: Dataset, film: Dataset, layout: Layout, size: tuple[int, int]) -> None:
    """Write orientation and pixel spacing of a picture that shows the film upright as it is."""
    capture.PatientOrientation = film.get("PatientOrientation", "")
    if "PixelSpacing" in film:
        factors = (size[0] / layout.film_rows, size[1] / layout.film_columns)
        capture.PixelSpacing = [
            DSfloat(float(mm) * factor, auto_format=True)
            for mm, factor in zip(film.PixelSpacing, factors, strict=True)
        ]


def _source_reference(film: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = film.SOPClassUID
    reference.ReferencedSOPInstanceUID = film.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(codes.SOURCE_FOR_PROCESSING)]
    # PS3.3 C.7.6.1.1.4: the margins give the picture another extent than the film's.
    reference.SpatialLocationsPreserved = "NO"
    return reference
