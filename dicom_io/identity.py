"""What every result object says of its device, its time and its purpose, whatever its kind."""

from datetime import datetime
from math import isfinite
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from dicom_io.errors import InvalidResult
from dicom_io.findings import Provenance, ResultContext
from dicom_io.repair import is_long_string

MANUFACTURER: Final = "cxr-worker"
CONTENT_QUALIFICATION: Final = "RESEARCH"
"""PS3.3 C.12.1 (SOP Common): not for clinical use."""


def require_sound(context: Provenance) -> None:
    """Raise InvalidResult unless every number and text of the context can be written.

    Parameters
    ----------
    context : Provenance
        What the result is about to say.
    """
    if isinstance(context, ResultContext):
        for name in ("probability", "threshold", "band_low", "band_high"):
            value = getattr(context.finding, name)
            if not (isfinite(value) and 0.0 <= value <= 1.0):
                raise InvalidResult(f"{name}: expected a number from 0 to 1, got {value}")
    if context.created_at.tzinfo is None:
        raise InvalidResult("created_at: expected a time with a zone, got one without")
    for name, text in (
        ("algorithm name", context.algorithm.name),
        ("algorithm version", context.algorithm.version),
        ("node id", context.device.node_id),
        ("software version", context.device.software_version),
    ):
        # Each goes into an attribute of VR LO (PS3.5 table 6.2-1).
        if not is_long_string(text):
            raise InvalidResult(f"{name}: expected 1-64 printable characters without backslash, got {text!r}")


def without_names(image: Dataset) -> Dataset:
    """Return the headers that highdicom wants of a referenced image, with empty names.

    highdicom's warnings about a person name quote it, and they would end in a log; `inherit` writes the true
    names afterwards.
    """
    view = Dataset(dict(image.items()))
    for keyword in ("PatientName", "ReferringPhysicianName"):
        # A new element: setting the value would change the one that `image` holds.
        view[keyword] = DataElement(keyword, "PN", "")
    return view


def describe_equipment(result: Dataset, context: Provenance) -> None:
    """Write the General Equipment module (PS3.3 C.7.5.1) and who contributed to the object."""
    result.Manufacturer = MANUFACTURER
    result.ManufacturerModelName = context.algorithm.name
    result.DeviceSerialNumber = context.device.node_id
    result.SoftwareVersions = [context.device.software_version, context.algorithm.version]
    # highdicom lists itself with the time of the call: the same result would never be the same bytes.
    if "ContributingEquipmentSequence" in result:
        del result.ContributingEquipmentSequence


def describe_instance(result: Dataset, moment: datetime) -> None:
    """Write creation and content time, in the zone of `moment`, and the content qualification."""
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")
    result.InstanceCreationDate, result.InstanceCreationTime = date, time
    result.ContentDate, result.ContentTime = date, time
    result.ContentQualification = CONTENT_QUALIFICATION
