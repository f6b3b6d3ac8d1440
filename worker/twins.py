"""Films under one SOP Instance UID: a repeat, a changed identity, or another picture."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.acceptance import Reason, Refusal
from dicom_io.errors import NotDicom, PermanentError
from dicom_io.headers import Header, read_header
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels

OF_DISPLAY = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "PresentationLUTShape")
"""How pixels are to be shown, which an archive may add or correct: not the pixels themselves."""

IDENTITY = {"patient_id": "Patient ID", "study_instance_uid": "Study Instance UID"}
"""What makes another film of the same pixels, also where one of them says nothing."""
IDENTITY_WHERE_SAID = {
    "issuer_of_patient_id": "Issuer of Patient ID",
    "patient_name": "Patient's Name",
    "patient_birth_date": "Patient's Birth Date",
}
"""The same, where both say something: an archive may add what a modality left out."""


def compare(later: Dataset, earlier: Iterable[tuple[int, Path]]) -> Refusal | None:
    """Say what a film is, whose SOP Instance UID came before with other bytes.

    Parameters
    ----------
    later
        The film that came now; what it says of its display is removed from it.
    earlier
        Id and file of each film that came before it under this UID.

    Returns
    -------
    Refusal or None
        `repeat`: same pixels and identity as one of them, which stands for both. `identity_changed`: same
        pixels, but no one's identity. `uid_conflict`: nobody's pixels. None when none of them can be read
        any more, so that there is nothing to be in conflict with.
    """
    header, pixels = read_header(later), _pixels(later)
    changed: tuple[int, list[str]] | None = None
    readable: int | None = None
    for image_id, path in earlier:
        before = _read(path)
        if before is None:
            continue
        readable = readable or image_id
        # Nothing is equal to a film without readable pixels.
        if pixels is None or not np.array_equal(before[1], pixels):
            continue
        differing = _differing(before[0], header)
        if not differing:
            detail = f"the same film came before in another encoding: image {image_id}"
            return Refusal(Reason.REPEAT, detail)
        changed = changed or (image_id, differing)
    if changed is not None:
        image_id, differing = changed
        detail = f"image {image_id} is the same film with another {' and another '.join(differing)}"
        return Refusal(Reason.IDENTITY_CHANGED, detail)
    if readable is not None:
        return Refusal(Reason.UID_CONFLICT, f"image {readable} came before with other pixels under this UID")
    return None


def _read(path: Path) -> tuple[Header, NDArray[np.float32]] | None:
    # One that is gone says nothing; one that cannot be read just now may be read later.
    if not path.is_file():
        return None
    try:
        dataset = read_dataset(path)
    except NotDicom:
        return None
    pixels = _pixels(dataset)
    return None if pixels is None else (read_header(dataset), pixels)


def _pixels(dataset: Dataset) -> NDArray[np.float32] | None:
    """The decoded pixels, whatever window they came with; None where there are none to be read."""
    for keyword in OF_DISPLAY:
        if keyword in dataset:
            delattr(dataset, keyword)
    try:
        return read_pixels(dataset)
    # Too little memory, say, is no property of the film: that is tried again.
    except PermanentError:
        return None


def _differing(before: Header, after: Header) -> list[str]:
    """Names of what says that this is another patient or study."""
    named = [name for key, name in IDENTITY.items() if getattr(before, key) != getattr(after, key)]
    for key, name in IDENTITY_WHERE_SAID.items():
        values = [_plain(getattr(header, key)) for header in (before, after)]
        if all(values) and values[0] != values[1]:
            named.append(name)
    return named


def _plain(value: str | None) -> str:
    """Without what systems add or drop on the way: case, empty components, other spellings of a name."""
    return (value or "").split("=")[0].rstrip("^ ").casefold()
