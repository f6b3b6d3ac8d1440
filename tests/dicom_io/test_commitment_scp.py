"""Storage Commitment at our port, by a requester on a real socket: asked of us, and answered to us."""

import threading
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from parts import free_port, wait_until
from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from scripted_pacs import end_server

from dicom_io import commitment_scp
from dicom_io.association import Target
from dicom_io.commitment_scp import (
    PUSH_MODEL,
    PUSH_MODEL_INSTANCE,
    CommitmentAnswer,
    CommitmentService,
    FailureReason,
    Reference,
)
from dicom_io.errors import NotDicom
from dicom_io.scp import ListenerAddress, StorageListener, StoreStatus

EXPLICIT_LE = "1.2.840.10008.1.2.1"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
HELD, UNKNOWN, NOT_KEPT = (Reference(CR_STORAGE, f"1.2.3.{number}") for number in (1, 2, 3))
REASONS = {
    UNKNOWN: FailureReason.NO_SUCH_INSTANCE,
    NOT_KEPT: FailureReason.PROCESSING_FAILURE,
}


class Site:
    """A listener that commits to one instance, and a requester that also listens."""

    def __init__(self, folder: Path) -> None:
        self.port, self.requester_port = free_port(), free_port()
        self.answers: list[CommitmentAnswer] = []
        self.taken = True
        self.address: Target | None = None
        self.service = CommitmentService(
            assess=self._assess, answered=self._answered, address_of=lambda aet, host: self.address
        )
        self.listener = StorageListener(
            ListenerAddress("CXRWORKER", "127.0.0.1", self.port),
            folder,
            admit=lambda peer: True,
            store=lambda instance: StoreStatus.SUCCESS,
            refused=lambda peer, reason, words: None,
            commitment=self.service,
        )
        self.reports: list[tuple[str, int, Dataset]] = []
        """What the requester was told: where, event type, event information."""
        self.reported = Event()
        self.go_on = Event()
        """While it is not set, nothing is looked up."""
        self.go_on.set()

    def _assess(self, reference: Reference) -> FailureReason | None:
        self.go_on.wait(60)
        return REASONS.get(reference)

    def _answered(self, answer: CommitmentAnswer) -> bool:
        self.answers.append(answer)
        return self.taken

    def report_handler(self, where: str, status: int = 0x0000) -> tuple[Any, Any]:
        def take(event: Any) -> tuple[int, None]:
            self.reports.append((where, event.event_type, event.event_information))
            self.reported.set()
            return status, None

        return evt.EVT_N_EVENT_REPORT, take

    def associate(self, *handlers: Any, roles: bool = True, as_scp: bool = False) -> Any:
        entity = AE(ae_title="MODALITY")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        entity.add_requested_context(PUSH_MODEL, EXPLICIT_LE)
        role = build_role(PUSH_MODEL, scu_role=not as_scp, scp_role=as_scp)
        return entity.associate(
            "127.0.0.1",
            self.port,
            ae_title="CXRWORKER",
            ext_neg=[role] if roles else [],
            evt_handlers=list(handlers),
        )


def action(*references: Reference, transaction_uid: str = "1.2.3.4.5") -> Dataset:
    answer = CommitmentAnswer(transaction_uid, references, ())
    return commitment_scp.encode_answer(answer)


def ask(association: Any, information: Dataset, kind: int = 1) -> int:
    status, _ = association.send_n_action(information, kind, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    return int(status.Status)


def told(information: Dataset) -> CommitmentAnswer:
    return commitment_scp.read_answer(information)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(commitment_scp, "RELEASE_GRACE_S", 0.3)
    monkeypatch.setattr(commitment_scp, "ANSWER_TRIES_AFTER_S", (0.0, 0.3))
    made = Site(tmp_path)
    made.listener.start()
    yield made
    end_server(made.listener.stop, made.port)


def test_a_requester_that_waits_is_answered_on_its_own_association(site: Site) -> None:
    association = site.associate(site.report_handler("same"))
    assert ask(association, action(HELD)) == 0x0000
    assert site.reported.wait(20)
    association.release()
    ((where, kind, information),) = site.reports
    assert (where, kind) == ("same", 1)
    assert told(information) == CommitmentAnswer("1.2.3.4.5", (HELD,), ())


def test_each_instance_that_is_not_committed_has_its_reason(site: Site) -> None:
    association = site.associate(site.report_handler("same"), roles=False)
    assert ask(association, action(HELD, UNKNOWN, NOT_KEPT)) == 0x0000
    assert site.reported.wait(20)
    association.release()
    ((_, kind, information),) = site.reports
    assert kind == 2, "complete, failures exist"
    assert told(information) == CommitmentAnswer(
        "1.2.3.4.5", (HELD,), ((UNKNOWN, 0x0112), (NOT_KEPT, 0x0110))
    )


def requester(site: Site, status: int = 0x0000) -> Any:
    entity = AE(ae_title="MODALITY")
    entity.add_supported_context(PUSH_MODEL, EXPLICIT_LE, scu_role=True, scp_role=True)
    server = entity.start_server(
        ("127.0.0.1", site.requester_port), block=False, evt_handlers=[site.report_handler("new", status)]
    )
    site.address = Target("MODALITY", "127.0.0.1", site.requester_port, "CXRWORKER", timeout_s=10)
    return server


def test_a_requester_that_has_left_is_answered_where_it_listens(site: Site) -> None:
    server = requester(site)
    try:
        association = site.associate(site.report_handler("same"))
        assert ask(association, action(HELD)) == 0x0000
        association.release()
        assert site.reported.wait(20)
    finally:
        end_server(server.shutdown, site.requester_port)
    assert [(where, kind) for where, kind, _ in site.reports] == [("new", 1)]


def test_a_requester_that_refuses_the_answer_on_its_association_gets_it_where_it_listens(site: Site) -> None:
    server = requester(site)
    try:
        association = site.associate(site.report_handler("same", status=0x0110))
        assert ask(association, action(HELD)) == 0x0000
        wait_until(lambda: len(site.reports) == 2, "both answers")
        association.release()
    finally:
        end_server(server.shutdown, site.requester_port)
    assert [where for where, _, _ in site.reports] == ["same", "new"]


def test_an_answer_that_is_not_taken_is_tried_again_and_then_given_up(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    server = requester(site, status=0x0110)
    try:
        association = site.associate()
        assert ask(association, action(HELD)) == 0x0000
        association.release()
        wait_until(lambda: "it does not take it" in caplog.text, "the answer to be given up")
    finally:
        end_server(server.shutdown, site.requester_port)
    assert [where for where, _, _ in site.reports] == ["new", "new"]


def test_no_more_requests_are_taken_than_can_be_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment_scp, "MOST_REQUESTS_AT_ONCE", 2)
    site = Site(tmp_path)
    site.go_on.clear()
    site.listener.start()
    association = site.associate(site.report_handler("same"))
    before = set(threading.enumerate())
    uids = [f"1.2.3.4.{number}" for number in range(4)]
    statuses = [ask(association, action(HELD, transaction_uid=uid)) for uid in uids[:3]]
    site.go_on.set()
    wait_until(lambda: len(site.reports) == 2, "both answers")
    # The requester has an answer a moment before its thread ends and makes room.
    wait_until(lambda: not any(t.name == "commitment" for t in set(threading.enumerate()) - before), "room")
    statuses.append(ask(association, action(HELD, transaction_uid=uids[3])))
    wait_until(lambda: len(site.reports) == 3, "the third answer")
    association.release()
    end_server(site.listener.stop, site.port)
    assert statuses == [0x0000, 0x0000, 0x0213, 0x0000]


def test_a_requester_that_has_left_and_whose_port_nobody_told_is_named(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    association = site.associate()
    assert ask(association, action(HELD)) == 0x0000
    association.release()
    wait_until(lambda: "its [[sender]] has no port" in caplog.text, "the warning")


def test_a_request_that_makes_no_sense_is_answered_with_what_is_wrong(site: Site) -> None:
    association = site.associate()
    assert ask(association, action(HELD, transaction_uid="")) == 0x0115
    assert ask(association, action()) == 0x0115
    assert ask(association, action(HELD), kind=7) == 0x0123
    association.release()
    assert site.reports == []


def test_without_commitment_a_request_is_refused_and_our_own_are_still_answered(site: Site) -> None:
    site.service._assess = None
    association = site.associate()
    assert ask(association, action(HELD)) == 0x0124
    association.release()
    association = site.associate(as_scp=True)
    status, _ = association.send_n_event_report(action(HELD), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    association.release()
    assert status.Status == 0x0000
    assert site.answers == [CommitmentAnswer("1.2.3.4.5", (HELD,), ())]


@pytest.mark.parametrize("as_scp", [True, False], ids=["with its role", "without roles"])
def test_the_answer_to_our_request_is_handed_on(site: Site, as_scp: bool) -> None:
    information = commitment_scp.encode_answer(CommitmentAnswer("1.2.9", (HELD,), ((UNKNOWN, 0x0112),)))
    association = site.associate(as_scp=as_scp, roles=as_scp)
    if as_scp:
        assert association.accepted_contexts[0].as_scp, "the role that it proposed is granted"
    # What pynetdicom asks of itself before it sends is not ours to ask of a PACS.
    association.accepted_contexts[0]._as_scp = True
    status, _ = association.send_n_event_report(information, 2, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    association.release()
    assert status.Status == 0x0000
    assert site.answers == [CommitmentAnswer("1.2.9", (HELD,), ((UNKNOWN, 0x0112),))]


def test_an_answer_that_we_cannot_write_is_to_be_sent_again(site: Site) -> None:
    site.taken = False
    association = site.associate(as_scp=True)
    status, _ = association.send_n_event_report(action(HELD), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE)
    assert status.Status == 0x0110
    status, _ = association.send_n_event_report(
        action(HELD, transaction_uid=""), 1, PUSH_MODEL, PUSH_MODEL_INSTANCE
    )
    association.release()
    assert status.Status == 0x0115


def test_an_answer_without_a_transaction_is_an_error() -> None:
    with pytest.raises(NotDicom, match="Transaction UID"):
        commitment_scp.read_answer(Dataset())
