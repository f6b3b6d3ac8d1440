"""What we promise a sender to keep: only what is here, whole, and stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from builders import build_film, to_bytes
from rows import analyse, change, delivery, receive
from sqlalchemy import Engine

from dicom_io.commitment_scp import CommitmentAnswer, FailureReason, Reference
from dicom_io.headers import OWN_MANUFACTURER
from dicom_io.spool import Folder
from worker import database
from worker.keeping import Keeper
from worker.settings import Listener, ListenerTls, Sender, Settings
from worker.tables import Commitment, Image

CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.11"
UID = "1.2.3"


@pytest.fixture
def make(tmp_path: Path, sqlite_engine: Engine) -> Callable[..., Keeper]:
    def keeper(**settings: Any) -> Keeper:
        chosen = Settings(**{"data": tmp_path / "data", "node_id": "test", "retention": "keep", **settings})
        return Keeper(chosen, sqlite_engine, Folder(chosen.data / "spool"))

    return keeper


@pytest.fixture
def keeper(make: Callable[..., Keeper], sqlite_engine: Engine) -> Keeper:
    """It holds one film."""
    made = make()
    receive(sqlite_engine, UID, stored=made._spool.write(to_bytes(build_film(SOPInstanceUID=UID))))
    return made


def test_a_film_that_is_kept_for_ever_is_committed(keeper: Keeper) -> None:
    assert keeper.assess(Reference(CR_STORAGE, UID)) is None


def test_what_may_be_removed_one_day_is_not_committed(keeper: Keeper, make: Callable[..., Keeper]) -> None:
    for days in (30, 3650):
        assert make(retention=days).assess(Reference(CR_STORAGE, UID)) == FailureReason.PROCESSING_FAILURE
    assert make(retention=30).assess(Reference(CR_STORAGE, "1.9")) == FailureReason.NO_SUCH_INSTANCE


def test_what_is_not_here_or_of_another_class_is_told_apart(keeper: Keeper) -> None:
    assert keeper.assess(Reference(CR_STORAGE, "1.2.4")) == FailureReason.NO_SUCH_INSTANCE
    assert keeper.assess(Reference(SR_STORAGE, UID)) == FailureReason.CLASS_INSTANCE_CONFLICT


def test_a_film_that_is_damaged_or_gone_is_not_committed(keeper: Keeper) -> None:
    (file,) = keeper._spool.root.glob("??/*.dcm")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert keeper.assess(Reference(CR_STORAGE, UID)) == FailureReason.PROCESSING_FAILURE
    file.unlink()
    assert keeper.assess(Reference(CR_STORAGE, UID)) == FailureReason.PROCESSING_FAILURE


def test_an_object_of_which_only_the_header_is_kept_is_not_committed(
    keeper: Keeper, sqlite_engine: Engine
) -> None:
    change(sqlite_engine, Image, 1, header_name="0" * 64)
    assert keeper.assess(Reference(CR_STORAGE, UID)) == FailureReason.PROCESSING_FAILURE


def test_what_a_worker_will_strip_is_not_committed_though_none_has_come_to_it(
    keeper: Keeper, sqlite_engine: Engine
) -> None:
    """A sender asks right after it sent: on our word it would delete its only copy."""
    objects = (
        build_film(SOPInstanceUID="1.2.5", SOPClassUID=SR_STORAGE, PixelData=None),
        build_film(SOPInstanceUID="1.2.6", NumberOfFrames=2),
        build_film(SOPInstanceUID="1.2.7", Manufacturer=OWN_MANUFACTURER),
        build_film(SOPInstanceUID="1.2.8"),
    )
    for film in objects:
        receive(sqlite_engine, str(film.SOPInstanceUID), stored=keeper._spool.write(to_bytes(film)))
    # The name of each row's class is the listener's; here all came as CR.
    reasons = [keeper.assess(Reference(CR_STORAGE, str(film.SOPInstanceUID))) for film in objects]
    assert reasons == [FailureReason.PROCESSING_FAILURE] * 3 + [None]


def test_a_result_of_ours_that_came_back_is_not_committed(keeper: Keeper, sqlite_engine: Engine) -> None:
    (uid,) = analyse(sqlite_engine, uid="1.2.4").uids
    film = build_film(SOPInstanceUID=uid)
    receive(sqlite_engine, uid, stored=keeper._spool.write(to_bytes(film)))
    assert keeper.assess(Reference(CR_STORAGE, uid)) == FailureReason.PROCESSING_FAILURE


def test_of_two_films_under_one_uid_both_must_be_whole(keeper: Keeper, sqlite_engine: Engine) -> None:
    receive(
        sqlite_engine, UID, content="second", stored=keeper._spool.write(to_bytes(build_film(PatientID="2")))
    )
    assert keeper.assess(Reference(CR_STORAGE, UID)) is None
    with database.read(sqlite_engine) as session:
        second = session.get_one(Image, 2).spool_name
    keeper._spool.remove(second)
    assert keeper.assess(Reference(CR_STORAGE, UID)) == FailureReason.PROCESSING_FAILURE


def test_a_database_that_is_away_commits_to_nothing(keeper: Keeper, sqlite_engine: Engine) -> None:
    with sqlite_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE image RENAME TO elsewhere")
    assert keeper.assess(Reference(CR_STORAGE, UID)) == FailureReason.PROCESSING_FAILURE
    assert keeper.answered(CommitmentAnswer("1.2", (Reference(CR_STORAGE, UID),), ())) is True
    with sqlite_engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE commitment RENAME TO elsewhere2")
    assert keeper.answered(CommitmentAnswer("1.2", (Reference(CR_STORAGE, UID),), ())) is False


def test_the_answer_of_a_destination_confirms_its_delivery(
    make: Callable[..., Keeper], sqlite_engine: Engine
) -> None:
    made = analyse(sqlite_engine, destinations=[("pacs", "commitment")])
    (delivery_id,), (uid,) = made.delivery_ids, made.uids
    with database.write(sqlite_engine) as session:
        session.add(
            Commitment(delivery_id=delivery_id, transaction_uid="1.2.9", asked_at=database.now(session))
        )
    answer = CommitmentAnswer("1.2.9", (Reference(SR_STORAGE, uid),), ())
    assert make().answered(answer) is True
    assert delivery(sqlite_engine, delivery_id).state == "confirmed"


def test_a_requester_is_answered_where_its_sender_says(make: Callable[..., Keeper]) -> None:
    keeper = make(
        listener=Listener(aet="AI"),
        sender=(
            Sender(aet="CT1"),
            Sender(aet="CR1", host="10.0.0.1", port=104),
            Sender(aet="CR2", port=11113),
        ),
    )
    target = keeper.address_of("CR1", "10.0.0.1")
    assert target is not None
    assert (target.aet, target.host, target.port, target.calling_aet) == ("CR1", "10.0.0.1", 104, "AI")
    assert target.tls is None
    anywhere = keeper.address_of("CR2", "10.0.0.7")
    assert anywhere is not None
    assert (anywhere.host, anywhere.port) == ("10.0.0.7", 11113)
    assert keeper.address_of("CR1", "10.0.0.2") is None
    assert keeper.address_of("CT1", "10.0.0.1") is None


@pytest.mark.parametrize(("ca", "named"), [(None, True), (Path("ca.pem"), False)])
def test_without_authorities_of_our_own_a_requester_must_be_named_by_its_certificate(
    make: Callable[..., Keeper], ca: Path | None, named: bool
) -> None:
    tls = ListenerTls(certificate=Path("a.pem"), ca=ca, require_client_certificate=ca is not None)
    sender = (Sender(aet="CR1", host="10.0.0.1", port=104, tls=True),)
    target = make(listener=Listener(tls=tls), sender=sender).address_of("CR1", "10.0.0.1")
    assert target is not None
    assert target.check_hostname is named


def test_commitment_is_off_unless_switched_on(make: Callable[..., Keeper]) -> None:
    assert make().service()._assess is None
    assert make(listener=Listener(commitment=True)).service()._assess is not None
