"""Header, pixels and gate together: who is believed when they disagree."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, phantom_HW, to_bytes
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_io.acceptance import Reason
from dicom_io.errors import NotDicom, UnreadablePixels
from dicom_io.part10 import read_dataset
from dicom_io.polarity import likeness_to_a_chest
from worker.reading import GateAnswer, Refused, displayed, read_any
from worker.settings import Settings


@dataclass(frozen=True)
class Answer:
    reason: str
    detail: str


def drawn_gate(image_HW: NDArray[np.float32]) -> GateAnswer | None:
    """A gate of its own kind: a chest is what is like the drawn one."""
    likeness = likeness_to_a_chest(image_HW)
    return None if likeness > 0.4 else Answer("not_chest", f"expected a likeness of 0.4, came {likeness:.2f}")


def a_hand_HW() -> NDArray[np.float32]:  # noqa: N802 - shape suffix
    """Five bright bars on a dark ground."""
    image_HW = np.zeros((256, 224), np.float32)
    for finger in range(5):
        image_HW[40:200, 20 + 40 * finger : 40 + 40 * finger] = 0.9
    return image_HW + phantom_HW() * np.float32(0.05)


def outcome(film: Any, gate: Any = drawn_gate) -> str:
    try:
        displayed(film, Settings(), gate)
    except Refused as refused:
        return str(refused.refusal.reason)
    return "judged"


CHEST, HAND = phantom_HW(), a_hand_HW()
LIES: tuple[tuple[str, dict[str, Any], NDArray[np.float32], str, str], ...] = (
    # what lies, header, pixels, outcome with a gate, outcome without one
    ("nothing", {}, CHEST, "judged", "judged"),
    ("CHEST is a hand", {}, HAND, "not_chest", "judged"),
    ("no header, a hand", {"BodyPartExamined": None, "StudyDescription": None}, HAND, "not_chest", "judged"),
    ("HIP is a chest", {"BodyPartExamined": "HIP"}, CHEST, "header_contradicted", "not_chest"),
    ("HIP is no chest", {"BodyPartExamined": "HIP"}, HAND, "not_chest", "not_chest"),
    ("unknown word, a chest", {"BodyPartExamined": "KNIE"}, CHEST, "judged", "not_chest"),
    ("unknown word, a hand", {"BodyPartExamined": "KNIE"}, HAND, "not_chest", "not_chest"),
    (
        "description says hip, a chest",
        {"BodyPartExamined": None, "StudyDescription": "Left hip"},
        CHEST,
        "judged",
        "not_chest",
    ),
    ("LL is a frontal chest", {"ViewPosition": "LL"}, CHEST, "header_contradicted", "lateral"),
    ("a child, whatever the pixels show", {"PatientAge": "005Y"}, CHEST, "child", "child"),
    (
        "unknown word and a child",
        {"BodyPartExamined": "KNIE", "PatientAge": "005Y"},
        CHEST,
        "not_chest",
        "not_chest",
    ),
    ("wrong MONOCHROME1", {"PhotometricInterpretation": "MONOCHROME1"}, CHEST, "polarity", "polarity"),
)


@pytest.mark.parametrize(
    ("lie", "header", "image_HW", "with_gate", "without"), LIES, ids=[row[0] for row in LIES]
)
def test_a_header_that_lies_is_told_by_its_pixels(
    lie: str, header: dict[str, Any], image_HW: NDArray[np.float32], with_gate: str, without: str
) -> None:
    film = build_film(image_HW, WindowCenter=2048, WindowWidth=4096, **header)
    assert outcome(film) == with_gate, lie
    assert outcome(film, None) == without, lie


def test_what_is_like_a_negative_and_is_no_chest_keeps_the_answer_of_the_gate() -> None:
    def nothing_is_a_chest(_: NDArray[np.float32]) -> GateAnswer | None:
        return Answer("not_chest", "expected a chest, came teeth")

    film = build_film(WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1")
    assert outcome(film, nothing_is_a_chest) == "not_chest"


def test_an_answer_with_an_unknown_reason_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="no such reason"):
        displayed(build_film(), Settings(), lambda _: Answer("no such reason", ""))


def test_a_contradiction_tells_what_to_do() -> None:
    with pytest.raises(Refused, match="Body Part Examined is HIP; the pixels show a frontal chest: correct"):
        displayed(build_film(BodyPartExamined="HIP"), Settings(), drawn_gate)


def test_pixels_that_cannot_be_read_leave_the_header_its_word() -> None:
    film = build_film(BodyPartExamined="HIP", PixelData=b"\0" * 100)
    assert outcome(film) == "not_chest"
    assert outcome(build_film(PixelData=b"\0" * 100)) == Reason.UNREADABLE


# Files ------------------------------------------------------------------------------------------------


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "film"
    path.write_bytes(content)
    return path


def test_pictures_pass_the_same_gate(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    Image.fromarray((CHEST * 255).astype(np.uint8)).save(path)
    assert read_any(path, Settings(), drawn_gate).shape == CHEST.shape
    Image.fromarray((HAND * 255).astype(np.uint8)).save(path)
    with pytest.raises(Refused, match="likeness"):
        read_any(path, Settings(), drawn_gate)


def test_a_picture_in_colour_is_refused_as_one_in_dicom_is(tmp_path: Path) -> None:
    path = tmp_path / "photograph.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    with pytest.raises(Refused) as refused:
        read_any(path, Settings(), drawn_gate)
    assert refused.value.refusal.reason is Reason.UNSUPPORTED


def test_a_file_of_another_kind_is_told_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePixels, match="expected a DICOM file, with DICM at byte 128, or a picture"):
        read_any(saved(tmp_path, b"%PDF-1.7"), Settings())
    film = build_film()
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(NotDicom, match="cut off"):
        read_any(saved(tmp_path, to_bytes(film)[:-5000]), Settings())


def test_read_dataset_and_displayed_are_what_a_file_takes(tmp_path: Path) -> None:
    path = saved(tmp_path, to_bytes(build_film()))
    np.testing.assert_array_equal(
        read_any(path, Settings(), drawn_gate), displayed(read_dataset(path), Settings(), drawn_gate)
    )
