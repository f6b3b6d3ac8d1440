"""From a file to a film at its displayed values, or to the reason why it must not be judged."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.acceptance import AcceptanceRules, Reason, Refusal, check_header, check_pixels
from dicom_io.errors import CxrError, NoPixelData, UnreadablePixels, UnsupportedImage
from dicom_io.headers import read_dataset
from dicom_io.pixels import read_pixels
from worker.settings import Settings

PIXEL_REASONS: dict[type[CxrError], Reason] = {
    NoPixelData: Reason.NO_PIXELS,
    UnreadablePixels: Reason.UNREADABLE,
    UnsupportedImage: Reason.UNSUPPORTED,
}
"""What reading the pixels may raise, and the reason that it is."""
MAGIC = slice(128, 132)
"""Where `DICM` stands in a DICOM file (PS3.10 section 7.1)."""


class Refused(Exception):
    """The film must not be judged."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def displayed(dataset: Dataset, settings: Settings) -> NDArray[np.float32]:
    """Return image_HW at its displayed values; the header is asked first, then the pixels: headers lie.

    Raises
    ------
    Refused
        The film must not be judged.
    """
    refusal = check_header(dataset, AcceptanceRules(min_age_years=settings.min_age_years))
    if refusal is not None:
        raise Refused(refusal)
    try:
        image_HW = read_pixels(dataset)
    except tuple(PIXEL_REASONS) as error:
        raise Refused(Refusal(PIXEL_REASONS[type(error)], str(error))) from error
    return _worth_judging(image_HW)


def read_any(path: Path, settings: Settings) -> NDArray[np.float32]:
    """Read a DICOM file, or a PNG or JPEG picture of a film.

    Raises
    ------
    Refused
        The film must not be judged.
    NotDicom, UnreadablePixels, OSError
        The file is neither.
    """
    with path.open("rb") as file:
        is_dicom = file.read(132)[MAGIC] == b"DICM"
    if is_dicom:
        return displayed(read_dataset(path), settings)
    from model.predict import load_picture  # with torch: not before a worker forks

    return _worth_judging(load_picture(path))


def _worth_judging(image_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    refusal = check_pixels(image_HW)
    if refusal is not None:
        raise Refused(refusal)
    return image_HW
