"""Two films under one SOP Instance UID: a repeat, a changed identity, or another picture."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from dicom_io.acceptance import Reason, Refusal
from dicom_io.errors import CxrError
from dicom_io.headers import read_dataset, read_header
from dicom_io.pixels import read_pixels


def compare(later: Dataset, earlier_path: Path) -> Refusal | None:
    """Say what a film is, whose SOP Instance UID came before with other bytes.

    Returns
    -------
    Refusal or None
        `repeat`: same pixels and identity, so the earlier film stands for both. `identity_changed`:
        same pixels, another patient or study. `uid_conflict`: other pixels. None when the earlier film
        cannot be read any more, so that there is nothing to be in conflict with.
    """
    try:
        earlier = read_dataset(earlier_path)
        pixels_before = read_pixels(earlier)
    except (CxrError, OSError):
        return None
    try:
        same = np.array_equal(pixels_before, read_pixels(later))
    except CxrError:
        same = False
    if not same:
        return Refusal(Reason.UID_CONFLICT, "another film with other pixels came under this SOP Instance UID")
    before, after = read_header(earlier), read_header(later)
    if (before.patient_id, before.study_instance_uid) != (after.patient_id, after.study_instance_uid):
        return Refusal(
            Reason.IDENTITY_CHANGED, "the same film came before with another Patient ID or Study Instance UID"
        )
    return Refusal(Reason.REPEAT, "the same film came before in another encoding; the earlier one is judged")
