"""Send results and ask for them over DICOMweb: STOW-RS and QIDO-RS as user agent (PS3.18 chapter 10)."""

import xml.etree.ElementTree as ElementTree
from io import BytesIO
from typing import Any

import requests
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from dicom_io.errors import HoldsAnother, Unanswered
from dicom_io.headers import printable
from dicom_io.scu import COMPARED, Identity, Outcome, StoreAnswer, outcome_of
from dicom_io.webclient import UNREADABLE, Exchange, WebTarget, exchange

__all__ = ["WebTarget", "find_by_qido", "media_type_of", "stow", "text_of"]

HTTP_TABLE: tuple[tuple[int, int, int, Outcome, str], ...] = (
    (200, 200, 0x0000, Outcome.SENT, "stored"),
    (202, 202, 0x0000, Outcome.SENT, "stored, with a warning that is not named"),
    (401, 401, 0x0124, Outcome.AGAIN_ALARM, "not authorised: set the credentials"),
    (403, 403, 0x0124, Outcome.AGAIN_ALARM, "forbidden: let our account store"),
    (404, 405, 0x0110, Outcome.AGAIN_ALARM, "no STOW-RS at this address: check the path"),
    (408, 408, 0x0110, Outcome.AGAIN, "request timed out"),
    (409, 409, 0xC000, Outcome.AGAIN_FOR_A_DAY, "conflict, without a reason"),
    (413, 413, 0xA700, Outcome.AGAIN_ALARM, "too large: raise the request size limit of server or proxy"),
    (415, 415, 0x0122, Outcome.NEVER, "SOP class or media type not supported"),
    (429, 429, 0xA700, Outcome.AGAIN, "too many requests"),
    (400, 499, 0xC000, Outcome.AGAIN_FOR_A_DAY, "request not understood"),
    (507, 507, 0xA700, Outcome.AGAIN, "out of storage"),
    (500, 599, 0x0110, Outcome.AGAIN, "server trouble"),
)
"""First and last HTTP code, the DIMSE status that says the same, what follows, and the words.

Asked in this order, and only when the answer names no reason of its own (PS3.18 table 10.5.3-1).
"""
JSON_TYPES = ("application/dicom+json", "application/json")
XML_TYPES = ("application/dicom+xml", "application/xml", "text/xml")
NOT_FOUND = 404


def stow(target: WebTarget, encoded: bytes) -> StoreAnswer:
    """Send one part-10 object by STOW-RS (PS3.18 section 10.5).

    Returns
    -------
    StoreAnswer
        By the reason that the answer names for the object (Failure Reason, Warning Reason: PS3.18 tables
        I.2-2 and I.2-1), through the status table of C-STORE; else by the HTTP code.

    Raises
    ------
    Unreachable
        No connection came about, or TLS failed.
    Unanswered
        The connection broke before the answer, or what answered is no DICOMweb server.
    DestinationError
        The address redirects elsewhere.
    """
    dataset = dcmread(BytesIO(encoded))
    with exchange(target) as web:
        # In one piece, with its length: some servers refuse a chunked request.
        web.client.set_chunk_size(2 * len(encoded) + 4096)
        try:
            web.client.store_instances([dataset])
        except (requests.HTTPError, *UNREADABLE):
            # The library reads no failure's details, and has an answer of its own for odd ones.
            if web.answer is None:
                raise
        answer = web.answer
    if answer is None:
        raise Unanswered(f"{target.name}: expected an answer to STOW-RS, got none")
    return _store_answer(target, answer)


def _store_answer(target: WebTarget, answer: requests.Response) -> StoreAnswer:
    """Turn an HTTP answer into that of a C-STORE."""
    code = answer.status_code
    failures, warnings = _reasons(target, answer)
    if failures:
        outcome, words = outcome_of(failures[0])
        if outcome == Outcome.SENT:
            # Listed among the failed, whatever its reason says.
            outcome, words = Outcome.AGAIN, "failed, with a reason that names none"
        return StoreAnswer(failures[0], outcome, f"HTTP {code}, {words}")
    if warnings and answer.ok:
        _, words = outcome_of(warnings[0])
        return StoreAnswer(warnings[0], Outcome.SENT, f"HTTP {code}, {words}")
    for first, last, status, outcome, words in HTTP_TABLE:
        if first <= code <= last:
            return StoreAnswer(status, outcome, f"HTTP {code}, {words}", _comment(answer))
    return StoreAnswer(0x0110, Outcome.AGAIN, f"HTTP {code}, unknown status")


def _comment(answer: requests.Response) -> str:
    """The server's own words on a failure, where they are plain text."""
    plain = not answer.ok and media_type_of(answer) == "text/plain"
    return printable(answer.content[:200].decode("utf-8", "replace")) if plain else ""


def media_type_of(answer: requests.Response) -> str:
    """Return what an answer says that it is, without parameters."""
    return str(answer.headers.get("Content-Type", "")).partition(";")[0].strip().lower()


def _reasons(target: WebTarget, answer: requests.Response) -> tuple[list[int], list[int]]:
    """Failure and warning reasons in a Store Instances Response (PS3.18 annex I)."""
    media_type = media_type_of(answer)
    if not answer.content:
        if answer.ok:
            # Success must name what was stored (PS3.18 section 10.5.3.2); proxies say 200 to anything.
            raise Unanswered(f"{target.name}: expected a Store Instances Response, got an empty answer")
        return [], []
    try:
        if media_type in JSON_TYPES:
            return _reasons_in_json(answer)
        if media_type in XML_TYPES:
            return _reasons_in_xml(answer)
    except UNREADABLE as error:
        if answer.ok:
            raise Unanswered(f"{target.name}: expected a Store Instances Response, got another") from error
        return [], []
    if answer.ok:
        # A proxy's log-in page says 200 too, and nothing is stored.
        raise Unanswered(f"{target.name}: expected DICOM JSON or XML, got {printable(media_type)[:40]}")
    return [], []


def _reasons_in_json(answer: requests.Response) -> tuple[list[int], list[int]]:
    body = answer.json()
    response = Dataset.from_json(body[0] if isinstance(body, list) else body)
    failed, stored = response.get("FailedSOPSequence") or [], response.get("ReferencedSOPSequence") or []
    return (
        [int(item.get("FailureReason") or 0x0110) for item in failed],
        [int(item.WarningReason) for item in stored if item.get("WarningReason")],
    )


def _reasons_in_xml(answer: requests.Response) -> tuple[list[int], list[int]]:
    """Read the Native DICOM Model, with or without its name space (PS3.19 annex A.1)."""
    root = ElementTree.fromstring(answer.content)

    def values(sequence: str, keyword: str, missing: int | None) -> list[int]:
        path = f".//{{*}}DicomAttribute[@keyword='{sequence}']/{{*}}Item"
        found = (
            item.findtext(f"{{*}}DicomAttribute[@keyword='{keyword}']/{{*}}Value")
            for item in root.iterfind(path)
        )
        numbers = (int(text) if text else missing for text in found)
        return [number for number in numbers if number is not None]

    return (
        values("FailedSOPSequence", "FailureReason", 0x0110),
        values("ReferencedSOPSequence", "WarningReason", None),
    )


def find_by_qido(target: WebTarget, identity: Identity) -> tuple[str, ...] | None:
    """Ask by QIDO-RS whether the server holds this object (PS3.18 section 10.6).

    Returns
    -------
    tuple of str or None
        None when it does not. Else the keywords of what the server holds under another value, which it
        coerced; empty when all is equal, or was not returned.

    Raises
    ------
    DestinationError
        The server could not be asked.
    HoldsAnother
        The server holds an object of another class under this SOP Instance UID.
    """
    with exchange(target) as web:
        for match in _instances_of(web, identity):
            if text_of(match, "SOPInstanceUID") != identity.sop_instance_uid:
                continue
            differing = tuple(k for k, name in COMPARED.items() if _differs(match, k, identity, name))
            if "SOPClassUID" in differing:
                raise HoldsAnother(f"{target.name}: holds an object of another class under our UID")
            return differing
    return None


def _instances_of(web: Exchange, identity: Identity) -> list[dict[str, Any]]:
    """Ask in the series, and where a server says that it has none, over all: 404 is also a wrong address."""
    wanted: dict[str, Any] = {
        "search_filters": {"SOPInstanceUID": identity.sop_instance_uid},
        "fields": ["PatientID"],
    }
    parents = (identity.study_instance_uid, identity.series_instance_uid)
    try:
        return list(web.client.search_for_instances(*parents, **wanted))
    except requests.HTTPError:
        if web.answer is None or web.answer.status_code != NOT_FOUND:
            raise
    return list(web.client.search_for_instances(**wanted))


def _differs(match: dict[str, Any], keyword: str, identity: Identity, name: str) -> bool:
    """Whether both sides name a value, and not the same one."""
    found, expected = text_of(match, keyword), getattr(identity, name)
    return bool(found) and expected is not None and found != expected


def text_of(match: dict[str, Any], keyword: str) -> str:
    """Return an attribute's values in the DICOM JSON model, joined with a comma (PS3.18 annex F.2).

    Parameters
    ----------
    match : dict
        A data set in that model.
    keyword : str
        The attribute's keyword.
    """
    values = match.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or []
    return ", ".join(str(value) for value in values if value is not None).strip()
