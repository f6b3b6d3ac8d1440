"""Pixels: the same film in any encoding gives the same picture, air dark; everything else is an error."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import (
    build_dx,
    build_film,
    build_secondary_capture,
    compress,
    phantom_HW,
    put_pixels,
    to_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, Sequence, dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset
from pydicom.pixels.processing import apply_windowing

from dicom_io.errors import NoPixelData, RetryableError, UnreadablePixels, UnsupportedImage
from dicom_io.part10 import read_dataset
from dicom_io.pixel_format import MAX_PIXELS
from dicom_io.pixels import read_pixels
from dicom_io.voi import window

SHARED = Path(os.environ.get("CXR_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dicom"


def shared_film(name: str) -> FileDataset:
    if not (SHARED / name).exists():
        pytest.skip(f"{SHARED / name} is missing")
    return read_dataset(SHARED / name)


def build_lut(entries: NDArray[Any], *, first: int = 0, bits: int = 16, packed: bool = False) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [entries.size % 2**16, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    item.LUTData = entries.astype("u1" if packed else "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


# One phantom, many twins ------------------------------------------------------------------------------


@st.composite
def encodings(draw: st.DrawFn) -> dict[str, Any]:
    bits_stored = draw(st.integers(min_value=8, max_value=16))
    return {
        "bits_stored": bits_stored,
        "signed": draw(st.booleans()),
        "photometric_interpretation": draw(st.sampled_from(["MONOCHROME1", "MONOCHROME2"])),
        "slope": draw(st.sampled_from([None, 1.0, 0.25, 2.5, -1.0])),
        "intercept": draw(st.sampled_from([-1024.0, 0.0, 100.0])),
        "function": draw(st.sampled_from([None, "LINEAR", "LINEAR_EXACT"])),
        "rows": draw(st.integers(min_value=1, max_value=67)),
        "cols": draw(st.integers(min_value=1, max_value=67)),
        "syntax": draw(
            st.sampled_from(
                [
                    uid.ExplicitVRLittleEndian,
                    uid.ImplicitVRLittleEndian,
                    uid.DeflatedExplicitVRLittleEndian,
                    uid.RLELossless,
                    uid.JPEGLosslessSV1,
                    uid.JPEGLSLossless,
                    uid.JPEG2000Lossless,
                    uid.HTJ2KLossless,
                ]
            )
        ),
    }


def build_twin(image_HW: NDArray[np.float32], encoding: dict[str, Any]) -> FileDataset:
    """Write grey values so that the film, displayed as its header says, shows them again."""
    levels = 2 ** encoding["bits_stored"] - 1
    inverted = encoding["photometric_interpretation"] == "MONOCHROME1"
    if encoding["slope"] is not None and encoding["slope"] < 0:
        inverted = not inverted
    stored_HW = np.rint((1.0 - image_HW if inverted else image_HW) * levels).astype(np.int32)
    offset = 2 ** (encoding["bits_stored"] - 1) if encoding["signed"] else 0
    film = put_pixels(
        build_film(),
        stored_HW - offset,
        bits_stored=encoding["bits_stored"],
        signed=encoding["signed"],
        photometric_interpretation=encoding["photometric_interpretation"],
    )
    slope, intercept = (1.0, 0.0) if encoding["slope"] is None else (encoding["slope"], encoding["intercept"])
    if encoding["slope"] is not None:
        film.RescaleSlope, film.RescaleIntercept = slope, intercept
    low, high = sorted(slope * value + intercept for value in (-offset, levels - offset))
    if encoding["function"] == "LINEAR_EXACT":
        film.WindowCenter, film.WindowWidth = (low + high) / 2, high - low
    else:
        # PS3.3 C.11.2.1.2.1: LINEAR is half a value and one value off.
        film.WindowCenter, film.WindowWidth = (low + high + 1) / 2, high - low + 1
    if encoding["function"] is not None:
        film.VOILUTFunction = encoding["function"]
    return film


@settings(max_examples=60, deadline=None, derandomize=True)
@given(encoding=encodings())
def test_twins_of_one_film_give_the_same_picture(
    encoding: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    expected_HW = phantom_HW(encoding["rows"], encoding["cols"])
    film = build_twin(expected_HW, encoding)
    if uid.UID(encoding["syntax"]).is_encapsulated:
        compress(film, encoding["syntax"])
    else:
        film.file_meta.TransferSyntaxUID = encoding["syntax"]
    path = tmp_path_factory.mktemp("twin") / "film.dcm"
    path.write_bytes(to_bytes(film))
    image_HW = read_pixels(read_dataset(path))
    assert image_HW.dtype == np.float32
    assert image_HW.shape == expected_HW.shape
    # Half a stored level is what quantisation costs.
    np.testing.assert_allclose(image_HW, expected_HW, atol=0.51 / (2 ** encoding["bits_stored"] - 1))


@pytest.mark.parametrize("bits_stored", range(1, 8))
def test_few_bits_are_read(bits_stored: int) -> None:
    levels = 2**bits_stored - 1
    stored_HW = np.rint(phantom_HW(33, 17) * levels).astype(np.uint8)
    image_HW = read_pixels(put_pixels(build_film(), stored_HW, bits_stored=bits_stored))
    np.testing.assert_allclose(image_HW, stored_HW / levels, atol=1e-6)


def test_one_bit_per_pixel_is_read() -> None:
    film = put_pixels(build_secondary_capture(), np.zeros((4, 6), np.uint8), bits_stored=1)
    film.BitsAllocated = 1
    film.PixelData = bytes([0b00001111, 0b11110000, 0b10101010, 0])
    assert read_pixels(film).ravel()[:8].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_the_data_set_is_not_changed() -> None:
    film = build_dx(WindowCenter=[2048, 1000], WindowWidth=[4096, 50])
    before = to_bytes(film)
    read_pixels(film)
    assert to_bytes(film) == before


# Which way round --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photometric_interpretation", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", None, True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", True),
    ],
)
def test_monochrome1_and_inverse_are_inverted_once(
    photometric_interpretation: str, shape: str | None, inverted: bool
) -> None:
    stored_HW = np.rint(phantom_HW() * 4095).astype(np.uint16)
    film = put_pixels(build_film(), stored_HW, photometric_interpretation=photometric_interpretation)
    film.WindowCenter, film.WindowWidth = 2048, 4096
    if shape:
        film.PresentationLUTShape = shape
    expected_HW = 1 - phantom_HW() if inverted else phantom_HW()
    np.testing.assert_allclose(read_pixels(film), expected_HW, atol=2e-4)


# Window, LUTs, padding --------------------------------------------------------------------------------


def test_the_first_of_several_windows_is_applied() -> None:
    film = build_film(WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    once = build_film(WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(read_pixels(film), read_pixels(once))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048, 4096), (1000.5, 333.0), (10, 1), (4000, 2)])
def test_windows_agree_with_pydicom(function: str, centre: float, width: float) -> None:
    film = build_film(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    with np.errstate(over="ignore"):  # pydicom's sigmoid overflows far outside of a narrow window
        theirs_HW = apply_windowing(film.pixel_array, film) / 4095
    np.testing.assert_allclose(read_pixels(film), theirs_HW, atol=1e-6)


@pytest.mark.parametrize(("centre", "width"), [(2048, 0), (2048, -4), ("", 4096), (2048, None)])
def test_an_impossible_window_is_left_out(centre: Any, width: Any) -> None:
    without = read_pixels(build_film())
    film = build_film(WindowCenter=centre, WindowWidth=width)
    np.testing.assert_array_equal(read_pixels(film), without)


def test_an_unknown_window_function_gives_none() -> None:
    assert window(np.array([1.0]), 1.0, 1.0, function="COSINE") is None


def test_without_a_window_eight_bits_keep_their_values() -> None:
    stored_HW = np.rint(phantom_HW() * 100 + 50).astype(np.uint8)
    image_HW = read_pixels(put_pixels(build_film(), stored_HW, bits_stored=8))
    np.testing.assert_allclose(image_HW, stored_HW / 255, atol=1e-6)


def test_without_a_window_a_dead_pixel_takes_no_contrast() -> None:
    stored_HW = np.rint(phantom_HW() * 1000 + 500).astype(np.uint16)
    plain_HW = read_pixels(put_pixels(build_film(), stored_HW, bits_stored=16))
    stored_HW[0, 0], stored_HW[5, 5] = 65535, 0
    image_HW = read_pixels(put_pixels(build_film(), stored_HW, bits_stored=16))
    assert np.ptp(plain_HW) == 1.0
    assert np.median(np.abs(image_HW - plain_HW)) < 0.01


@pytest.mark.parametrize(
    ("bits", "packed"), [(8, False), (8, True), (10, False), (12, False), (14, False), (16, False)]
)
def test_a_modality_lut_of_any_depth_is_applied(bits: int, packed: bool) -> None:
    curve_N = np.rint((np.arange(4096) / 4095) ** 2 * (2**bits - 1))
    lut = build_lut(curve_N, bits=bits, packed=packed)
    film = build_film(ModalityLUTSequence=lut, WindowCenter=2.0 ** (bits - 1), WindowWidth=2.0**bits)
    np.testing.assert_allclose(read_pixels(film), phantom_HW() ** 2, atol=1.2 / 2 ** min(bits, 11))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_voi_lut_goes_before_a_window(bits: int) -> None:
    curve_N = np.rint(np.sqrt(np.arange(4096) / 4095) * (2**bits - 1))
    lut = build_lut(curve_N, bits=bits)
    film = build_film(VOILUTSequence=lut, WindowCenter=1, WindowWidth=2)
    expected_HW = np.sqrt(np.rint(phantom_HW() * 4095) / 4095)
    np.testing.assert_allclose(read_pixels(film), expected_HW, atol=0.6 / (2**bits - 1))


def test_values_outside_a_lut_take_its_ends() -> None:
    stored_HW = np.array([[-5, 0, 5, 99]], dtype=np.int16)
    film = put_pixels(build_film(), stored_HW, signed=True)
    film.VOILUTSequence = build_lut(np.array([100, 150, 200]), first=-1, bits=8)
    np.testing.assert_allclose(read_pixels(film) * 255, [[100, 150, 200, 200]], atol=1e-4)


def test_a_lut_with_more_bits_than_it_says_stays_within_one() -> None:
    film = build_film(VOILUTSequence=build_lut(np.arange(4096), bits=8))
    np.testing.assert_allclose(read_pixels(film), phantom_HW(), atol=2e-4)


def test_a_rescale_slope_of_zero_is_ignored() -> None:
    film = build_film(RescaleSlope=0, RescaleIntercept=7)
    np.testing.assert_array_equal(read_pixels(film), read_pixels(build_film()))


@pytest.mark.parametrize("photometric_interpretation", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark_and_takes_no_contrast(photometric_interpretation: str) -> None:
    stored_HW = np.rint(phantom_HW() * 1000 + 200).astype(np.uint16)
    plain = put_pixels(build_film(), stored_HW, photometric_interpretation=photometric_interpretation)
    padded_HW = stored_HW.copy()
    padded_HW[:40] = 4000
    padded_HW[:20] = 4095
    film = put_pixels(build_film(), padded_HW, photometric_interpretation=photometric_interpretation)
    film.PixelPaddingValue, film.PixelPaddingRangeLimit = 4095, 4000
    image_HW = read_pixels(film)
    assert image_HW[:40].max() == 0.0
    assert np.abs(image_HW[40:] - read_pixels(plain)[40:]).max() < 0.05


def test_padding_with_the_wrong_sign_is_understood() -> None:
    stored_HW = np.rint(phantom_HW() * 1000).astype(np.int16)
    stored_HW[:9] = -2000
    film = put_pixels(
        build_film(), stored_HW, bits_stored=16, signed=True, photometric_interpretation="MONOCHROME1"
    )
    film.PixelPaddingValue = 2**16 - 2000
    film["PixelPaddingValue"].VR = "US"
    assert read_pixels(film)[:9].max() == 0.0


def test_overlays_are_ignored() -> None:
    film = build_film(WindowCenter=2048, WindowWidth=4096)
    plain_HW = read_pixels(film)
    stored = np.frombuffer(film.PixelData, "<u2").copy()
    stored[::3] |= 0xF000  # an overlay in the four unused bits
    film.PixelData = stored.tobytes()
    film.add_new(0x60003000, "OW", b"\xff" * 64)
    np.testing.assert_array_equal(read_pixels(film), plain_HW)


def test_values_in_the_upper_bits_are_read() -> None:
    film = build_film(WindowCenter=2048, WindowWidth=4096)
    plain_HW = read_pixels(film)
    film.PixelData = (np.frombuffer(film.PixelData, "<u2") << 4 | 0b1010).astype("<u2").tobytes()
    film.HighBit = 15
    np.testing.assert_array_equal(read_pixels(film), plain_HW)


# Colour -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_becomes_luminance(planar: int) -> None:
    noise_HWC = np.random.default_rng(5).integers(0, 20, (20, 31, 3))
    colour_HWC = np.rint(phantom_HW(20, 31)[..., None] * [200, 230, 180] + noise_HWC).astype(np.uint8)
    film = put_pixels(build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="RGB")
    if planar:
        film.PlanarConfiguration = 1
        film.PixelData = colour_HWC.transpose(2, 0, 1).tobytes()
    expected_HW = colour_HWC @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(read_pixels(film), expected_HW, atol=1e-6)


def test_uncompressed_ybr_gives_its_luminance() -> None:
    grey_HW = np.rint(phantom_HW(20, 32) * 255).astype(np.uint8)
    colour_HWC = np.stack([grey_HW, np.full_like(grey_HW, 128), np.full_like(grey_HW, 128)], axis=-1)
    film = put_pixels(
        build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="YBR_FULL"
    )
    np.testing.assert_allclose(read_pixels(film), grey_HW / 255, atol=1e-6)


def test_a_palette_is_looked_up() -> None:
    stored_HW = np.rint(phantom_HW(20, 32) * 255).astype(np.uint8)
    film = put_pixels(
        build_secondary_capture(), stored_HW, bits_stored=8, photometric_interpretation="PALETTE COLOR"
    )
    curve_N = np.arange(256, dtype="<u2") * 257
    for colour in ("Red", "Green", "Blue"):
        setattr(film, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(film, f"{colour}PaletteColorLookupTableData", curve_N[::-1].tobytes())
    np.testing.assert_allclose(read_pixels(film), 1 - stored_HW / 255, atol=1e-6)


# Errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel_data", [None, b""])
def test_missing_pixels_are_said_to_be_missing(pixel_data: bytes | None) -> None:
    with pytest.raises(NoPixelData):
        read_pixels(build_film(PixelData=pixel_data))


@pytest.mark.parametrize(
    "attributes",
    [
        {"NumberOfFrames": 2},
        {"SamplesPerPixel": 4},
        {"BitsAllocated": 32},
        {"Rows": 0},
        {"Rows": 65535, "Columns": 65535},
    ],
    ids=str,
)
def test_what_we_do_not_read_is_unsupported(attributes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedImage):
        read_pixels(build_film(**attributes))


def test_the_largest_image_is_bounded() -> None:
    assert 4500 * 4500 < MAX_PIXELS < 65535 * 65535


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": None},
        {"BitsStored": None},
        {"BitsStored": 17},
        {"PhotometricInterpretation": None},
        {"PixelRepresentation": None},
        {"Rows": 257},
        {"PixelData": b"\0" * 100},
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_unreadable(attributes: dict[str, Any]) -> None:
    with pytest.raises(UnreadablePixels):
        read_pixels(build_film(**attributes))


def test_as_many_bytes_as_expected_are_not_told_to_be_the_trouble() -> None:
    with pytest.raises(UnreadablePixels, match="its description is contradictory"):
        read_pixels(build_film(PixelRepresentation=5))


def test_a_film_without_transfer_syntax_is_unreadable() -> None:
    film = build_film()
    del film.file_meta.TransferSyntaxUID
    with pytest.raises(UnreadablePixels):
        read_pixels(film)


def test_errors_name_the_instance_and_no_patient() -> None:
    film = build_film(PixelData=b"\0" * 100)
    with pytest.raises(UnreadablePixels) as caught:
        read_pixels(film)
    assert film.SOPInstanceUID in str(caught.value)
    assert "4711" not in str(caught.value)
    assert "Gr" not in str(caught.value)


class RustPanic(BaseException):
    """Like pyo3's PanicException: no Exception."""


class Hostile(Dataset):
    """A data set of which one attribute raises what a test wants."""

    raises: type[BaseException] = RustPanic

    def __getattr__(self, name: str) -> Any:
        if name == "Rows":
            raise self.raises
        return super().__getattr__(name)


@pytest.mark.parametrize("raises", [RustPanic, ZeroDivisionError, RecursionError])
def test_whatever_decoding_raises_is_unreadable(raises: type[BaseException]) -> None:
    film = Hostile(build_film())
    film.file_meta = build_film().file_meta
    film.__dict__["raises"] = raises
    with pytest.raises(UnreadablePixels):
        read_pixels(film)


def test_too_little_memory_is_the_machines_trouble_and_not_the_films() -> None:
    film = Hostile(build_film())
    film.file_meta = build_film().file_meta
    film.__dict__["raises"] = MemoryError
    with pytest.raises(RetryableError):
        read_pixels(film)


@pytest.mark.parametrize("raises", [KeyboardInterrupt, SystemExit])
def test_interrupt_and_exit_pass(raises: type[BaseException]) -> None:
    film = Hostile(build_film())
    film.file_meta = build_film().file_meta
    film.__dict__["raises"] = raises
    with pytest.raises(raises):
        read_pixels(film)


# Real films -------------------------------------------------------------------------------------------


def pydicom_film(name: str) -> str:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom-data with {name} is not installed")
    return str(path)


def dcmtk(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail(f"{program} of dcmtk is missing")
        pytest.skip(f"{program} of dcmtk is missing")
    return path


def rendered_by_dcmtk(film: str | Path, folder: Path, *options: str) -> NDArray[np.float64]:
    picture = folder / "film.pgm"
    subprocess.run([dcmtk("dcmj2pnm"), *options, str(film), str(picture)], check=True, timeout=60)
    return np.asarray(Image.open(picture), dtype=np.float64) / 255


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG3_UNCR.dcm"])
def test_films_look_as_dcmtk_renders_them(name: str, tmp_path: Path) -> None:
    theirs_HW = rendered_by_dcmtk(pydicom_film(name), tmp_path, "+Wi", "1")
    difference_HW = np.abs(read_pixels(dcmread(pydicom_film(name))) - theirs_HW)
    assert difference_HW.max() < 1.5 / 255


@pytest.mark.parametrize(
    "name", ["chest_dx_fuji_mono1.dcm", "hip_cr_fuji_jpeg12.dcm", "hip_cr_fuji_jpegll.dcm"]
)
def test_compressed_films_look_as_dcmtk_renders_them(name: str, tmp_path: Path) -> None:
    ours_HW = read_pixels(shared_film(name))
    theirs_HW = rendered_by_dcmtk(SHARED / name, tmp_path, "+Wi", "1")
    difference_HW = np.abs(ours_HW - theirs_HW)
    assert difference_HW.mean() < 0.5 / 255
    # Two lossy decoders may round differently.
    assert np.quantile(difference_HW, 0.999) < 3 / 255


def test_a_film_without_window_looks_as_dcmtk_renders_it(tmp_path: Path) -> None:
    ours_HW = read_pixels(shared_film("chest_cr_rsna_jpeg.dcm"))
    theirs_HW = rendered_by_dcmtk(SHARED / "chest_cr_rsna_jpeg.dcm", tmp_path)
    assert np.abs(ours_HW - theirs_HW).max() < 2.5 / 255


def test_a_modality_lut_looks_as_dcmtk_renders_it(tmp_path: Path) -> None:
    ours_HW = read_pixels(shared_film("cr_modality_lut_jpegll.dcm"))
    theirs_HW = rendered_by_dcmtk(SHARED / "cr_modality_lut_jpegll.dcm", tmp_path, "+Wm")
    assert np.corrcoef(ours_HW.ravel(), theirs_HW.ravel())[0, 1] > 0.99


def test_jpeg2000_and_jpegls_give_the_same_film() -> None:
    j2k_HW = read_pixels(shared_film("chest_cr_philips_j2k.dcm"))
    jpegls_HW = read_pixels(shared_film("chest_cr_philips_jpegls.dcm"))
    assert np.abs(j2k_HW - jpegls_HW).mean() < 0.003
    assert np.abs(j2k_HW - jpegls_HW).max() < 0.02


@pytest.mark.parametrize(
    "name", ["chest_cr_philips_j2k.dcm", "chest_cr_philips_jpegls.dcm", "chest_cr_rsna_jpeg.dcm"]
)
def test_lungs_are_darker_than_the_mediastinum(name: str) -> None:
    image_HW = read_pixels(shared_film(name))
    rows, cols = image_HW.shape
    upper_field_HW = image_HW[int(rows * 0.25) : int(rows * 0.4)]
    lung = np.median(upper_field_HW[:, int(cols * 0.25) : int(cols * 0.35)])
    spine = np.median(upper_field_HW[:, int(cols * 0.47) : int(cols * 0.53)])
    assert lung < spine - 0.05
