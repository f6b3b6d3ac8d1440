"""What odd requesters propose, and what the listener makes of it: roles, extended items, orders, numbers."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from builders import CR_STORAGE, DX_FOR_PRESENTATION, build_film, compress, to_bytes
from parts import free_port
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from pynetdicom import AE, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import AllStoragePresentationContexts
from scripted_pacs import end_server

from dicom_io.negotiation import ACCEPTED_SOP_CLASSES
from dicom_io.scp import ListenerAddress, ReceivedInstance, StorageListener, StoreStatus

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
BREAST_TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
UNKNOWN = "1.2.826.0.1.3680043.10.1588.99.1000"


class Site:
    """A listener and what it was given: transfer syntax and bytes of each object."""

    def __init__(self, folder: Path, *, any_storage: bool = False, max_pdu_bytes: int = 131_072) -> None:
        self.port, self.stored = free_port(), list[tuple[str, bytes]]()
        self.listener = StorageListener(
            ListenerAddress(
                *("CXRWORKER", "127.0.0.1", self.port), any_storage=any_storage, max_pdu_bytes=max_pdu_bytes
            ),
            folder,
            admit=lambda peer: True,
            store=self._store,
            refused=lambda peer, reason, words: None,
        )

    def _store(self, instance: ReceivedInstance) -> StoreStatus:
        self.stored.append((instance.transfer_syntax_uid, instance.path.read_bytes()))
        return StoreStatus.SUCCESS

    def associate(
        self, *contexts: tuple[str, Sequence[str]], ext_neg: Sequence[Any] = (), pdu: int = 16382
    ) -> Any:
        entity = AE(ae_title="ODD")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        for abstract, syntaxes in contexts:
            entity.add_requested_context(abstract, list(syntaxes))
        return entity.associate(
            "127.0.0.1", self.port, ae_title="CXRWORKER", ext_neg=list(ext_neg), max_pdu=pdu
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("incoming"))
    made.listener.start()
    yield made
    end_server(made.listener.stop, made.port)


@pytest.fixture(autouse=True)
def nothing_stored(site: Site) -> None:
    site.stored.clear()


EXPLICIT = (str(ExplicitVRLittleEndian),)


def user_identity(kind: int) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field = b"modality"
    if kind == 2:
        item.secondary_field = b"secret"
    item.positive_response_requested = True
    return item


def extended() -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = CR_STORAGE
    # Level 2 storage, no signatures, no coercion wished for (PS3.4 table B.3-1).
    item.service_class_application_information = b"\x02\x00\x00\x00\x00\x00"
    return item


def common_extended() -> SOPClassCommonExtendedNegotiation:
    item = SOPClassCommonExtendedNegotiation()
    item.sop_class_uid = CR_STORAGE
    item.service_class_uid = "1.2.840.10008.4.2"
    return item


def window(invoked: int, performed: int) -> AsynchronousOperationsWindowNegotiation:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = invoked
    item.maximum_number_operations_performed = performed
    return item


@pytest.mark.parametrize(
    "items",
    [
        [build_role(CR_STORAGE, scu_role=True)],
        [build_role(CR_STORAGE, scp_role=True)],
        [build_role(CR_STORAGE, scu_role=True, scp_role=True)],
        [build_role(UNKNOWN, scu_role=True)],
        [extended()],
        [common_extended()],
        [user_identity(1)],
        [user_identity(2)],
        [window(5, 5)],
        [window(0, 0)],
        [
            build_role(CR_STORAGE, scu_role=True),
            extended(),
            common_extended(),
            user_identity(1),
            window(3, 1),
        ],
    ],
    ids=[
        *("scu role", "scp role", "both roles", "role of another class", "extended", "common extended"),
        *("user", "user and password", "five at once", "any number at once", "everything"),
    ],
)
def test_what_is_negotiated_beside_contexts_does_not_keep_a_film_out(site: Site, items: list[Any]) -> None:
    association = site.associate((CR_STORAGE, EXPLICIT), ext_neg=items)
    assert association.is_established
    # An item that is not understood is left unanswered (PS3.7 annex D.3): one operation at a time, say.
    assert association.acceptor.asynchronous_operations == (1, 1)
    assert association.acceptor.user_identity is None
    assert association.send_c_store(build_film()).Status == 0x0000
    association.release()
    assert len(site.stored) == 1


def test_of_several_syntaxes_in_one_context_the_senders_first_is_taken(site: Site) -> None:
    proposed = [str(RLELossless), str(JPEG2000Lossless), str(ExplicitVRLittleEndian)]
    for order in (proposed, proposed[::-1]):
        association = site.associate((CR_STORAGE, order))
        assert [str(c.transfer_syntax[0]) for c in association.accepted_contexts] == order[:1]
        association.release()


def test_each_context_of_one_class_is_negotiated_for_itself(site: Site) -> None:
    association = site.associate(
        (CR_STORAGE, ["1.2.840.10008.1.2.4.100", str(JPEG2000Lossless), str(ExplicitVRLittleEndian)]),
        (CR_STORAGE, [str(ExplicitVRLittleEndian), str(JPEG2000Lossless)]),
        (CR_STORAGE, [str(ImplicitVRLittleEndian)]),
        (CR_STORAGE, ["1.2.840.10008.1.2.4.100"]),
    )
    accepted = [str(context.transfer_syntax[0]) for context in association.accepted_contexts]
    assert accepted == [str(JPEG2000Lossless), str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
    assert len(association.rejected_contexts) == 1, "MPEG2 holds no film"
    association.release()


def test_a_sender_of_implicit_vr_alone_is_served(site: Site) -> None:
    film = build_film()
    film.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    association = site.associate((CR_STORAGE, [str(ImplicitVRLittleEndian)]))
    assert association.send_c_store(film).Status == 0x0000
    association.release()
    assert [syntax for syntax, _ in site.stored] == [str(ImplicitVRLittleEndian)]


def test_a_sender_that_prefers_compression_sends_what_it_holds(site: Site) -> None:
    film = dcmread(BytesIO(to_bytes(compress(build_film(), RLELossless))))
    association = site.associate((CR_STORAGE, [str(RLELossless), str(ImplicitVRLittleEndian)]))
    assert association.send_c_store(film).Status == 0x0000
    association.release()
    assert [syntax for syntax, _ in site.stored] == [str(RLELossless)]


def test_128_contexts_most_of_them_unknown_leave_room_for_the_film(site: Site) -> None:
    contexts = [(f"{UNKNOWN}.{number}", EXPLICIT) for number in range(126)]
    association = site.associate(*contexts, (STUDY_ROOT_FIND, EXPLICIT), (CR_STORAGE, EXPLICIT))
    assert [str(c.abstract_syntax) for c in association.accepted_contexts] == [CR_STORAGE]
    assert len(association.rejected_contexts) == 127
    assert {context.result for context in association.rejected_contexts} == {3}, (
        "abstract syntax not supported"
    )
    assert association.send_c_store(build_film()).Status == 0x0000
    association.release()


@pytest.mark.parametrize("pdu", [0, 4096, 1_000_000])
def test_a_sender_of_any_pdu_size_is_served_and_told_ours(site: Site, pdu: int) -> None:
    association = site.associate((CR_STORAGE, EXPLICIT), pdu=pdu)
    assert association.acceptor.maximum_length == 131_072
    assert association.send_c_store(build_film()).Status == 0x0000
    association.release()


def test_any_storage_takes_every_class_of_the_standard_and_nothing_else(tmp_path: Path) -> None:
    storage = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    assert {CT_STORAGE, BREAST_TOMOSYNTHESIS, CR_STORAGE} <= set(storage)
    site = Site(tmp_path, any_storage=True)
    site.listener.start()
    try:
        for begin in range(0, len(storage), 120):
            proposed = storage[begin : begin + 120]
            association = site.associate(*((uid, EXPLICIT) for uid in proposed))
            assert [str(c.abstract_syntax) for c in association.accepted_contexts] == proposed
            association.release()
        association = site.associate((CT_STORAGE, EXPLICIT), (STUDY_ROOT_FIND, EXPLICIT), (UNKNOWN, EXPLICIT))
        assert [str(c.abstract_syntax) for c in association.accepted_contexts] == [CT_STORAGE]
        film = build_film(SOPClassUID=CT_STORAGE)
        assert association.send_c_store(film).Status == 0x0000
        association.release()
    finally:
        end_server(site.listener.stop, site.port)
    assert len(site.stored) == 1


def test_the_classes_of_a_chest_study_are_there() -> None:
    assert {CR_STORAGE, DX_FOR_PRESENTATION} <= set(ACCEPTED_SOP_CLASSES)
    assert CT_STORAGE not in ACCEPTED_SOP_CLASSES
