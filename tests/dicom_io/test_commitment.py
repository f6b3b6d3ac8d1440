"""Asking for storage commitment, and the answers that a peer may give."""

import time
from typing import Any

import pytest
from builders import CR_STORAGE, build_film
from parts import SOCKETS_LEFT
from scripted_pacs import ScriptedPacs

from dicom_io import commitment
from dicom_io.association import Target
from dicom_io.commitment import FAILURE_TABLE, FollowUp, follow_up_of
from dicom_io.commitment_scp import CommitmentAnswer, Reference
from dicom_io.errors import DestinationError, Unreachable

pytestmark = SOCKETS_LEFT

TRANSACTION = "2.25.1234"
FILM = build_film()
REFERENCE = Reference(CR_STORAGE, str(FILM.SOPInstanceUID))


def ask(pacs: ScriptedPacs, wait_s: float = 10.0) -> tuple[CommitmentAnswer, ...]:
    target = Target(pacs.aet, "127.0.0.1", pacs.port, "CXRWORKER", 20)
    return commitment.request(target, TRANSACTION, REFERENCE, wait_s=wait_s)


def test_an_object_that_is_held_is_committed_on_the_same_association() -> None:
    with ScriptedPacs.running() as pacs:
        pacs.held[FILM.SOPInstanceUID] = FILM
        began = time.monotonic()
        (answer,) = ask(pacs)
    assert time.monotonic() - began < 5, "it does not wait longer than the answer takes"
    assert (answer.transaction_uid, answer.committed, answer.failed) == (TRANSACTION, (REFERENCE,), ())
    assert pacs.asked == [(TRANSACTION, [REFERENCE.sop_instance_uid])]


def test_the_peer_gets_our_response_to_its_answer_before_the_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take = commitment._Answers.take

    def on_a_busy_machine(answers: commitment._Answers, event: Any) -> tuple[int, None]:
        taken = take(answers, event)
        time.sleep(0.5)
        return taken

    monkeypatch.setattr(commitment._Answers, "take", on_a_busy_machine)
    with ScriptedPacs.running() as pacs:
        ask(pacs)
        assert pacs.responses.get(timeout=20) == 0x0000


def test_an_object_that_is_not_held_fails_with_its_reason() -> None:
    with ScriptedPacs.running() as pacs:
        (answer,) = ask(pacs)
    assert (answer.committed, answer.failed) == ((), ((REFERENCE, 0x0112),))


def test_a_peer_that_answers_later_is_not_waited_for() -> None:
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        assert ask(pacs, wait_s=0.1) == ()


def test_a_peer_without_storage_commitment_is_told_with_the_setting_that_helps() -> None:
    with ScriptedPacs.running(commits=False) as pacs, pytest.raises(DestinationError, match='proof = "find"'):
        ask(pacs)


def test_a_question_that_is_not_taken_is_told_with_its_status() -> None:
    with (
        ScriptedPacs.running(commitment_status=0x0110) as pacs,
        pytest.raises(DestinationError, match="0x0110"),
    ):
        ask(pacs)


def test_nobody_there_is_unreachable() -> None:
    with ScriptedPacs.running() as pacs:
        pass
    with pytest.raises(Unreachable):
        ask(pacs)


@pytest.mark.parametrize(
    ("reason", "follow_up"),
    [
        (0x0110, FollowUp.ASK_AGAIN),
        (0x0112, FollowUp.SEND_AGAIN),
        (0x0119, FollowUp.ASK_FOR_A_DAY),
        (0x0122, FollowUp.ASK_FOR_A_DAY),
        (0x0131, FollowUp.ASK_AGAIN),
        (0x0213, FollowUp.ASK_AGAIN),
        (0xFFFF, FollowUp.ASK_AGAIN),
    ],
)
def test_each_failure_reason_has_its_follow_up(reason: int, follow_up: FollowUp) -> None:
    found, words = follow_up_of(reason)
    assert found == follow_up
    assert words == FAILURE_TABLE.get(reason, (None, "unknown reason"))[1]
