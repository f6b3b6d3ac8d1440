"""A finding and its map → a presentation state: text and outline over the film itself, which stays as it is.

Grayscale Softcopy Presentation State (PS3.3 A.33.1); `dicom_io.softcopy` writes its grey values.
"""

from fractions import Fraction
from typing import Final

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import PresentationLUTTransformation
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextJustificationValues,
    TextObject,
)
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, GrayscaleSoftcopyPresentationStateStorage

from dicom_io.charset import settle_character_set
from dicom_io.errors import InvalidResult
from dicom_io.evidence import Evidence, inherit, inherit_body_part, view_evidence
from dicom_io.findings import ResultContext
from dicom_io.heat import OUTLINE_LEVEL, outline, require_finite
from dicom_io.identity import (
    MANUFACTURER,
    describe_equipment,
    describe_instance,
    require_sound,
    without_names,
)
from dicom_io.overlay import BANNER, judgement
from dicom_io.pixel_format import read_format
from dicom_io.softcopy import describe_grey, is_monochrome, presentation_lut_shape
from dicom_io.uids import Kind, result_uid

SERIES_NUMBER: Final = 9004
SERIES_DESCRIPTION: Final = "AI outline COVID-19, research use only"
CONTENT_LABEL: Final = "AI_COVID_19"
"""A Code String (PS3.5 6.2): no hyphen."""
CONTENT_DESCRIPTION: Final = "Finding and region highlighted by the algorithm"

_TEXT_BOX: Final = (0.01, 0.01, 0.42, 0.11)
"""Left, top, right and bottom of the text as shares of the film: above the shoulder, beside the neck."""
_TEXT_COLOUR: Final = CIELabColor(80.0, 10.0, 65.0)
_OUTLINE_COLOUR: Final = CIELabColor(85.0, -35.0, 70.0)


def build_presentation(source: Dataset, cam_HW: NDArray[np.float32], context: ResultContext) -> Dataset:
    """Return finding and outline of the highlighted region as a presentation state of the film.

    Parameters
    ----------
    source : Dataset
        The film as read from the spool, with its pixels; it is not modified.
    cam_HW : NDArray[np.float32], any shape
        Heat map on the model's fixed scale 0-1, covering the film's extent.
    context : ResultContext
        The finding, and who made it when.

    Returns
    -------
    Dataset
        Grayscale Softcopy Presentation State (1.2.840.10008.5.1.4.1.1.11.1), the same for the same arguments.
        A map that stays below `heat.OUTLINE_LEVEL` gives text without an outline.

    Raises
    ------
    InvalidResult
        When the film is in colour (see `is_monochrome`), or the map or the context cannot be written.
    UnreadablePixels
        When the film has neither VOI LUT nor window, and its pixels cannot be decoded.

    References
    ----------
    PS3.3 A.33.1, C.10.4, C.10.5, C.11.1, C.11.6, C.11.8; highdicom `GrayscaleSoftcopyPresentationState`.
    """
    require_sound(context)
    require_finite("heat map", cam_HW)
    if not is_monochrome(source):
        raise InvalidResult("presentation state: expected a monochrome film, got one in colour")
    evidence = view_evidence(source)
    image = _referenced_image(evidence, source)
    moment = evidence.local_time(context.created_at)
    layers, annotations = _annotate(image, cam_HW, context)
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=_uid(context, image, Kind.PRESENTATION_SERIES),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_uid(context, image, Kind.PRESENTATION),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=context.algorithm.name,
        software_versions=context.device.software_version,
        device_serial_number=context.device.node_id,
        content_label=CONTENT_LABEL,
        content_description=CONTENT_DESCRIPTION,
        graphic_annotations=annotations,
        graphic_layers=layers,
        presentation_lut_transformation=PresentationLUTTransformation(
            presentation_lut_shape=presentation_lut_shape(source)
        ),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=SERIES_DESCRIPTION,
    )
    inherit(state, evidence)
    inherit_body_part(state, evidence)
    describe_equipment(state, context)
    describe_instance(state, moment)
    state.ContentCreatorName = f"{MANUFACTURER}^"
    state.PresentationCreationDate, state.PresentationCreationTime = state.ContentDate, state.ContentTime
    # The object has no content of its own (PS3.3 A.33.1.3).
    del state.ContentDate, state.ContentTime
    _describe_area(state, evidence)
    describe_grey(state, source)
    settle_character_set(state, evidence.character_set)
    return state


def _uid(context: ResultContext, film: Dataset, kind: Kind) -> str:
    return result_uid(context, film.SOPInstanceUID, kind, GrayscaleSoftcopyPresentationStateStorage)


def _referenced_image(evidence: Evidence, source: Dataset) -> Dataset:
    image = without_names(evidence.headers)
    image.SamplesPerPixel = 1
    # The size as the pixels are read by it, also where another value stands beside it.
    size = read_format(source)
    image.Rows, image.Columns = size.rows, size.columns
    return image


def _annotate(
    image: Dataset, cam_HW: NDArray[np.float32], context: ResultContext
) -> tuple[list[GraphicLayer], list[GraphicAnnotation]]:
    """Return text and outline, each in a layer of its own, so that a viewer can hide either."""
    rows, columns = image.Rows, image.Columns
    outlines = outline(cam_HW, rows, columns)
    text_layer = GraphicLayer("AI_TEXT", order=2, description="Finding", display_color=_TEXT_COLOUR)
    region_layer = GraphicLayer("AI_REGION", order=1, description="Region", display_color=_OUTLINE_COLOUR)
    annotations = [
        GraphicAnnotation(
            referenced_images=[image],
            graphic_layer=text_layer,
            text_objects=[_text_object(rows, columns, _text(context, cam_HW, outlines))],
        )
    ]
    if not outlines:
        return [text_layer], annotations
    graphics = [
        GraphicObject(GraphicTypeValues.POLYLINE, np.round(points_N2, 2), AnnotationUnitsValues.PIXEL)
        for points_N2 in outlines
    ]
    annotations.append(
        GraphicAnnotation(referenced_images=[image], graphic_layer=region_layer, graphic_objects=graphics)
    )
    return [text_layer, region_layer], annotations


def _text_object(rows: int, columns: int, text: str) -> TextObject:
    left, top, right, bottom = _TEXT_BOX
    return TextObject(
        text,
        units=AnnotationUnitsValues.PIXEL,
        bounding_box=(left * columns, top * rows, right * columns, bottom * rows),
        text_justification=TextJustificationValues.LEFT,
    )


def _text(context: ResultContext, cam_HW: NDArray[np.float32], outlines: list[NDArray[np.float64]]) -> str:
    decision, *numbers = judgement(context.finding).split("   ")
    region = f"outline: map from {OUTLINE_LEVEL:.2f}"
    if not outlines:
        region = f"no region: map below {OUTLINE_LEVEL:.2f}"
    region += f", highest {float(cam_HW.max()):.2f}"
    return "\r\n".join([BANNER, decision, ", ".join(numbers), region])


def _describe_area(state: Dataset, evidence: Evidence) -> None:
    """Write the film's spacing, or its pixels' proportions, into the displayed area (PS3.3 C.10.4)."""
    area = state.DisplayedAreaSelectionSequence[0]
    del area.PixelOriginInterpretation  # for tiled images alone
    if "PixelSpacing" in evidence.headers:
        del area.PresentationPixelAspectRatio
        area.PresentationPixelSpacing = list(evidence.headers.PixelSpacing)
    else:
        ratio = Fraction(evidence.pixel_aspect).limit_denominator(1000)
        area.PresentationPixelAspectRatio = [ratio.numerator, ratio.denominator]
