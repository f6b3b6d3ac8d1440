"""Polarity: a chest that is shown as its negative is told from one that is not, on the public films too."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from builders import build_film, phantom_HW
from numpy.typing import NDArray
from PIL import Image

from dicom_io.acceptance import Reason, check_pixels
from dicom_io.pixels import read_pixels
from dicom_io.polarity import MIN_LIKENESS, likeness_to_a_chest

SHARED = Path(os.environ.get("CXR_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
EVERY = 25
"""One public film in so many is asked, 900 in all; `CXR_POLARITY_EVERY=1` asks every one."""


def test_a_chest_is_like_a_chest_and_its_negative_is_not() -> None:
    image_HW = phantom_HW()
    assert likeness_to_a_chest(image_HW) > 0.5
    assert likeness_to_a_chest(np.float32(1) - image_HW) == pytest.approx(-likeness_to_a_chest(image_HW))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (31, 33), (3000, 40)])
def test_any_size_is_measured(shape: tuple[int, int]) -> None:
    assert -1.0 <= likeness_to_a_chest(phantom_HW(*shape)) <= 1.0


def test_a_picture_without_contrast_is_like_nothing() -> None:
    assert likeness_to_a_chest(np.full((200, 200), 0.3, np.float32)) == 0.0


def test_a_film_with_the_wrong_monochrome_flag_is_refused_and_told_why() -> None:
    right = build_film(WindowCenter=2048, WindowWidth=4096)
    wrong = build_film(WindowCenter=2048, WindowWidth=4096, PhotometricInterpretation="MONOCHROME1")
    assert check_pixels(read_pixels(right)) is None
    refusal = check_pixels(read_pixels(wrong))
    assert refusal is not None
    assert refusal.reason is Reason.POLARITY
    assert "Photometric Interpretation or window must be wrong" in refusal.detail


def public_films() -> list[Path]:
    manifest = SHARED / "cxr" / "manifest.csv"
    if not manifest.exists():
        pytest.skip(f"{manifest} is missing")
    with manifest.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["view"] != "L"]
    every = int(os.environ.get("CXR_POLARITY_EVERY", EVERY))
    return [SHARED / "cxr" / row["path"] for row in rows[::every]]


def grey(path: Path) -> NDArray[np.float32]:
    return np.asarray(Image.open(path).convert("L"), dtype=np.float32) / np.float32(255)


def test_public_films_are_hardly_ever_taken_for_negatives() -> None:
    likeness_N = np.array([likeness_to_a_chest(grey(path)) for path in public_films()])
    assert np.mean(likeness_N < -MIN_LIKENESS) <= 0.002
    # What the same films are when inverted.
    assert np.mean(-likeness_N < -MIN_LIKENESS) >= 0.97


@pytest.mark.parametrize("kind", ["chest_child_normal", "chest_child_bacterial", "chest_child_viral"])
def test_childrens_chests_are_no_negatives(kind: str) -> None:
    if not (SHARED / "gate" / kind).exists():
        pytest.skip(f"{SHARED / 'gate' / kind} is missing")
    pictures = sorted((SHARED / "gate" / kind).iterdir())
    assert not [path.name for path in pictures if likeness_to_a_chest(grey(path)) < -MIN_LIKENESS]
