"""What a destination is sent, as its kind of peer takes it."""

from builders import build_film, phantom_HW
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from result_sources import POSITIVE, spot_HW
from scripted_pacs import EXPLICIT_LE, IMPLICIT_LE, ScriptedPacs
from scripted_web import ScriptedWeb

from dicom_io.association import Target
from dicom_io.capture import build_capture
from dicom_io.dicomweb import WebTarget
from dicom_io.report import encode
from worker.peers import AssociationPeer, WebPeer

STORED = b'{"00081199": {"vr": "SQ", "Value": [{}]}}'


def test_what_is_stored_compressed_goes_out_plain_since_nothing_is_negotiated() -> None:
    capture = build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    with ScriptedWeb.running(body=STORED) as web:
        WebPeer(WebTarget(web.url, 20)).store(encode(capture))
    (request,) = web.requests
    assert capture.PixelData in request.body
    assert ExplicitVRLittleEndian.encode() + b"\0" in request.body
    assert RLELossless.encode() + b"\0" not in request.body
    assert request.headers["Content-Length"] == str(len(request.body))


def test_a_destination_that_asks_for_jpeg_gets_it_by_association() -> None:
    capture = build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    with ScriptedPacs.running(syntaxes=(EXPLICIT_LE, JPEGBaseline8Bit)) as pacs:
        AssociationPeer(Target(pacs.aet, "127.0.0.1", pacs.port, "CXRWORKER", 20), jpeg=True).store(
            encode(capture)
        )
    assert [syntax for _, syntax in pacs.stores] == [JPEGBaseline8Bit]
    (arrived,) = pacs.held.values()
    assert (arrived.SOPInstanceUID, arrived.LossyImageCompression) == (capture.SOPInstanceUID, "01")


def test_where_jpeg_is_not_taken_the_picture_goes_out_uncompressed_and_says_that_it_was_lossy() -> None:
    capture = build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    with ScriptedPacs.running(syntaxes=(EXPLICIT_LE, IMPLICIT_LE)) as pacs:
        AssociationPeer(Target(pacs.aet, "127.0.0.1", pacs.port, "CXRWORKER", 20), jpeg=True).store(
            encode(capture)
        )
    (arrived,) = pacs.held.values()
    assert (arrived.PhotometricInterpretation, arrived.LossyImageCompression) == ("RGB", "01")
    assert len(arrived.PixelData) == len(capture.PixelData)


def test_a_web_destination_that_asks_for_jpeg_gets_it() -> None:
    capture = build_capture(build_film(), phantom_HW(), spot_HW(), POSITIVE)
    with ScriptedWeb.running(body=STORED) as web:
        WebPeer(WebTarget(web.url, 20), jpeg=True).store(encode(capture))
    (request,) = web.requests
    assert JPEGBaseline8Bit.encode() in request.body
    assert capture.PixelData not in request.body
