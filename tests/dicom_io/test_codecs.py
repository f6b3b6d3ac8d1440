"""Codestreams: every syntax decodes, and none may announce another size than the header."""

import struct
import time
import tracemalloc

import imagecodecs
import numpy as np
import pytest
from builders import (
    build_film,
    build_secondary_capture,
    compress,
    encode_frame,
    phantom_HW,
    put_compressed,
    put_pixels,
)
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from dicom_io import codecs
from dicom_io.codestreams import CodestreamHeader, read_codestream_header
from dicom_io.errors import UnreadablePixels
from dicom_io.pixels import read_pixels

LOSSLESS_SYNTAXES = [
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
    uid.HTJ2KLossless,
    uid.HTJ2KLosslessRPCL,
    uid.RLELossless,
]
LOSSY_SYNTAXES = [uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K]
SIZED_SYNTAXES = [syntax for syntax in LOSSLESS_SYNTAXES + LOSSY_SYNTAXES if syntax != uid.RLELossless]
assert {*SIZED_SYNTAXES, uid.JPEGBaseline8Bit} == set(codecs.SIZED_SYNTAXES)


def keyword(syntax: uid.UID) -> str:
    return syntax.keyword


def test_registering_twice_adds_one_plugin() -> None:
    codecs.register()
    codecs.register()
    for syntax in codecs.DECODER_DEPENDENCIES:
        assert list(get_decoder(syntax).available_plugins).count(codecs.PLUGIN) == 1


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES, ids=keyword)
@pytest.mark.parametrize("bits_stored", [8, 10, 12, 16])
def test_lossless_syntaxes_give_the_very_same_pixels(syntax: uid.UID, bits_stored: int) -> None:
    stored_HW = np.rint(phantom_HW(131, 77) * (2**bits_stored - 1)).astype(np.uint16)
    plain = read_pixels(put_pixels(build_film(), stored_HW, bits_stored=bits_stored))
    film = compress(put_pixels(build_film(), stored_HW, bits_stored=bits_stored), syntax)
    np.testing.assert_array_equal(read_pixels(film), plain)


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES, ids=keyword)
def test_signed_values_survive_codecs_that_know_no_sign(syntax: uid.UID) -> None:
    stored_HW = np.rint(phantom_HW(64, 48) * 4095).astype(np.int16) - 2048
    film = put_pixels(build_film(WindowCenter=0, WindowWidth=4096), stored_HW, signed=True)
    plain = read_pixels(film)
    np.testing.assert_array_equal(read_pixels(compress(film, syntax)), plain)
    assert plain.max() > 0.9


def test_signed_values_survive_near_lossless_jpeg_ls() -> None:
    # Away from the ends, where two levels more would turn the sign of the stored bits.
    stored_HW = np.rint(phantom_HW(64, 48) * 2000).astype(np.int16) - 1000
    film = put_pixels(build_film(WindowCenter=0, WindowWidth=4096), stored_HW, signed=True)
    plain_HW = read_pixels(film)
    difference_HW = np.abs(read_pixels(compress(film, uid.JPEGLSNearLossless)) - plain_HW)
    assert difference_HW.max() < 3 / 4095


@pytest.mark.parametrize("syntax", LOSSY_SYNTAXES, ids=keyword)
def test_lossy_syntaxes_come_close(syntax: uid.UID) -> None:
    film = build_film(WindowCenter=2048, WindowWidth=4096)
    plain_HW = read_pixels(film)
    difference_HW = np.abs(read_pixels(compress(film, syntax)) - plain_HW)
    assert difference_HW.mean() < 0.005
    assert difference_HW.max() < 0.05


def test_white_that_overshoots_bits_stored_stays_white() -> None:
    checks_HW = (np.indices((64, 64)).sum(axis=0) // 4 % 2).astype(bool)
    stored_HW = np.where(checks_HW, 1023, 1).astype(np.uint16)
    film = put_pixels(build_film(WindowCenter=512, WindowWidth=1024), stored_HW, bits_stored=10)
    frame = imagecodecs.jpeg8_encode(stored_HW, level=60, bitspersample=12)
    assert imagecodecs.jpeg8_decode(frame).max() > 1023
    image_HW = read_pixels(put_compressed(film, frame, uid.JPEGExtended12Bit))
    assert image_HW[checks_HW].min() > 0.9


def test_jpeg_baseline_comes_close() -> None:
    stored_HW = np.rint(phantom_HW() * 255).astype(np.uint8)
    film = compress(put_pixels(build_film(), stored_HW, bits_stored=8), uid.JPEGBaseline8Bit)
    assert np.abs(read_pixels(film) - phantom_HW()).max() < 0.05


def test_saturated_white_of_htj2k_stays_white() -> None:
    stored_HW = np.where(phantom_HW() > 0.5, 65535, 0).astype(np.uint16)
    film = build_film(WindowCenter=32768, WindowWidth=65536)
    film = compress(put_pixels(film, stored_HW, bits_stored=16), uid.HTJ2K)
    assert np.abs(read_pixels(film) - stored_HW / 65535).max() < 0.2


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES, ids=keyword)
def test_colour_is_compressed_without_loss(syntax: uid.UID) -> None:
    grey_HW = phantom_HW(61, 43)
    colour_HWC = np.rint(np.stack([grey_HW * 255, grey_HW * 200, grey_HW * 90], axis=-1)).astype(np.uint8)
    capture = put_pixels(
        build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="RGB"
    )
    plain_HW = read_pixels(capture)
    np.testing.assert_allclose(plain_HW, colour_HWC @ [0.299, 0.587, 0.114] / 255, atol=1e-6)
    np.testing.assert_allclose(read_pixels(compress(capture, syntax)), plain_HW, atol=1e-6)


def test_jpeg_colour_becomes_luminance() -> None:
    grey_HW = phantom_HW()
    colour_HWC = np.rint(np.stack([grey_HW * 255] * 3, axis=-1)).astype(np.uint8)
    capture = put_pixels(
        build_secondary_capture(), colour_HWC, bits_stored=8, photometric_interpretation="YBR_FULL_422"
    )
    assert np.abs(read_pixels(compress(capture, uid.JPEGBaseline8Bit)) - grey_HW).max() < 0.05


@pytest.mark.parametrize("syntax", SIZED_SYNTAXES, ids=keyword)
def test_the_codestream_tells_its_size(syntax: uid.UID) -> None:
    stored_HW = np.rint(phantom_HW(37, 53) * 4095).astype(np.uint16)
    header = read_codestream_header(encode_frame(stored_HW, syntax, 12))
    assert (header.rows, header.columns, header.samples) == (37, 53, 1)
    assert 12 <= header.precision <= 16


def test_a_codestream_inside_a_jp2_file_is_found() -> None:
    stored_HW = np.rint(phantom_HW(37, 53) * 255).astype(np.uint8)
    frame = imagecodecs.jpeg2k_encode(stored_HW, codecformat="jp2", reversible=True)
    assert read_codestream_header(frame) == CodestreamHeader(37, 53, 1, 8)


@pytest.mark.parametrize("syntax", SIZED_SYNTAXES, ids=keyword)
def test_a_codestream_of_another_size_is_refused(syntax: uid.UID) -> None:
    stored_HW = np.rint(phantom_HW(64, 64) * 4095).astype(np.uint16)
    film = put_pixels(build_film(), stored_HW[:32, :32])
    with pytest.raises(UnreadablePixels):
        read_pixels(put_compressed(film, encode_frame(stored_HW, syntax, 12), syntax))


def swollen(frame: bytes, syntax: uid.UID) -> bytes:
    """Make a codestream of 64 x 64 announce 65500 x 65500."""
    old, new = struct.pack(">HH", 64, 64), struct.pack(">HH", 65500, 65500)
    if syntax in codecs.JPEG2000_SYNTAXES + codecs.HTJ2K_SYNTAXES:
        old, new = struct.pack(">II", 64, 64), struct.pack(">II", 65500, 65500)
    assert old in frame
    return frame.replace(old, new, 1)


@pytest.mark.parametrize("syntax", SIZED_SYNTAXES, ids=keyword)
def test_a_pixel_bomb_costs_neither_time_nor_memory(syntax: uid.UID) -> None:
    stored_HW = np.rint(phantom_HW(64, 64) * 4095).astype(np.uint16)
    bomb = swollen(encode_frame(stored_HW, syntax, 12), syntax)
    film = put_compressed(put_pixels(build_film(), stored_HW), bomb, syntax)
    started = time.monotonic()
    with pytest.raises(UnreadablePixels) as caught:
        read_pixels(film)
    assert time.monotonic() - started < 1.0
    assert "the codestream has 65500 x 65500 of 1" in str(caught.value)


def test_an_rle_bomb_is_stopped_at_the_size_of_the_header() -> None:
    runs = b"\x81\x00" * 5_000_000  # each pair becomes 128 bytes: 640 MB
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + runs
    film = put_pixels(build_film(), np.zeros((64, 64), np.uint8), bits_stored=8)
    put_compressed(film, frame, uid.RLELossless)
    tracemalloc.start()
    with pytest.raises(UnreadablePixels):
        read_pixels(film)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100e6


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES + LOSSY_SYNTAXES, ids=keyword)
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.95])
def test_cut_off_pixels_are_unreadable(syntax: uid.UID, kept: float) -> None:
    film = compress(build_film(), syntax)
    stored_HW = np.rint(phantom_HW() * 4095).astype(np.uint16)
    frame = film.PixelData[16:] if syntax == uid.RLELossless else encode_frame(stored_HW, syntax, 12)
    put_compressed(film, frame[: max(2, int(len(frame) * kept))], syntax)
    with pytest.raises(UnreadablePixels):
        read_pixels(film)


@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES + LOSSY_SYNTAXES, ids=keyword)
def test_garbage_is_unreadable(syntax: uid.UID) -> None:
    garbage = np.random.default_rng(7).bytes(2000)
    with pytest.raises(UnreadablePixels):
        read_pixels(put_compressed(build_film(), garbage, syntax))


def test_a_damaged_codestream_never_raises_anything_else() -> None:
    random = np.random.default_rng(3)
    stored_HW = np.rint(phantom_HW(40, 40) * 4095).astype(np.uint16)
    refused = 0
    for syntax in SIZED_SYNTAXES:
        whole = encode_frame(stored_HW, syntax, 12)
        for _ in range(25):
            frame = bytearray(whole)
            for place in random.integers(0, len(frame), 4):
                frame[place] = random.integers(0, 256)
            try:
                image_HW = read_pixels(
                    put_compressed(put_pixels(build_film(), stored_HW), bytes(frame), syntax)
                )
            except UnreadablePixels:
                refused += 1
            else:
                assert image_HW.shape == (40, 40)
    assert refused > 0


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        (uid.JPEG2000Lossless, "expected a sound codestream, decoding failed"),
        (uid.JPEGLSLossless, "expected a sound codestream, decoding failed"),
        (uid.JPEGLosslessSV1, "expected a sound codestream, decoding failed"),
    ],
    ids=str,
)
def test_the_decoders_own_words_are_passed_on(syntax: uid.UID, words: str) -> None:
    stored_HW = np.rint(phantom_HW(40, 40) * 4095).astype(np.uint16)
    whole = encode_frame(stored_HW, syntax, 12)
    marker = b"\xff\x52" if syntax == uid.JPEG2000Lossless else b"\xff\xda"
    frame = whole[: whole.index(marker)] + b"\xff\xd9"
    with pytest.raises(UnreadablePixels, match=words):
        read_pixels(put_compressed(put_pixels(build_film(), stored_HW), frame, syntax))
