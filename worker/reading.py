"""From a file to a film at its displayed values, or to the reason why it must not be judged.

Three are asked, in this order: the header, the pixels as numbers, and the model's gate, which sees what
they show.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.acceptance import AcceptanceRules, Reason, Refusal, Weight, check_header, check_pixels
from dicom_io.errors import CxrError, NoPixelData, UnreadablePixels, UnsupportedImage
from dicom_io.part10 import read_dataset
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


class GateAnswer(Protocol):
    """Why a picture is no adult frontal human chest film."""

    @property
    def reason(self) -> str:
        """The value of a `Reason`: `not_chest`, `lateral`, `child`, `not_human` or `out_of_distribution`."""

    @property
    def detail(self) -> str:
        """What was expected and what came, in words and figures."""


class Gate(Protocol):
    """The model's eye: an answer where a picture must not be judged, else None."""

    def __call__(self, image_HW: NDArray[np.float32]) -> GateAnswer | None:
        """Look at grey values 0-1, air dark."""


class Refused(Exception):
    """The film must not be judged."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def displayed(dataset: Dataset, settings: Settings, gate: Gate | None = None) -> NDArray[np.float32]:
    """Return image_HW at its displayed values; the header is asked first, then the pixels: headers lie.

    Without a gate every refusal by the header stands. With one, the pixels are asked where the header's
    words may
    be wrong (`Weight`): a hint gives way to a chest, a claim is a contradiction that a person must clear up.

    Raises
    ------
    Refused
        The film must not be judged.
    """
    by_header = check_header(dataset, AcceptanceRules(min_age_years=settings.min_age_years))
    if by_header is not None and (gate is None or by_header.weight is Weight.FINAL):
        raise Refused(by_header)
    try:
        image_HW = _worth_judging(_read(dataset), gate)
    except Refused as by_pixels:
        # Both refuse: the header's words are the plainer ones.
        raise Refused(by_header or by_pixels.refusal) from by_pixels
    if by_header is not None and by_header.weight is Weight.CLAIM:
        raise Refused(_contradiction(by_header))
    return image_HW


def read_any(path: Path, settings: Settings, gate: Gate | None = None) -> NDArray[np.float32]:
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
        return displayed(read_dataset(path), settings, gate)
    from model.predict import load_picture  # with torch: not before a worker forks

    try:
        picture_HW = load_picture(path)
    except UnsupportedImage as error:
        raise Refused(Refusal(Reason.UNSUPPORTED, str(error))) from error
    except UnreadablePixels as error:
        words = f"expected a DICOM file, with DICM at byte 128, or a picture: {error}"
        raise UnreadablePixels(words) from error
    return _worth_judging(picture_HW, gate)


def _read(dataset: Dataset) -> NDArray[np.float32]:
    try:
        return read_pixels(dataset)
    except tuple(PIXEL_REASONS) as error:
        raise Refused(Refusal(PIXEL_REASONS[type(error)], str(error))) from error


def _worth_judging(image_HW: NDArray[np.float32], gate: Gate | None) -> NDArray[np.float32]:
    """Ask the pixels as numbers, then the gate: the one place where its answer becomes a refusal."""
    refusal = check_pixels(image_HW)
    if gate is not None and (refusal is None or refusal.reason is Reason.POLARITY):
        answer = gate(image_HW)
        # It is a chest's negative only if its positive passes: panoramas of teeth look like one too.
        is_negative = refusal is not None and gate(np.float32(1.0) - image_HW) is None
        if answer is not None and not is_negative:
            refusal = Refusal(Reason(answer.reason), answer.detail)
    if refusal is not None:
        raise Refused(refusal)
    return image_HW


def _contradiction(by_header: Refusal) -> Refusal:
    return Refusal(
        Reason.HEADER_CONTRADICTED,
        f"{by_header.detail}; the pixels show a frontal chest: correct the header, then send the film again",
    )
