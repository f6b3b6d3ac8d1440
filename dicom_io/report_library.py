"""The image library of a report (TID 1600): the film, then the heat map, each as its headers describe it."""

from collections.abc import Sequence

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    TextContentItem,
    TimeContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DA, TM

from dicom_io import codes


def build_library(film: Dataset, capture: Dataset | None) -> ContainerContentItem:
    """Return the container that lists the images of a report.

    Parameters
    ----------
    film : Dataset
        Clean headers of the film, as `view_evidence` returns them.
    capture : Dataset | None
        The heat map; None without one.

    Returns
    -------
    ContainerContentItem
        One entry per image with its descriptors; a row without its attribute is left out.

    References
    ----------
    PS3.16 TID 1600, 1602, 1603.
    """
    # CID 29 codes the modality of acquisition, so the heat map bears its film's.
    modality = codes.MODALITIES.get(film.get("Modality", ""), codes.RADIOGRAPHY)
    entries = [_entry(codes.SOURCE, film, modality)]
    if capture is not None:
        entries.append(_entry(codes.HEAT_MAP, capture, modality))
    return build_container(codes.IMAGE_LIBRARY, [build_container(codes.IMAGE_LIBRARY_GROUP, entries)])


def build_container(name: Code, items: Sequence[ContentItem]) -> ContainerContentItem:
    """Return a container that its parent CONTAINS.

    Parameters
    ----------
    name : Code
        Its heading.
    items : Sequence[ContentItem]
        Content items that it holds.
    """
    container = ContainerContentItem(name, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _entry(name: Code, image: Dataset, modality: Code) -> ImageContentItem:
    entry = ImageContentItem(
        name,
        referenced_sop_class_uid=image.SOPClassUID,
        referenced_sop_instance_uid=image.SOPInstanceUID,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    entry.ContentSequence = ContentSequence(_descriptors(image, modality))
    return entry


def _descriptors(image: Dataset, modality: Code) -> list[ContentItem]:
    """TID 1602 rows 1-12 in order, then TID 1603 rows 3-6; a row without its attribute is left out."""
    acquired = RelationshipTypeValues.HAS_ACQ_CONTEXT
    items: list[ContentItem] = [CodeContentItem(codes.MODALITY, modality, acquired)]
    for date_name, time_name, keyword in (
        (codes.STUDY_DATE, codes.STUDY_TIME, "Study"),
        (codes.CONTENT_DATE, codes.CONTENT_TIME, "Content"),
        (codes.ACQUISITION_DATE, codes.ACQUISITION_TIME, "Acquisition"),
    ):
        if date := image.get(f"{keyword}Date"):
            items.append(DateContentItem(date_name, DA(date), acquired))
        if time := image.get(f"{keyword}Time"):
            items.append(TimeContentItem(time_name, TM(time), acquired))
    for number_name, keyword in (
        (codes.PIXEL_DATA_ROWS, "Rows"),
        (codes.PIXEL_DATA_COLUMNS, "Columns"),
    ):
        if keyword in image:
            items.append(NumContentItem(number_name, int(image[keyword].value), codes.PIXELS, None, acquired))
    return items + _projection_descriptors(image)


def _projection_descriptors(image: Dataset) -> list[ContentItem]:
    acquired = RelationshipTypeValues.HAS_ACQ_CONTEXT
    items: list[ContentItem] = []
    if orientation := image.get("PatientOrientation"):
        names: Sequence[Code] = (codes.PATIENT_ORIENTATION_ROW, codes.PATIENT_ORIENTATION_COLUMN)
        items += [
            TextContentItem(name, value, acquired) for name, value in zip(names, orientation, strict=True)
        ]
    # PS3.3 10.7.1.1: the spacing between columns, the horizontal one, comes second.
    spacing = image.get("ImagerPixelSpacing") or image.get("PixelSpacing")
    if spacing:
        names = (codes.HORIZONTAL_PIXEL_SPACING, codes.VERTICAL_PIXEL_SPACING)
        items += [
            NumContentItem(name, float(value), codes.MILLIMETRE, None, acquired)
            for name, value in zip(names, (spacing[1], spacing[0]), strict=True)
        ]
    return items
