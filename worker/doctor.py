"""Send a test report to a peer and ask for it: the way that every result takes, once, with words."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

from pydicom.uid import generate_uid

from dicom_io.commitment import follow_up_of
from dicom_io.diagnosis import Diagnosis, Expectation, Verdict
from dicom_io.errors import CxrError
from dicom_io.findings import Device
from dicom_io.phantom import PATIENT_ID, TestObject, build_test_objects
from dicom_io.profiles import CHAIN
from dicom_io.scu import Outcome
from worker.peers import Peer

ASK_TIMES = 5
ASK_EVERY_S = 1.0
"""A PACS may index what it took a little later."""
NAMES = {"sr": "test report", "sc": "test heat map"}
STORE_ADVICE = {
    Outcome.NEVER: "accept this SOP class from us there",
    Outcome.AGAIN_ALARM: "let our AE title or account store there",
    Outcome.AGAIN_FOR_A_DAY: "look into the peer's log: it does not understand the object",
    Outcome.AGAIN: "try again later; look into the peer's log if it stays",
    Outcome.DUPLICATE: "it claims to hold a UID that was made just now: look into the peer's log",
}


def round_trip(diagnosis: Diagnosis, peer: Peer, expected: Expectation, device: Device) -> list[TestObject]:
    """Send a report and a heat map about a film of nobody, and ask for both.

    Returns
    -------
    list of TestObject
        What may lie there now and has to be deleted: also what was sent without an answer.
    """
    profile = expected.profile or diagnosis.profile or CHAIN[0]
    left = []
    for test in build_test_objects(device, datetime.now(UTC), profile):
        if _send(diagnosis, peer, test):
            left.append(test)
            _ask(diagnosis, peer, test)
    if left and expected.proof == "commitment":
        _commit(diagnosis, peer, left[0])
    return left


def _send(diagnosis: Diagnosis, peer: Peer, test: TestObject) -> bool:
    """Send one; whether it may lie there now."""
    name = NAMES[test.kind]
    try:
        answer = peer.store(test.encoded)
    except CxrError as error:
        diagnosis.add(name, Verdict.TROUBLE, _words(diagnosis, error), "look into the peer's log")
        # It may have been taken before the answer was lost.
        return True
    if answer.outcome is Outcome.SENT:
        verdict = Verdict.WELL if answer.status == 0 else Verdict.NOTE
        diagnosis.add(name, verdict, f"stored: {answer.text}")
        return True
    diagnosis.add(name, Verdict.TROUBLE, f"not stored: {answer.text}", STORE_ADVICE[answer.outcome])
    return False


def _ask(diagnosis: Diagnosis, peer: Peer, test: TestObject) -> None:
    subject = f"{NAMES[test.kind]}, read back"
    try:
        differing = _found(peer, test)
    except CxrError as error:
        advice = "let us query there, or set proof to what the peer offers"
        diagnosis.add(subject, Verdict.NOTE, _words(diagnosis, error), advice)
        return
    if differing is None:
        advice = "the peer took it and does not list it: look whether it waits in a quarantine or a work list"
        words = f"not found by {peer.query} in {ASK_TIMES * ASK_EVERY_S:.0f} s"
        diagnosis.add(subject, Verdict.TROUBLE, words, advice)
    elif differing:
        words = f"found by {peer.query}; changed there: {', '.join(differing)}"
        diagnosis.add(subject, Verdict.NOTE, words, "the peer coerces these; deliveries note it and are well")
    else:
        diagnosis.add(subject, Verdict.WELL, f"found by {peer.query}, all the same")


def _found(peer: Peer, test: TestObject) -> tuple[str, ...] | None:
    for _ in range(ASK_TIMES):
        differing = peer.find(test.identity)
        if differing is not None:
            return differing
        time.sleep(ASK_EVERY_S)
    return None


def _commit(diagnosis: Diagnosis, peer: Peer, test: TestObject) -> None:
    subject, transaction_uid = "commitment, asked", str(generate_uid(prefix=None))
    try:
        answers = peer.commit(transaction_uid, test.identity)
    except CxrError as error:
        diagnosis.add(subject, Verdict.TROUBLE, _words(diagnosis, error), "switch it on there")
        return
    ours = [answer for answer in answers if answer.transaction_uid == transaction_uid]
    reasons = [reason for answer in ours for _, reason in answer.failed]
    if reasons:
        words = f"answered: not committed, 0x{reasons[0]:04X} {follow_up_of(reasons[0])[1]}"
        diagnosis.add(subject, Verdict.TROUBLE, words, "look there why it does not keep what it stored")
        return
    words = "committed at once" if ours else "taken; the answer will come to our listener, which must run"
    diagnosis.add(subject, Verdict.WELL, words)


def _words(diagnosis: Diagnosis, error: CxrError) -> str:
    return str(error).removeprefix(f"{diagnosis.peer}: ")


def cleaning(peer: str, left: Sequence[TestObject]) -> list[str]:
    """Say what to delete, and where."""
    if not left:
        return []
    return [
        f"To clean up, delete this study of the patient {PATIENT_ID} in {peer}:",
        f"  {left[0].identity.study_instance_uid}",
        f"with {len(left)} {'object' if len(left) == 1 else 'objects'}:",
        *(f"  {test.identity.sop_instance_uid}  ({NAMES[test.kind]})" for test in left),
    ]
