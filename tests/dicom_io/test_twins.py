"""One film in every form that DICOM has for it: each gives the same picture, within half a stored level."""

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from builders import (
    build_film,
    build_secondary_capture,
    compress,
    phantom_HW,
    put_compressed,
    put_pixels,
    to_bytes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import Dataset, Sequence, uid
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame

from dicom_io.errors import UnreadablePixels, UnsupportedImage
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels

SYNTAXES = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
]
FORMS = ["window", "exact window", "VOI LUT", "Modality LUT", "rescale", "inverted", "whole range"]
COLOUR_FORMS = ["RGB", "YBR_FULL", "PALETTE COLOR"]


def table(curve_N: NDArray[Any], *, first: int, bits: int, as_words: bool, packed: bool) -> Sequence:
    """Write a LUT as OW bytes, as numbers of VR US, or, up to 8 bits, two entries in a word."""
    item = Dataset()
    item.LUTDescriptor = [curve_N.size % 2**16, first, bits]
    item["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    if as_words and curve_N.size * 2 < 2**16:
        item.LUTData = [int(entry) for entry in curve_N]
        item["LUTData"].VR = "US"
    else:
        item.LUTData = curve_N.astype("u1" if packed and bits <= 8 else "<u2").tobytes()
        item["LUTData"].VR = "OW"
    return Sequence([item])


def put_form(film: FileDataset, choice: dict[str, Any]) -> None:
    """Store the phantom so that the film, displayed as its header says, shows it again."""
    bits, form = choice["bits_stored"], choice["form"]
    levels = 2**bits - 1
    offset = 2 ** (bits - 1) if choice["signed"] else 0
    grey_HW = phantom_HW(choice["rows"], choice["cols"])
    if form == "whole range":
        grey_HW[0, :2] = 0.0, 1.0
    stored_HW = np.rint((1 - grey_HW if form == "inverted" else grey_HW) * levels).astype(np.int32)
    put_pixels(film, stored_HW - offset, bits_stored=bits, signed=choice["signed"])
    lut = {"as_words": choice["as_words"], "packed": choice["packed"]}
    if form == "VOI LUT":
        film.VOILUTSequence = table(np.arange(levels + 1), first=-offset, bits=bits, **lut)
        return
    low, high = -offset, levels - offset
    if form == "Modality LUT":
        film.ModalityLUTSequence = table(np.arange(levels + 1), first=-offset, bits=bits, **lut)
        low, high = 0, levels
    elif form == "rescale":
        film.RescaleSlope, film.RescaleIntercept = 0.5, -1024
        low, high = low * 0.5 - 1024, high * 0.5 - 1024
    elif form == "inverted":
        film.PhotometricInterpretation = "MONOCHROME1"
    if form == "whole range" and bits <= 8:
        return
    if form == "exact window":
        film.VOILUTFunction = "LINEAR_EXACT"
        film.WindowCenter, film.WindowWidth = (low + high) / 2, high - low
    else:
        film.WindowCenter, film.WindowWidth = (low + high + 1) / 2, high - low + 1


def put_syntax(film: FileDataset, syntax: uid.UID) -> FileDataset:
    if syntax.is_encapsulated:
        return compress(film, syntax)
    if syntax == uid.ExplicitVRBigEndian:
        # As another writer would leave it: each word of pixels and tables turned.
        for item in (film, *film.get("VOILUTSequence", ()), *film.get("ModalityLUTSequence", ())):
            for keyword in ("PixelData", "LUTData"):
                if keyword in item and item[keyword].VR == "OW":
                    item[keyword].value = np.frombuffer(item[keyword].value, "<u2").byteswap().tobytes()
        if film.BitsAllocated == 8 and film["PixelData"].VR == "OW":
            film["PixelData"].VR = "OB"
    film.file_meta.TransferSyntaxUID = syntax
    return film


def read_back(film: FileDataset, folder: Path) -> NDArray[np.float32]:
    path = folder / "film.dcm"
    if film.file_meta.TransferSyntaxUID == uid.ExplicitVRBigEndian:
        film.set_original_encoding(False, False)
        film.save_as(path, enforce_file_format=True)
    else:
        path.write_bytes(to_bytes(film))
    return read_pixels(read_dataset(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("twins")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    choice=st.fixed_dictionaries(
        {
            "form": st.sampled_from(FORMS),
            "bits_stored": st.integers(6, 16),
            "signed": st.booleans(),
            "rows": st.integers(1, 41),
            "cols": st.integers(2, 41),
            "as_words": st.booleans(),
            "packed": st.booleans(),
        }
    ),
    syntax=st.sampled_from(SYNTAXES),
)
def test_grey_twins_of_one_film_give_the_same_picture(
    choice: dict[str, Any], syntax: uid.UID, folder: Path
) -> None:
    film = build_film()
    put_form(film, choice)
    image_HW = read_back(put_syntax(film, syntax), folder)
    expected_HW = phantom_HW(choice["rows"], choice["cols"])
    if choice["form"] == "whole range":
        expected_HW[0, :2] = 0.0, 1.0
    np.testing.assert_allclose(image_HW, expected_HW, atol=0.51 / (2 ** choice["bits_stored"] - 1))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    form=st.sampled_from(COLOUR_FORMS),
    planar=st.booleans(),
    bits_stored=st.sampled_from([8, 16]),
    rows=st.integers(1, 41),
    cols=st.integers(1, 41),
    syntax=st.sampled_from(SYNTAXES),
)
def test_grey_stored_in_colour_gives_the_same_picture(
    form: str, planar: bool, bits_stored: int, rows: int, cols: int, syntax: uid.UID, folder: Path
) -> None:
    if form == "YBR_FULL" and syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        return  # the encoder marks its three samples as red, green and blue, and is believed
    bits_stored = 8 if form == "PALETTE COLOR" or syntax.is_encapsulated else bits_stored
    levels = 2**bits_stored - 1
    dtype = np.uint8 if bits_stored == 8 else np.uint16
    stored_HW = np.rint(phantom_HW(rows, cols) * levels).astype(dtype)
    capture = build_secondary_capture()
    if form == "PALETTE COLOR":
        put_pixels(capture, stored_HW, bits_stored=8, photometric_interpretation=form)
        curve = (np.arange(256, dtype=np.uint16) * 257).astype(
            ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
        )
        for colour in ("Red", "Green", "Blue"):
            setattr(capture, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(capture, f"{colour}PaletteColorLookupTableData", curve.tobytes())
    else:
        neutral_HW = np.full_like(stored_HW, 2 ** (bits_stored - 1))
        others = (stored_HW, stored_HW) if form == "RGB" else (neutral_HW, neutral_HW)
        colour_HWC = np.stack([stored_HW, *others], axis=-1)
        put_pixels(capture, colour_HWC, bits_stored=bits_stored, photometric_interpretation=form)
        if planar and not syntax.is_encapsulated:
            capture.PlanarConfiguration = 1
            planes = colour_HWC.transpose(2, 0, 1).tobytes()
            capture.PixelData = planes + b"\0" * (len(planes) % 2)
    image_HW = read_back(put_syntax(capture, syntax), folder)
    np.testing.assert_allclose(image_HW, stored_HW / levels, atol=1e-5)


@pytest.mark.parametrize("form", ["VOI LUT", "Modality LUT"])
def test_two_entries_in_a_word_are_turned_in_big_endian(form: str, folder: Path) -> None:
    choice = {"form": form, "bits_stored": 8, "signed": False, "rows": 31, "cols": 41}
    film = build_film()
    put_form(film, {**choice, "as_words": False, "packed": True})
    assert len((film.get("VOILUTSequence") or film.ModalityLUTSequence)[0].LUTData) == 256
    image_HW = read_back(put_syntax(film, uid.ExplicitVRBigEndian), folder)
    np.testing.assert_allclose(image_HW, phantom_HW(31, 41), atol=0.51 / 255)


def test_subsampled_chroma_gives_the_same_picture() -> None:
    stored_HW = np.rint(phantom_HW(20, 32) * 255).astype(np.uint8)
    capture = put_pixels(build_secondary_capture(), np.stack([stored_HW] * 3, axis=-1), bits_stored=8)
    capture.PhotometricInterpretation = "YBR_FULL_422"
    pairs = stored_HW.reshape(-1, 2)
    quads = np.column_stack([pairs, np.full((len(pairs), 2), 128, np.uint8)])
    capture.PixelData = quads.tobytes()
    np.testing.assert_allclose(read_pixels(capture), stored_HW / 255, atol=1e-6)


@pytest.mark.parametrize(("aspect", "keyword"), [([1, 2], "PixelAspectRatio"), ([0.4, 0.2], "PixelSpacing")])
def test_pixels_that_are_not_square_stay_where_they_are(aspect: list[float], keyword: str) -> None:
    film = build_film()
    plain_HW = read_pixels(film)
    setattr(film, keyword, aspect)
    np.testing.assert_array_equal(read_pixels(film), plain_HW)


# Fragments --------------------------------------------------------------------------------------------


def cut(frame: bytes, count: int) -> list[bytes]:
    length = -(-len(frame) // count // 2) * 2
    return [frame[start : start + length] for start in range(0, len(frame), length)]


def items(parts: list[bytes], table_entries: list[int]) -> bytes:
    """Encapsulate fragments behind a basic offset table of any content (PS3.5 A.4)."""
    offsets = struct.pack(f"<{len(table_entries)}I", *table_entries)
    padded = [part + b"\0" * (len(part) % 2) for part in parts]
    return b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(part)) + part for part in (offsets, *padded)
    ) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.RLELossless])
@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("table_entries", [[], [0], [0, 100], [4_000_000_000], [7, 3, 1]])
def test_an_offset_table_that_lies_changes_nothing(
    syntax: uid.UID, count: int, table_entries: list[int]
) -> None:
    film = build_film(phantom_HW(65, 33))
    plain_HW = read_pixels(film)
    frame = get_frame(compress(film, syntax).PixelData, 0, number_of_frames=1)
    film.PixelData = items(cut(frame, count), table_entries)
    film.ExtendedOffsetTable = struct.pack("<Q", 1_000_000)
    film.ExtendedOffsetTableLengths = struct.pack("<Q", 3)
    np.testing.assert_array_equal(read_pixels(film), plain_HW)


# JPEGs and JPEG 2000s that know better than the header ---------------------------------------------------


def test_a_jpeg_that_says_ycbcr_is_believed() -> None:
    # Blue: taken for red, green and blue, its luminance and chroma would give another grey.
    colour_HWC = np.rint(phantom_HW()[..., None] * [190, 200, 235]).astype(np.uint8)
    capture = put_pixels(
        build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="RGB"
    )
    plain_HW = read_pixels(capture)
    frame = imagecodecs.jpeg8_encode(colour_HWC, level=98, colorspace="RGB", outcolorspace="YCBCR")
    assert b"JFIF" in frame[:20]
    image_HW = read_pixels(put_compressed(capture, frame, uid.JPEGBaseline8Bit))
    assert np.abs(image_HW - plain_HW).max() < 0.03


@pytest.mark.parametrize(
    ("syntax", "photometric_interpretation"),
    [(uid.JPEG2000Lossless, "YBR_RCT"), (uid.JPEG2000, "YBR_ICT")],
)
def test_colours_that_jpeg2000_undoes_itself_are_red_green_blue(
    syntax: uid.UID, photometric_interpretation: str
) -> None:
    colour_HWC = np.rint(phantom_HW()[..., None] * [190, 200, 235]).astype(np.uint8)
    capture = put_pixels(
        build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="RGB"
    )
    plain_HW = read_pixels(capture)
    compress(capture, syntax)
    capture.PhotometricInterpretation = photometric_interpretation
    assert np.abs(read_pixels(capture) - plain_HW).max() < 0.03


@pytest.mark.parametrize(
    ("syntax", "codestream_signed"),
    # Bits of a signed value, lossy, wrap around zero: no encoder that means it does that.
    [(uid.JPEG2000Lossless, True), (uid.JPEG2000Lossless, False), (uid.JPEG2000, True)],
)
def test_the_sign_of_the_header_counts_for_jpeg2000(syntax: uid.UID, codestream_signed: bool) -> None:
    stored_HW = np.rint(phantom_HW(64, 48) * 4000).astype(np.int16) - 2000
    film = put_pixels(build_film(WindowCenter=0, WindowWidth=4096), stored_HW, signed=True)
    plain_HW = read_pixels(film)
    quality = {"reversible": True} if syntax == uid.JPEG2000Lossless else {"level": 70}
    pixels = stored_HW if codestream_signed else (stored_HW & 4095).astype(np.uint16)
    frame = imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", bitspersample=12, **quality)
    image_HW = read_pixels(put_compressed(film, frame, syntax))
    assert np.abs(image_HW - plain_HW).max() < 0.02


# Colour -----------------------------------------------------------------------------------------------


def rgb(colour_HWC: NDArray[Any]) -> FileDataset:
    return put_pixels(  # type: ignore[return-value]
        build_secondary_capture(),
        np.rint(colour_HWC).astype(np.uint8),
        bits_stored=8,
        photometric_interpretation="RGB",
    )


def test_a_tint_and_a_small_marker_are_no_colour() -> None:
    blue_base_HWC = phantom_HW()[..., None] * [170, 200, 240]
    blue_base_HWC[:30, :40] = [255, 0, 0]
    assert read_pixels(rgb(blue_base_HWC)).shape == (256, 224)


def test_a_heat_map_is_refused() -> None:
    film_HWC = np.repeat(phantom_HW()[..., None], 3, axis=-1) * 255
    film_HWC[60:160, 40:120] = 0.5 * film_HWC[60:160, 40:120] + 0.5 * np.array([255, 180, 0])
    with pytest.raises(UnsupportedImage, match="colour of their own"):
        read_pixels(rgb(film_HWC))
    ybr = rgb(film_HWC)
    compress(ybr, uid.JPEGBaseline8Bit)
    with pytest.raises(UnsupportedImage, match="colour of their own"):
        read_pixels(ybr)


@pytest.mark.parametrize(("sample", "refused"), [(1, True), (2, False)])
def test_blue_counts_for_more_than_red_in_ybr(sample: int, refused: bool) -> None:
    grey_HW = np.rint(phantom_HW() * 255).astype(np.uint8)
    colour_HWC = np.stack([grey_HW, np.full_like(grey_HW, 128), np.full_like(grey_HW, 128)], axis=-1)
    # 24 of 255: 0.167 of blue, 0.132 of red, on either side of the limit.
    colour_HWC[::4, :, sample] += 24
    capture = put_pixels(
        build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="YBR_FULL"
    )
    if refused:
        with pytest.raises(UnsupportedImage, match="colour of their own"):
            read_pixels(capture)
    else:
        assert read_pixels(capture).shape == grey_HW.shape


def test_false_colours_of_a_palette_are_refused() -> None:
    stored_HW = np.rint(phantom_HW() * 255).astype(np.uint8)
    capture = put_pixels(
        build_secondary_capture(), stored_HW, bits_stored=8, photometric_interpretation="PALETTE COLOR"
    )
    ramp = np.arange(256) * 257
    for colour, curve in (("Red", ramp), ("Green", ramp[::-1]), ("Blue", np.roll(ramp, 90))):
        setattr(capture, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(capture, f"{colour}PaletteColorLookupTableData", curve.astype("<u2").tobytes())
    with pytest.raises(UnsupportedImage, match="colour of their own"):
        read_pixels(capture)


# Kinds that are not read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"FloatPixelData": b"\0" * 8, "PixelData": None}, "floating point"),
        ({"DoubleFloatPixelData": b"\0" * 8, "PixelData": None}, "floating point"),
        ({"BitsAllocated": 32}, "came 32"),
        ({"NumberOfFrames": 3}, "came 3"),
        ({"PhotometricInterpretation": "HSV"}, "came another"),
    ],
    ids=str,
)
def test_kinds_that_are_not_read_are_named(attributes: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsupportedImage, match=words):
        read_pixels(build_film(**attributes))


@pytest.mark.parametrize(
    ("syntax", "words"),
    [("1.2.840.10008.1.2.4.100", "came MPEG2"), ("1.2.840.113619.5.2", "came"), ("GRÜN", "came another one")],
)
def test_a_transfer_syntax_that_is_not_read_is_named(syntax: str, words: str) -> None:
    film = build_film()
    film.file_meta.TransferSyntaxUID = uid.UID(syntax, validation_mode=0)
    with pytest.raises(UnsupportedImage, match=words):
        read_pixels(film)


@pytest.mark.parametrize(
    ("samples", "photometric_interpretation"), [(1, "RGB"), (3, "MONOCHROME2"), (3, "PALETTE COLOR")]
)
def test_samples_that_contradict_the_colours_are_unreadable(
    samples: int, photometric_interpretation: str
) -> None:
    film = build_film(SamplesPerPixel=samples, PhotometricInterpretation=photometric_interpretation)
    with pytest.raises(UnreadablePixels, match="samples per pixel"):
        read_pixels(film)


def test_fragments_under_an_uncompressed_syntax_are_unreadable() -> None:
    film = build_film()
    film.PixelData = encapsulate([film.PixelData])
    film["PixelData"].is_undefined_length = True
    with pytest.raises(UnreadablePixels, match="came fragments"):
        read_pixels(film)


def test_a_header_that_names_half_of_the_rows_is_unreadable() -> None:
    with pytest.raises(UnreadablePixels, match="expected 57344 bytes"):
        read_pixels(build_film(Rows=128))


def test_some_padding_after_the_pixels_is_tolerated() -> None:
    film = build_film()
    plain_HW = read_pixels(film)
    film.PixelData += b"\0" * 512
    np.testing.assert_array_equal(read_pixels(film), plain_HW)
