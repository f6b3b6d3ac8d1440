"""The heat map: colours that everybody can tell apart, one scale for all films, outlines that fit."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from result_sources import spot_HW

from dicom_io.heat import MOST_OUTLINES, OUTLINE_LEVEL, blend, draw_scale, outline
from dicom_io.lettering import font

# Machado, Oliveira, Fernandes 2009, severity 1.0, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def _lab(rgb: NDArray[np.float64], seen_by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB 0-1 as CIE L*a*b* (D65), as seen with a deficiency."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(seen_by @ linear, 0.0, 1.0)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt((to_xyz @ linear) / np.array([0.9505, 1.0, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _colour(value: float, grey: float = 0.5) -> NDArray[np.float64]:
    film_HW, map_HW = np.full((8, 8), grey, np.float32), np.full((8, 8), value, np.float32)
    return blend(film_HW, map_HW, (8, 8))[4, 4] / 255.0


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("grey", [0.2, 0.5, 0.8])
def test_the_steps_of_the_scale_are_told_apart_with_any_colour_vision(deficiency: str, grey: float) -> None:
    """The difference is that of CIE 1976: 2.3 is just noticeable, 8 is plain."""
    seen = [_lab(_colour(value, grey), DEFICIENCIES[deficiency]) for value in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for first in range(len(seen)):
        for second in range(first):
            assert np.linalg.norm(seen[first] - seen[second]) > 8.0


def test_the_scale_shows_the_colours_that_the_map_has_over_mid_grey() -> None:
    picture = Image.new("RGB", (200, 400))
    draw_scale(picture, (20, 40), 301, 16)
    ramp_HW3 = np.asarray(picture)[40:341, 28]
    for value in (0.0, 0.3, 0.5, 0.8, 1.0):
        assert ramp_HW3[round((1 - value) * 300)] == pytest.approx(_colour(value) * 255, abs=2)


def test_the_scale_has_six_numbers_beside_it() -> None:
    picture = Image.new("RGB", (200, 400))
    draw_scale(picture, (20, 40), 301, 16)
    text_H = np.asarray(picture)[30:, 48:120].max(axis=(1, 2)) > 100
    starts = np.flatnonzero(np.diff(text_H.astype(int)) == 1)
    assert len(starts) == 6


@pytest.mark.parametrize(("value", "text"), [(1.0, "1.0"), (0.6, "0.6"), (0.0, "0.0")])
def test_each_number_stands_beside_its_colour(value: float, text: str) -> None:
    picture = Image.new("RGB", (200, 400))
    draw_scale(picture, (20, 40), 301, 16)
    middle = 40 + round(300 * (1 - value))
    expected = Image.new("RGB", (200, 400))
    ImageDraw.Draw(expected).text((46, middle), text, fill=(255, 255, 255), font=font(16), anchor="lm")
    box = (46, middle - 10, 120, middle + 10)
    assert picture.crop(box).tobytes() == expected.crop(box).tobytes()


def _mask(points_N2: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.bool_]:
    from matplotlib.path import Path

    y_HW, x_HW = np.mgrid[0:rows, 0:columns] + 0.5
    inside = Path(points_N2).contains_points(np.column_stack([x_HW.ravel(), y_HW.ravel()]))
    return inside.reshape(rows, columns)


def test_an_outline_holds_what_reaches_the_level_and_nothing_else() -> None:
    rows, columns = 240, 200
    cam_HW = spot_HW(160, 160)
    (points_N2,) = outline(cam_HW, rows, columns)
    seen_HW = np.asarray(Image.fromarray(cam_HW).resize((columns, rows), Image.Resampling.BILINEAR))
    wrong_HW = _mask(points_N2, rows, columns) != (seen_HW >= OUTLINE_LEVEL)
    assert wrong_HW.mean() < 0.005


@pytest.mark.parametrize("cells", [7, 12, 160])
def test_an_outline_is_not_shifted_against_the_film(cells: int) -> None:
    ramp_N = 1.0 - np.abs(np.linspace(-1.0, 1.0, 2 * cells + 1)[1::2])
    (points_N2,) = outline(np.outer(ramp_N, ramp_N).astype(np.float32), 2000, 1600)
    assert points_N2.min(axis=0) + points_N2.max(axis=0) == pytest.approx([1600, 2000], abs=0.5)


@pytest.mark.parametrize("size", [(12, 12), (7, 10), (1, 1), (160, 160), (900, 700)])
@pytest.mark.parametrize("film", [(240, 200), (40, 3000), (1, 1)])
def test_outlines_are_closed_and_lie_within_the_film(size: tuple[int, int], film: tuple[int, int]) -> None:
    for cam_HW in (spot_HW(*size), np.ones(size, np.float32), spot_HW(*size)[::-1, ::-1] + np.float32(0.3)):
        for points_N2 in outline(cam_HW, *film):
            assert len(points_N2) >= 4
            assert (points_N2[0] == points_N2[-1]).all()
            assert points_N2.min() >= 0.0
            assert (points_N2.max(axis=0) <= (film[1], film[0])).all()


def test_a_map_that_is_hot_everywhere_outlines_the_whole_film() -> None:
    (points_N2,) = outline(np.ones((12, 12), np.float32), 240, 200)
    assert _mask(points_N2, 240, 200).all()


def test_a_cold_map_has_no_outline() -> None:
    assert outline(np.full((12, 12), OUTLINE_LEVEL - 0.01, np.float32), 240, 200) == []
    assert outline(np.zeros((12, 12), np.float32), 240, 200) == []


def test_a_map_of_speckles_gives_a_few_outlines_of_bounded_length() -> None:
    noise_HW = np.random.default_rng(0).random((300, 300)).astype(np.float32)
    outlines = outline(noise_HW, 2000, 2000)
    assert len(outlines) == MOST_OUTLINES
    assert max(len(points_N2) for points_N2 in outlines) <= 1000


def test_two_regions_have_two_outlines_largest_first() -> None:
    cam_HW = np.zeros((40, 40), np.float32)
    cam_HW[5:15, 5:15], cam_HW[30:34, 30:34] = 1.0, 1.0
    first_N2, second_N2 = outline(cam_HW, 400, 400)
    assert first_N2.max() < 200 < second_N2.min()
