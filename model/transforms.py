"""Film to network input, by MONAI transforms: one evaluation transform for training, scoring and serving."""

from pathlib import Path

import numpy as np
import torch
from monai.data.meta_obj import set_track_meta
from monai.transforms.compose import Compose, OneOf
from monai.transforms.intensity.dictionary import (
    NormalizeIntensityd,
    RandAdjustContrastd,
    RandCoarseDropoutd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandHistogramShiftd,
)
from monai.transforms.spatial.dictionary import RandAffined, RandFlipd, Resized
from monai.transforms.transform import Transform
from monai.transforms.utility.dictionary import EnsureChannelFirstd, Lambdad
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dicom_io.colour import to_grey
from dicom_io.errors import CxrError, UnreadablePixels
from dicom_io.part10 import read_dataset
from model.config import TransformConfig

IMAGE = "image"
"""Key of the film in the samples that the transforms take and give."""

PICTURES = (".png", ".jpg", ".jpeg")
"""Endings of pictures that are read."""
FORMATS = ("PNG", "JPEG")
"""What such a file may hold, as Pillow calls it. Its other readers stay shut whatever a file is named: that
of EPS starts another program."""

GREY_MODES = ("1", "L", "LA", "La")
"""What Pillow calls pictures of one sample, with or without transparency."""

BROKEN = (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What Pillow raises on a file that is broken or no picture; ValueError on a PNG whose chunk is cut short."""

# Positions and file names would be carried through every step and read by nobody; plain tensors are faster.
set_track_meta(False)


def load_picture(path: Path) -> NDArray[np.float32]:
    """Read a PNG or JPEG film.

    Parameters
    ----------
    path
        A grey picture of 8 or 16 bits, or one that is grey but for its storage, whose luminance is taken.

    Returns
    -------
    numpy.ndarray
        float32 ``image_HW`` in 0-1: grey value / 255, or / 65535 at 16 bits. Air is taken to be dark.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If the file is missing, broken or no picture.
    dicom_io.errors.UnsupportedImage
        If its colours say more than its brightness (`dicom_io.colour.to_grey`).
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if picture.mode.startswith("I"):
                deep_HW: NDArray[np.float32] = np.asarray(picture, dtype=np.float32) / np.float32(65535.0)
                return deep_HW.clip(0.0, 1.0)
            if picture.mode in GREY_MODES:
                return np.asarray(picture.convert("L"), dtype=np.float32) / np.float32(255.0)
            return to_grey(np.asarray(picture.convert("RGB")), "RGB", 8)
    except BROKEN as error:
        raise UnreadablePixels(f"expected a PNG or JPEG picture, {path.name} is none: {error}") from error


def load_film(path: Path | str) -> NDArray[np.float32]:
    """Read a film as float32 ``image_HW`` in 0-1, air dark: DICOM by `dicom_io.pixels`, else `load_picture`.

    Raises
    ------
    dicom_io.errors.CxrError
        If the film cannot be read: `NotDicom` and `StorageError` besides what both of them raise.
    """
    path = Path(path)
    if not is_dicom(path):
        return load_picture(path)
    # Only a manifest with DICOM films needs the decoders.
    from dicom_io.pixels import read_pixels

    return read_pixels(read_dataset(path))


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM, by its ending or by the prefix after the preamble (PS3.10 7.1)."""
    if path.suffix.lower() in (".dcm", ".dicom"):
        return True
    if path.suffix.lower() in PICTURES or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def load_named(path: Path | str, name: str = "") -> NDArray[np.float32]:
    """Read a film by `load_film`, one of many: an error says which, by `name` or by its file's name.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If the film cannot be read.
    """
    try:
        return load_film(path)
    except CxrError as error:
        raise UnreadablePixels(f"{name or Path(path).name}: {error}") from error


def _reduce(config: TransformConfig) -> list[Transform]:
    side = (config.film_px, config.film_px)
    return [
        EnsureChannelFirstd(IMAGE, channel_dim="no_channel"),
        # "area" averages whole pixels: the answer does not hang on how sharp a detector is.
        Resized(IMAGE, spatial_size=side, mode="area"),
        # Brightness and contrast depend on maker and window: each film gets mean 0 and deviation 1.
        NormalizeIntensityd(IMAGE),
    ]


def _present(config: TransformConfig) -> list[Transform]:
    side = (config.input_px, config.input_px)
    return [
        Resized(IMAGE, spatial_size=side, mode="bilinear"),
        # ImageNet's filters want three channels, at about half of this deviation.
        Lambdad(IMAGE, func=_to_three_channels, track_meta=False),
    ]


def _to_three_channels(film_1HW: torch.Tensor) -> torch.Tensor:
    # MONAI hands on a MetaTensor whatever was set above; every operation of the network takes longer on one.
    return (film_1HW.as_subclass(torch.Tensor) * 0.5).expand(3, -1, -1)


def evaluation_transform(config: TransformConfig, *, from_path: bool = False) -> Compose:
    """Return the transform of scoring and serving: ``{"image": image_HW}`` to ``{"image": film_CHW}``.

    The film is squeezed into a square whole, so that a map of the square covers exactly the film. With
    `from_path` the image is given as a path and read by `load_named` first.
    """
    read = [Lambdad(IMAGE, func=load_named)] if from_path else []
    return Compose([*read, *_reduce(config), *_present(config)])


def training_transform(config: TransformConfig) -> Compose:
    """Return the evaluation transform for paths, with random changes between its two halves.

    Its steps before the first random one never change: `monai.data.CacheDataset` keeps their result.
    """
    return Compose([Lambdad(IMAGE, func=load_named), *_reduce(config), *_augment(config), *_present(config)])


def _augment(config: TransformConfig) -> list[Transform]:
    angle = float(np.deg2rad(config.rotate_deg))
    shift_px = config.shift * config.film_px
    hole_px = config.film_px // 4
    chance = config.photometric
    blur_or_noise = OneOf(
        [
            RandGaussianSmoothd(IMAGE, prob=1.0, sigma_x=(0.3, 1.2), sigma_y=(0.3, 1.2)),
            RandGaussianNoised(IMAGE, prob=1.0, std=0.12),
        ]
    )
    wipe = RandCoarseDropoutd(
        IMAGE, holes=1, max_holes=6, spatial_size=4, max_spatial_size=hole_px,
        fill_value=0.0, prob=config.erase,
    )  # fmt: skip
    return [
        RandFlipd(IMAGE, prob=config.flip, spatial_axis=1),
        RandAffined(
            IMAGE,
            prob=0.9,
            rotate_range=angle,
            translate_range=shift_px,
            scale_range=config.zoom,
            # Shear goes with rotation: both are how a patient leans.
            shear_range=config.rotate_deg / 150,
            mode="bilinear",
            padding_mode="border",
        ),
        RandHistogramShiftd(IMAGE, prob=chance, num_control_points=(4, 8)),
        RandAdjustContrastd(IMAGE, prob=chance, gamma=(0.6, 1.7)),
        *([blur_or_noise] if chance > 0 else []),
        wipe,
        NormalizeIntensityd(IMAGE),
    ]
