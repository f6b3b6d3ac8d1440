"""What a destination is sent, as its kind of peer takes it."""

from builders import build_film, phantom_HW
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from result_sources import POSITIVE, spot_HW
from scripted_web import ScriptedWeb

from dicom_io.capture import build_capture
from dicom_io.dicomweb import WebTarget
from dicom_io.report import encode
from worker.peers import WebPeer

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
