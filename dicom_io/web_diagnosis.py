"""What a DICOMweb server answers to what we ask, and in words what to do where it does not."""

from urllib.parse import urlsplit

import requests
from pydicom.uid import generate_uid

from dicom_io.certificate import inspect, shake_hands
from dicom_io.diagnosis import Diagnosis, Expectation, Verdict, connect, secure
from dicom_io.errors import CxrError
from dicom_io.webclient import WebTarget, exchange

HTTP_ADVICE: tuple[tuple[int, int, str, str], ...] = (
    (401, 401, "credentials wanted", "set token_file, or user and password_file, of the [[destination]]"),
    (403, 403, "our account may not query", "let it query and store there"),
    (
        404,
        405,
        "no QIDO-RS at this address",
        "check the path: /dicom-web (Orthanc), /dcm4chee-arc/aets/AET/rs (dcm4chee), by the server's manual",
    ),
    (400, 499, "the question is not understood", "look into the server's log"),
    (500, 599, "the server is in trouble", "look into the server's log"),
)
"""First and last HTTP code, what it means here, and what to do."""


def examine_web(target: WebTarget, expected: Expectation) -> Diagnosis:
    """Ask a DICOMweb server for what a proof or a pull would; nothing is stored there.

    Parameters
    ----------
    target : WebTarget
        The server.
    expected : Expectation
        What is in trouble when it is not there, instead of a note.
    """
    diagnosis = Diagnosis(target.name)
    parts = urlsplit(target.url)
    host, secured = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secured else 80)
    if not connect(diagnosis, host, port, target.timeout_s):
        return diagnosis
    if secured and not secure(
        diagnosis,
        lambda: inspect(host, port, target.tls, timeout_s=target.timeout_s),
        lambda: shake_hands(host, port, target.tls, check_hostname=True, timeout_s=target.timeout_s),
    ):
        return diagnosis
    diagnosis.reached = True
    _ask(diagnosis, target, expected)
    return diagnosis


def _ask(diagnosis: Diagnosis, target: WebTarget, expected: Expectation) -> None:
    """Ask by QIDO-RS for a study that nobody has: no patient's data is wanted here."""
    failure = Verdict.NOTE if expected.proof == "none" else Verdict.TROUBLE
    code = 0
    try:
        with exchange(target) as web:
            try:
                web.client.search_for_studies(search_filters={"StudyInstanceUID": generate_uid()}, limit=1)
            except requests.HTTPError as error:
                code = 0 if error.response is None else error.response.status_code
                raise
    except CxrError as error:
        words, advice = (
            str(error).removeprefix(f"{target.name}: "),
            "is this the address of a DICOMweb service?",
        )
        for first, last, meaning, what_to_do in HTTP_ADVICE:
            if first <= code <= last:
                words, advice = f"HTTP {code}: {meaning}", what_to_do
                break
        diagnosis.add("QIDO-RS", failure, words, advice)
        return
    diagnosis.add("QIDO-RS", Verdict.WELL, 'answers: proof = "qido" and `cxr-worker pull` can use it')
