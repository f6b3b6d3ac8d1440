"""Films become inputs: read in 0-1, whole, of one sharpness, and the same way wherever they are judged."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from dicom_io.errors import UnreadablePixels, UnsupportedImage
from model.config import TransformConfig
from model.transforms import evaluation_transform, load_picture, training_transform

CONFIG = TransformConfig(film_px=32, input_px=64)
Phantom = Callable[..., NDArray[np.float32]]


@pytest.mark.parametrize(
    ("pixels", "largest"),
    [
        (np.array([[0, 128], [255, 64]], np.uint8), 255),
        (np.array([[0, 30000], [65535, 12]], np.uint16), 65535),
    ],
)
def test_a_grey_png_is_read_in_its_full_depth(
    pixels: NDArray[np.generic], largest: int, tmp_path: Path
) -> None:
    Image.fromarray(pixels).save(tmp_path / "film.png")

    image_HW = load_picture(tmp_path / "film.png")

    assert image_HW.dtype == np.float32
    np.testing.assert_allclose(image_HW, pixels / largest, atol=1e-6)


def test_a_colour_copy_of_a_grey_film_reads_as_the_grey_film(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "film.png")

    np.testing.assert_allclose(load_picture(tmp_path / "film.png"), grey / 255, atol=1e-6)


def test_a_picture_whose_colours_speak_is_no_film(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(colours).save(tmp_path / "film.png")

    with pytest.raises(UnsupportedImage, match="expected a grey picture"):
        load_picture(tmp_path / "film.png")


def test_a_grey_picture_with_transparency_reads_as_the_grey_one(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).convert("LA").save(tmp_path / "film.png")

    np.testing.assert_allclose(load_picture(tmp_path / "film.png"), grey / 255, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n broken"])
def test_a_file_that_is_no_picture_is_unreadable(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(content)

    with pytest.raises(UnreadablePixels, match=r"film\.png"):
        load_picture(tmp_path / "film.png")


@pytest.mark.parametrize("kind", ["EPS", "GIF", "BMP", "TIFF"])
def test_a_picture_of_another_kind_is_not_opened_whatever_it_is_named(kind: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(tmp_path / "film.png", format=kind)

    with pytest.raises(
        UnreadablePixels, match=r"expected a PNG or JPEG picture, film\.png is none: cannot id"
    ):
        load_picture(tmp_path / "film.png")


def test_a_png_whose_header_is_cut_short_is_unreadable(tmp_path: Path) -> None:
    header = b"IHDR" + bytes(4)
    chunk = struct.pack(">I", 4) + header + struct.pack(">I", zlib.crc32(header))
    (tmp_path / "film.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)

    with pytest.raises(UnreadablePixels, match=r"film\.png is none: Truncated IHDR"):
        load_picture(tmp_path / "film.png")


def test_a_picture_cut_short_is_unreadable(tmp_path: Path, phantom: Phantom) -> None:
    Image.fromarray((phantom(0, True, 200) * 255).astype(np.uint8)).save(tmp_path / "film.jpg")
    whole = (tmp_path / "film.jpg").read_bytes()
    (tmp_path / "film.jpg").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(UnreadablePixels):
        load_picture(tmp_path / "film.jpg")


@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (500, 331), (37, 900)])
def test_a_film_of_any_size_becomes_one_standardised_square(shape: tuple[int, int]) -> None:
    film = np.random.default_rng(0).random(shape, np.float32)

    film_CHW = evaluation_transform(CONFIG)({"image": film})["image"]

    assert type(film_CHW) is torch.Tensor
    assert film_CHW.shape == (3, 64, 64)
    assert film_CHW.dtype == torch.float32
    assert abs(float(film_CHW.mean())) < 0.05
    assert torch.equal(film_CHW[0], film_CHW[2])


def test_brightness_and_contrast_do_not_matter_but_polarity_does(phantom: Phantom) -> None:
    transform = evaluation_transform(CONFIG)
    film = phantom(0, True)

    as_it_is, dimmed, inverted = (
        transform({"image": x})["image"] for x in (film, 0.2 + 0.5 * film, 1 - film)
    )

    torch.testing.assert_close(as_it_is, dimmed, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(as_it_is, -inverted, atol=1e-4, rtol=1e-4)


def test_a_sharper_film_tells_no_more_than_a_film_of_the_common_size() -> None:
    coarse = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    sharp = np.repeat(np.repeat(coarse, 8, axis=0), 8, axis=1)
    transform = evaluation_transform(CONFIG)

    torch.testing.assert_close(transform({"image": coarse})["image"], transform({"image": sharp})["image"])


def test_what_is_finer_than_the_common_size_is_averaged_away(phantom: Phantom) -> None:
    smooth = phantom(0, True, 256)
    # A period of three does not fit the eight pixels that become one: picking pixels would show it.
    checks = 0.15 * (np.indices((256, 256)).sum(axis=0) % 3 - 1).astype(np.float32)
    transform = evaluation_transform(CONFIG)

    torch.testing.assert_close(
        transform({"image": smooth})["image"],
        transform({"image": smooth + checks})["image"],
        atol=0.03,
        rtol=0,
    )


def test_a_film_of_one_grey_is_no_division_by_zero() -> None:
    film_CHW = evaluation_transform(CONFIG)({"image": np.full((64, 64), 0.5, np.float32)})["image"]

    assert torch.equal(film_CHW, torch.zeros(3, 64, 64))


def test_training_without_chance_is_evaluation(tmp_path: Path, phantom: Phantom) -> None:
    path = tmp_path / "film.png"
    Image.fromarray((phantom(0, True) * 255).astype(np.uint8)).save(path)
    still = TransformConfig(
        film_px=32, input_px=64, rotate_deg=0, shift=0, zoom=0, flip=0, photometric=0, erase=0
    )

    trained = training_transform(still)({"image": path})["image"]
    evaluated = evaluation_transform(still)({"image": load_picture(path)})["image"]

    torch.testing.assert_close(trained, evaluated, atol=1e-4, rtol=1e-4)


def test_augmentation_is_random_and_repeats_with_its_seed(tmp_path: Path, phantom: Phantom) -> None:
    path = tmp_path / "film.png"
    Image.fromarray((phantom(0, True) * 255).astype(np.uint8)).save(path)
    transform = training_transform(CONFIG)

    def draw(seed: int) -> torch.Tensor:
        transform.set_random_state(seed)
        film_CHW: torch.Tensor = transform({"image": path})["image"]
        return film_CHW

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
