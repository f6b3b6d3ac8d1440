"""The listener on real sockets: what it negotiates, stores and refuses, and what garbage does to it."""

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path
from typing import Any, cast

import pytest
from builders import CR_STORAGE, DX_FOR_PRESENTATION, build_film, to_bytes
from parts import SOCKETS_LEFT, free_port, wait_until
from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from scripted_pacs import end_server

from dicom_io import intake, negotiation, scu
from dicom_io.scp import ListenerAddress, Peer, ReceivedInstance, StorageListener, StoreStatus
from dicom_io.scu import Target

pytestmark = SOCKETS_LEFT

VERIFICATION = "1.2.840.10008.1.1"
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
UID = "1.2.826.0.1.3680043.10.1588.99.7"


MAX_OBJECT_BYTES = 2 * 2**20


@dataclass
class Site:
    """A listener and a record of what it called back."""

    folder: Path
    port: int = field(default_factory=free_port)
    answer: StoreStatus = StoreStatus.SUCCESS
    stored: list[tuple[ReceivedInstance, bytes]] = field(default_factory=list)
    rejected: list[tuple[Peer, str, str]] = field(default_factory=list)

    @property
    def incoming(self) -> Path:
        return self.folder / "incoming"

    def listener(self) -> StorageListener:
        return StorageListener(
            ListenerAddress(
                "CXRWORKER", "127.0.0.1", self.port, max_associations=4, max_object_bytes=MAX_OBJECT_BYTES
            ),
            self.incoming,
            admit=lambda peer: peer.aet == "STORESCU",
            store=self.store,
            refused=lambda *rejection: self.rejected.append(rejection),
        )

    def store(self, instance: ReceivedInstance) -> StoreStatus:
        self.stored.append((instance, instance.path.read_bytes()))
        return self.answer

    def associate(self, *contexts: tuple[str, str], aet: str = "STORESCU") -> Any:
        entity = AE(ae_title=aet)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        for abstract, syntax in contexts:
            entity.add_requested_context(abstract, syntax)
        return entity.associate("127.0.0.1", self.port, ae_title="CXRWORKER")

    @contextmanager
    def raw(self) -> Iterator[Any]:
        """An association whose messages the test sends and takes itself."""
        association = self.associate((CR_STORAGE, EXPLICIT_LE))
        association._reactor_checkpoint.clear()
        wait_until(lambda: association._is_paused, "the reactor to pause")
        try:
            yield association
        finally:
            association._reactor_checkpoint.set()
            association.release()

    def echoes(self) -> bool:
        return scu.echo(Target("CXRWORKER", "127.0.0.1", self.port, "STORESCU", timeout_s=10))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "spool")
    made.incoming.mkdir(parents=True)
    listener = made.listener()
    listener.start()
    yield made
    end_server(listener.stop, made.port)


def request(uid: str, sop_class: str = CR_STORAGE, data: bytes = b"") -> C_STORE:
    """A C-STORE request with that command set and those bytes as data set, whatever they are."""
    primitive = C_STORE()
    primitive.MessageID = 1
    primitive.Priority = 2
    primitive.AffectedSOPClassUID = sop_class
    primitive.AffectedSOPInstanceUID = uid
    primitive.DataSet = BytesIO(data or b"\x08\x00\x05\x00CS\x04\x00ISO ")
    return primitive


def exchange(association: Any, primitive: C_STORE) -> int:
    """Send a request as it is; returns the status of the answer."""
    association.dimse.send_msg(primitive, association.accepted_contexts[0].context_id)
    return int(answer_to(association).Status)


def answer_to(association: Any) -> C_STORE:
    """The next message that comes."""
    _, answer = association.dimse.get_msg(block=True)
    assert answer is not None, "the association ended without an answer"
    return cast("C_STORE", answer)


def store_raw(site: Site, primitive: C_STORE) -> int:
    with site.raw() as association:
        return exchange(association, primitive)


def everything_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_film_is_handed_over_as_it_was_sent(site: Site) -> None:
    film = build_film()
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    assert association.send_c_store(film).Status == 0x0000
    association.release()
    ((instance, encoded),) = site.stored
    assert instance.sop_instance_uid == film.SOPInstanceUID
    assert instance.sop_class_uid == CR_STORAGE
    assert instance.transfer_syntax_uid == EXPLICIT_LE
    assert instance.peer == Peer("STORESCU", "127.0.0.1")
    assert instance.path.parent == site.incoming
    assert dcmread(BytesIO(encoded)) == film


@pytest.mark.parametrize("uid", ["../../../tmp/evil", "1.2.3/4", "1.2.x", "1.2 3"])
def test_a_uid_of_other_than_digits_and_dots_is_answered_0117_and_stored_nowhere(
    site: Site, uid: str
) -> None:
    before = everything_below(site.folder.parent)
    assert store_raw(site, request(uid)) == 0x0117
    assert site.stored == []
    ((peer, reason, detail),) = site.rejected
    assert (peer.aet, reason) == ("STORESCU", "invalid_uid")
    assert uid not in detail
    wait_until(lambda: everything_below(site.folder.parent) == before, "the incoming file to go")
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    ("keyword", "status"),
    [("AffectedSOPInstanceUID", 0x0117), ("AffectedSOPClassUID", 0x0117), ("MessageID", 0xC000)],
)
def test_a_request_that_lacks_a_field_is_answered_and_the_association_lives(
    site: Site, keyword: str, status: int
) -> None:
    with site.raw() as association:
        message = C_STORE_RQ()
        message.primitive_to_message(request(UID))
        delattr(message.command_set, keyword)
        send_fragments(association, message)
        assert answer_to(association).Status == status
        ((peer, reason, detail),) = site.rejected
        assert peer == Peer("STORESCU", "127.0.0.1")
        assert reason == ("incomplete_request" if keyword == "MessageID" else "invalid_uid")
        assert keyword in detail
        assert exchange(association, request(f"{UID}.2")) == 0x0000
    assert [instance.sop_instance_uid for instance, _ in site.stored] == [f"{UID}.2"]
    assert list(site.incoming.iterdir()) == []


@pytest.mark.parametrize("uid", ["", "1." + "2" * 63, "1" * 200])
def test_a_uid_that_is_empty_or_too_long_is_answered_0117_and_the_association_lives(
    site: Site, uid: str
) -> None:
    with site.raw() as association:
        message = C_STORE_RQ()
        message.primitive_to_message(request(UID))
        message.command_set.AffectedSOPInstanceUID = uid
        send_fragments(association, message)
        assert answer_to(association).Status == 0x0117
        assert exchange(association, request(f"{UID}.2")) == 0x0000
    assert [reason for _, reason, _ in site.rejected] == ["invalid_uid"]


def test_a_request_without_a_data_set_is_answered_c000_and_the_association_lives(site: Site) -> None:
    with site.raw() as association:
        message = C_STORE_RQ()
        message.primitive_to_message(request(UID))
        message.command_set.CommandDataSetType = 0x0101
        message.data_set = None
        send_fragments(association, message)
        assert answer_to(association).Status == 0xC000
        assert exchange(association, request(f"{UID}.2")) == 0x0000
    assert [instance.sop_instance_uid for instance, _ in site.stored] == [f"{UID}.2"]


def test_a_message_of_an_unknown_kind_ends_its_association_alone(site: Site) -> None:
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    message = C_STORE_RQ()
    message.primitive_to_message(request(UID))
    message.command_set.CommandField = 0x7777
    send_fragments(association, message)
    wait_until(lambda: not association.is_established, "the association to end", timeout_s=10)
    assert association.is_aborted
    assert site.stored == []
    assert site.echoes()


def test_a_message_that_is_no_film_may_not_fill_the_memory(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_OTHER_BYTES", 50_000)
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    message = C_STORE_RQ()
    message.primitive_to_message(request(UID, data=bytes(100_000)))
    message.command_set.CommandField = 0x0020  # C-FIND-RQ, whose identifier is small
    send_fragments(association, message, fraction=0.9)
    wait_until(lambda: not association.is_established, "the association to end", timeout_s=10)
    assert site.echoes()


def test_a_data_set_without_end_is_cut_off_and_leaves_no_file(site: Site) -> None:
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    message = C_STORE_RQ()
    message.primitive_to_message(request(UID, data=bytes(MAX_OBJECT_BYTES)))
    begin = list(message.encode_msg(association.accepted_contexts[0].context_id, 16384))[:-1]
    sent, raw = 0, association.dul.socket.socket
    with suppress(OSError):
        for fragment in chain(begin, repeat(begin[-1], 20_000)):
            pdu = P_DATA_TF()
            pdu.from_primitive(fragment)
            raw.sendall(pdu.encode())
            sent += 1
    assert len(begin) < sent < 20_000, "nobody hung up"
    wait_until(lambda: not association.is_established, "the association to end", timeout_s=10)
    wait_until(lambda: site.rejected, "the refusal to be told")
    assert [reason for _, reason, _ in site.rejected] == ["too_large"]
    assert (site.stored, list(site.incoming.iterdir())) == ([], [])
    assert site.echoes()


def test_an_object_of_the_largest_size_is_taken(site: Site) -> None:
    assert store_raw(site, request(UID, data=bytes(MAX_OBJECT_BYTES))) == 0x0000
    assert site.rejected == []


def test_a_class_other_than_the_negotiated_one_is_answered_0117(site: Site) -> None:
    assert store_raw(site, request(UID, sop_class=DX_FOR_PRESENTATION)) == 0x0117
    assert site.stored == []
    assert [reason for _, reason, _ in site.rejected] == ["sop_class_mismatch"]


def test_a_class_outside_the_list_is_not_negotiated(site: Site) -> None:
    association = site.associate((CT_STORAGE, EXPLICIT_LE), (CR_STORAGE, EXPLICIT_LE))
    assert [str(c.abstract_syntax) for c in association.accepted_contexts] == [CR_STORAGE]
    assert [str(c.abstract_syntax) for c in association.rejected_contexts] == [CT_STORAGE]
    association.release()


def test_every_listed_class_is_negotiated(site: Site) -> None:
    contexts = [(uid, EXPLICIT_LE) for uid in negotiation.ACCEPTED_SOP_CLASSES]
    association = site.associate(*contexts)
    assert {str(c.abstract_syntax) for c in association.accepted_contexts} == set(
        negotiation.ACCEPTED_SOP_CLASSES
    )
    association.release()


def test_every_listed_transfer_syntax_is_negotiated_and_stored_as_sent(site: Site) -> None:
    """The bytes are arbitrary: the listener must not even look at them."""
    for number, syntax in enumerate(negotiation.ACCEPTED_TRANSFER_SYNTAXES):
        association = site.associate((CR_STORAGE, syntax))
        assert association.is_established, syntax
        association._reactor_checkpoint.clear()
        sent = bytes(range(256)) * (number + 1)
        assert exchange(association, request(f"{UID}.{number}", data=sent)) == 0x0000
        association._reactor_checkpoint.set()
        association.release()
        instance, encoded = site.stored[-1]
        assert instance.transfer_syntax_uid == syntax
        assert encoded.endswith(sent)
        meta = dcmread(BytesIO(encoded[: -len(sent)]), force=True).file_meta
        assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, f"{UID}.{number}")
    assert len(site.stored) == 16


@pytest.mark.parametrize("answer", [StoreStatus.OUT_OF_RESOURCES, StoreStatus.INVALID_INSTANCE])
def test_the_status_of_the_caller_is_the_answer(site: Site, answer: StoreStatus) -> None:
    site.answer = answer
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    assert association.send_c_store(build_film()).Status == answer
    association.release()


def test_an_echo_is_answered(site: Site) -> None:
    assert site.echoes()


def test_a_calling_title_that_is_not_admitted_is_rejected_for_that_reason(site: Site) -> None:
    association = site.associate((VERIFICATION, EXPLICIT_LE), aet="STRANGER")
    assert association.is_rejected
    answer = association.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 3)
    ((peer, reason, _),) = site.rejected
    assert (peer, reason) == (Peer("STRANGER", "127.0.0.1"), "unknown_sender")


def test_more_associations_than_allowed_are_rejected_and_room_comes_back(site: Site) -> None:
    open_ones = [site.associate((VERIFICATION, EXPLICIT_LE)) for _ in range(4)]
    assert all(association.is_established for association in open_ones)
    refused = site.associate((VERIFICATION, EXPLICIT_LE))
    assert refused.is_rejected
    wait_until(lambda: site.rejected, "the rejection to be recorded")
    assert [(peer.aet, reason) for peer, reason, _ in site.rejected] == [("STORESCU", "busy")]
    for association in open_ones:
        association.release()
    wait_until(site.echoes, "a place to be free again")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\x01\x00\x00\x00\x00\x04\xff\xff\xff\xff",
        b"\x04\x00\x00\x00\x00\x06\x00\x00\x00\x02\x01\x03",
        b"\xff" * 4096,
        b"\x01\x00",
        b"",
    ],
    ids=["http", "tls", "broken request", "data at once", "ones", "half a header", "nothing"],
)
def test_garbage_on_the_port_leaves_the_listener_serving(site: Site, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as peer:
        peer.sendall(garbage)
        assert site.echoes()
    assert site.echoes()
    assert site.stored == []


def test_an_abort_in_the_middle_of_an_object_hands_nothing_over_and_leaves_no_file(site: Site) -> None:
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    message = C_STORE_RQ()
    message.primitive_to_message(request(UID, data=to_bytes(build_film())))
    send_fragments(association, message, fraction=0.5)
    wait_until(lambda: list(site.incoming.iterdir()), "the film to arrive in part")
    association.abort()
    wait_until(lambda: not list(site.incoming.iterdir()), "the part to be removed")
    assert site.stored == []
    assert site.echoes()
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    assert association.send_c_store(build_film()).Status == 0x0000
    association.release()


def send_fragments(association: Any, message: C_STORE_RQ, fraction: float = 1) -> None:
    """Send the first part of a message, as its PDUs."""
    fragments = list(message.encode_msg(association.accepted_contexts[0].context_id, 16384))
    for fragment in fragments[: round(len(fragments) * fraction)]:
        pdu = P_DATA_TF()
        pdu.from_primitive(fragment)
        association.dul.socket.send(pdu.encode())


def test_a_taken_port_is_an_error(site: Site) -> None:
    with pytest.raises(OSError, match="in use"):
        site.listener().start()


def test_an_incoming_folder_that_is_gone_is_answered_a700_and_the_association_lives(site: Site) -> None:
    site.incoming.rmdir()
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    assert association.send_c_store(build_film()).Status == 0xA700
    site.incoming.mkdir()
    assert association.send_c_store(build_film()).Status == 0x0000
    association.release()
    assert len(site.stored) == 1


def test_a_disk_that_fills_up_in_the_middle_is_answered_a700_and_the_association_lives(site: Site) -> None:
    """A file may not grow beyond the limit: writing fails there, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        assert association.send_c_store(build_film()).Status == 0xA700
        assert list(site.incoming.iterdir()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert association.send_c_store(build_film()).Status == 0x0000
    association.release()
    assert len(site.stored) == 1


def test_what_the_caller_leaves_in_the_incoming_folder_is_removed(site: Site) -> None:
    site.answer = StoreStatus.OUT_OF_RESOURCES
    association = site.associate((CR_STORAGE, EXPLICIT_LE))
    assert association.send_c_store(build_film()).Status == 0xA700
    association.release()
    assert list(site.incoming.iterdir()) == []
