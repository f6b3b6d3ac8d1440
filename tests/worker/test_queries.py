"""Every statement on both databases: the inbox, the leases, the outbox, the ledger."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta, timezone
from random import Random
from threading import Barrier

import pytest
from rows import analyse, change, delivery, digest, events, image, now, receive
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_io.headers import Header
from dicom_io.scp import Peer
from dicom_io.spool import StoredObject
from worker import database
from worker.queries import deliveries, images, ledger
from worker.queries.deliveries import DeliveryClaim
from worker.queries.images import Claim, LostLease
from worker.states import DeliveryState, ImageState
from worker.tables import Delivery, Image

KOLKATA = timezone(timedelta(hours=5, minutes=30))
A_MINUTE, AN_HOUR = timedelta(minutes=1), timedelta(hours=1)
STABLE_COLUMNS = [
    "image_id",
    "received_at",
    "state",
    "reason",
    "reason_detail",
    "decision",
    "probability",
    "threshold",
    "model_name",
    "model_version",
    "analysed_at",
    "ended_at",
    "patient_id",
    "accession_number",
    "study_date",
    "modality",
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "calling_aet",
    "sr_sop_instance_uid",
    "sc_sop_instance_uid",
    "deliveries",
    "deliveries_sent",
    "deliveries_proved",
    "fell_back_to",
]


def received(engine: Engine, uid: str = "1.2.3", content: str = "first") -> int:
    image_id = receive(engine, uid, content)
    assert image_id is not None
    return image_id


def claim(engine: Engine, image_id: int, lease_s: float = 60, actor: str = "a") -> Claim | None:
    with database.write(engine) as session:
        return images.claim(session, image_id, lease_s=lease_s, actor=actor)


def claimed(engine: Engine, image_id: int, actor: str = "a") -> Claim:
    taken = claim(engine, image_id, actor=actor)
    assert taken is not None
    return taken


def claim_delivery(engine: Engine, delivery_id: int, lease_s: float = 60) -> DeliveryClaim | None:
    with database.write(engine) as session:
        return deliveries.claim(session, delivery_id, lease_s=lease_s)


def claimed_delivery(engine: Engine, delivery_id: int) -> DeliveryClaim:
    taken = claim_delivery(engine, delivery_id)
    assert taken is not None
    return taken


def expire(engine: Engine, table: type[Image] | type[Delivery], row_id: int) -> None:
    change(engine, table, row_id, lease_until=now(engine) - A_MINUTE)


# The inbox


def test_a_film_is_recorded_with_its_first_event(engine: Engine) -> None:
    image_id = received(engine)
    found = image(engine, image_id)
    assert (found.state, found.attempts, found.calling_aet) == ("received", 0, "STORESCU")
    assert found.due_at == found.received_at
    assert events(engine, image_id) == [(None, "received")]


def test_the_same_bytes_under_the_same_uid_are_a_repeat(engine: Engine) -> None:
    received(engine)
    assert receive(engine) is None
    with database.read(engine) as session:
        assert ledger.ledger(session).received == 1


def test_other_bytes_under_the_same_uid_are_another_row(engine: Engine) -> None:
    first = received(engine)
    assert receive(engine, content="second") not in (None, first)


def test_the_same_bytes_under_another_uid_are_another_row(engine: Engine) -> None:
    first = received(engine)
    assert receive(engine, uid="1.2.4") not in (None, first)


def test_a_film_in_another_file_meta_is_a_repeat(engine: Engine) -> None:
    received(engine)
    assert (
        receive(engine, stored=StoredObject(digest("other file"), digest("content", "first"), 1001)) is None
    )


# Leases


def test_of_two_claims_one_gets_the_film(engine: Engine) -> None:
    image_id = received(engine)
    taken = claimed(engine, image_id)
    assert (taken.image_id, taken.attempt) == (image_id, 1)
    assert claim(engine, image_id) is None
    assert image(engine, image_id).state == ImageState.ANALYSING


def test_a_film_that_is_not_due_is_not_claimed(engine: Engine) -> None:
    image_id = received(engine)
    change(engine, Image, image_id, due_at=now(engine) + A_MINUTE)
    assert claim(engine, image_id) is None


@pytest.mark.parametrize("state", ["analysed", "reported", "refused", "dead"])
def test_a_film_that_is_no_work_is_not_claimed(engine: Engine, state: str) -> None:
    image_id = received(engine)
    change(engine, Image, image_id, state=state)
    assert claim(engine, image_id) is None


def test_a_film_that_does_not_exist_is_not_claimed(engine: Engine) -> None:
    assert claim(engine, 4711) is None


def test_a_lease_that_ran_out_lets_another_in_and_the_first_writes_nothing(engine: Engine) -> None:
    image_id = received(engine)
    late = claimed(engine, image_id, actor="late")
    expire(engine, Image, image_id)
    successor = claimed(engine, image_id, actor="successor")
    assert successor.attempt == 2
    before = image(engine, image_id)

    for write in (
        lambda s: images.refuse(s, late, "child", "late words", actor="late"),
        lambda s: images.give_up(s, late, "x", "late words", actor="late"),
        lambda s: images.hand_back(s, late, A_MINUTE, "late words", actor="late", our_trouble=True),
        lambda s: images.describe(s, late, Header(patient_id="LATE")),
        lambda s: images.spooled(s, late),
    ):
        with pytest.raises(LostLease, match=f"image {image_id}"), database.write(engine) as session:
            write(session)
    with database.write(engine) as session:
        assert images.renew(session, late, lease_s=60) is False

    after = image(engine, image_id)
    assert (after.state, after.lease_token, after.reason, after.patient_id) == (
        ImageState.ANALYSING,
        before.lease_token,
        None,
        None,
    )
    with database.write(engine) as session:
        images.refuse(session, successor, "child", "words", actor="successor")
    assert image(engine, image_id).state == ImageState.REFUSED
    assert events(engine, image_id) == [
        (None, "received"),
        ("received", "analysing"),
        ("analysing", "queued"),
        ("queued", "analysing"),
        ("analysing", "refused"),
    ]


def test_a_renewed_lease_lasts(engine: Engine) -> None:
    image_id = received(engine)
    taken = claimed(engine, image_id)
    expire(engine, Image, image_id)
    with database.write(engine) as session:
        assert images.renew(session, taken, lease_s=60) is True
    assert claim(engine, image_id) is None
    assert image(engine, image_id).lease_until > now(engine) + timedelta(seconds=50)  # type: ignore[operator]


def test_a_film_that_was_handed_back_waits_and_keeps_its_count(engine: Engine) -> None:
    image_id = received(engine)
    taken = claimed(engine, image_id)
    with database.write(engine) as session:
        images.mark_rung(session, [image_id], actor="relay")
        images.hand_back(session, taken, AN_HOUR, "not now", actor="a", our_trouble=False)
    found = image(engine, image_id)
    assert (found.state, found.attempts, found.lease_token, found.rung_at) == ("queued", 1, None, None)
    assert timedelta(minutes=59) < found.due_at - now(engine) <= AN_HOUR
    assert claim(engine, image_id) is None
    change(engine, Image, image_id, due_at=now(engine))
    assert claimed(engine, image_id).attempt == 2


def test_trouble_of_ours_is_no_attempt_and_has_a_count_of_its_own(engine: Engine) -> None:
    image_id = received(engine)
    for hand_backs in (1, 2):
        taken = claimed(engine, image_id)
        assert (taken.attempt, taken.hand_backs) == (1, hand_backs - 1)
        with database.write(engine) as session:
            images.hand_back(session, taken, timedelta(0), "disk full", actor="a", our_trouble=True)
        found = image(engine, image_id)
        assert (found.attempts, found.hand_backs) == (0, hand_backs)
        change(engine, Image, image_id, due_at=now(engine) - A_MINUTE)


def test_the_term_of_a_film_begins_anew_with_a_retry(engine: Engine) -> None:
    image_id = received(engine)
    change(engine, Image, image_id, waiting_since=now(engine) - AN_HOUR)
    taken = claimed(engine, image_id)
    assert AN_HOUR <= taken.age < 2 * AN_HOUR
    with database.write(engine) as session:
        images.give_up(session, taken, "our_trouble", "disk full", actor="a")
    with database.write(engine) as session:
        ledger.retry(session, image_id, actor="operator")
    assert claimed(engine, image_id).age < A_MINUTE


def test_the_last_cause_is_that_of_the_last_return_to_the_queue(engine: Engine) -> None:
    image_id = received(engine)
    with database.read(engine) as session:
        assert images.last_cause(session, image_id) == "none is recorded"
    for cause in ("first", "second"):
        with database.write(engine) as session:
            taken = claimed_in(session, image_id)
            images.hand_back(session, taken, timedelta(0), cause, actor="a", our_trouble=False)
        change(engine, Image, image_id, due_at=now(engine) - A_MINUTE)
    with database.read(engine) as session:
        assert images.last_cause(session, image_id) == "second"


def test_trouble_of_ours_is_no_attempt_of_the_film(engine: Engine) -> None:
    image_id = received(engine)
    for _ in range(2):
        change(engine, Image, image_id, due_at=now(engine))
        taken = claimed(engine, image_id)
        with database.write(engine) as session:
            images.hand_back(session, taken, AN_HOUR, "disk full", actor="a", our_trouble=True)
    found = image(engine, image_id)
    assert (found.attempts, found.hand_backs) == (0, 2)


def test_an_end_has_its_time_and_reason_and_a_retry_clears_both(engine: Engine) -> None:
    image_id = received(engine)
    with database.write(engine) as session:
        images.give_up(session, claimed_in(session, image_id), "attempts", "8 began", actor="a")
    dead = image(engine, image_id)
    assert (dead.reason, dead.reason_detail, dead.lease_token) == ("attempts", "8 began", None)
    assert dead.ended_at is not None
    with database.write(engine) as session:
        assert ledger.retry(session, image_id, actor="operator") == ImageState.QUEUED
    again = image(engine, image_id)
    assert (again.state, again.reason, again.ended_at, again.attempts) == ("queued", None, None, 0)


def claimed_in(session: Session, image_id: int) -> Claim:
    taken = images.claim(session, image_id, lease_s=60, actor="a")
    assert taken is not None
    return taken


def test_a_retry_of_what_is_not_dead_is_an_error_in_words(engine: Engine) -> None:
    image_id = received(engine)
    with (
        pytest.raises(LookupError, match=r"dead or .* it is received"),
        database.write(engine) as s,
    ):
        ledger.retry(s, image_id, actor="operator")
    with pytest.raises(LookupError, match="image 4711: no such row"), database.write(engine) as s:
        ledger.retry(s, 4711, actor="operator")


def test_eight_workers_take_sixty_films_once_each(engine: Engine) -> None:
    """On SQLite a read followed by a write must not fail with 'database is locked'."""
    ids = [received(engine, uid=f"1.2.{number}") for number in range(60)]
    barrier = Barrier(8)

    def work(seed: int) -> list[int]:
        order = Random(seed).sample(ids, len(ids))
        barrier.wait(60)
        return [image_id for image_id in order if claim(engine, image_id, actor=str(seed))]

    with ThreadPoolExecutor(8) as pool:
        taken = [image_id for won in pool.map(work, range(8)) for image_id in won]
    assert sorted(taken) == ids
    assert all(image(engine, image_id).attempts == 1 for image_id in ids)


def test_a_film_from_two_senders_at_once_is_one_row(engine: Engine) -> None:
    barrier = Barrier(6)

    def send(_: int) -> object:
        barrier.wait(60)
        try:
            return receive(engine)
        except IntegrityError:
            return None

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert len([answer for answer in answers if answer is not None]) == 1


# The doorbell


def to_ring(engine: Engine, again_s: float = 20, limit: int = 100) -> list[int]:
    with database.read(engine) as session:
        return images.to_ring(session, ring_again_s=again_s, limit=limit)


def mark_rung(engine: Engine, *ids: int) -> None:
    with database.write(engine) as session:
        images.mark_rung(session, list(ids), actor="relay")


def test_a_new_film_is_rung_once_and_becomes_queued(engine: Engine) -> None:
    image_id = received(engine)
    assert to_ring(engine) == [image_id]
    mark_rung(engine, image_id)
    assert to_ring(engine) == []
    assert image(engine, image_id).state == ImageState.QUEUED
    assert events(engine, image_id)[-1] == ("received", "queued")


def test_a_film_whose_message_led_to_nothing_is_rung_again(engine: Engine) -> None:
    image_id = received(engine)
    mark_rung(engine, image_id)
    change(engine, Image, image_id, rung_at=now(engine) - timedelta(seconds=19))
    assert to_ring(engine) == []
    change(engine, Image, image_id, rung_at=now(engine) - timedelta(seconds=21))
    assert to_ring(engine) == [image_id]
    mark_rung(engine, image_id)
    assert events(engine, image_id).count(("received", "queued")) == 1


def test_what_somebody_works_on_or_what_is_not_due_is_not_rung(engine: Engine) -> None:
    worked_on, waiting = received(engine, uid="1.1"), received(engine, uid="1.2")
    claimed(engine, worked_on)
    change(engine, Image, waiting, due_at=now(engine) + A_MINUTE)
    assert to_ring(engine) == []
    expire(engine, Image, worked_on)
    assert to_ring(engine) == [worked_on]


def test_the_oldest_are_rung_first_and_no_more_than_asked_for(engine: Engine) -> None:
    ids = [received(engine, uid=f"1.2.{number}") for number in range(5)]
    change(engine, Image, ids[3], due_at=now(engine) - AN_HOUR)
    assert to_ring(engine, limit=3) == [ids[3], ids[0], ids[1]]


def test_the_tail_of_a_long_queue_is_rung_before_its_head_is_rung_again(engine: Engine) -> None:
    ids = [received(engine, uid=f"1.2.{number}") for number in range(4)]
    mark_rung(engine, *ids[:2])
    for image_id in ids[:2]:
        change(engine, Image, image_id, rung_at=now(engine) - A_MINUTE)
    for image_id in ids:
        change(engine, Image, image_id, due_at=now(engine) - AN_HOUR)
    assert to_ring(engine, limit=3) == [ids[2], ids[3], ids[0]]


def test_the_tail_of_many_deliveries_is_rung_before_their_head_is_rung_again(engine: Engine) -> None:
    ids = [analyse(engine, uid=f"1.2.{number}").delivery_ids[0] for number in range(4)]
    for delivery_id in ids:
        change(engine, Delivery, delivery_id, due_at=now(engine) - AN_HOUR)
    change(engine, Delivery, ids[0], rung_at=now(engine) - A_MINUTE)
    change(engine, Delivery, ids[1], rung_at=now(engine) - 2 * A_MINUTE)
    with database.read(engine) as session:
        assert deliveries.to_ring(session, ring_again_s=20, limit=3) == [ids[2], ids[3], ids[1]]


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)  # SQLite locks no single rows
def test_what_a_worker_holds_just_now_is_not_waited_for(engine: Engine) -> None:
    """The relay notes what it rang while workers write the very same rows."""
    held, free = received(engine, uid="1.1"), received(engine, uid="1.2")
    # The transaction ends before the pool waits for its thread.
    with ThreadPoolExecutor(1) as pool, engine.begin() as worker:
        worker.execute(text("SELECT id FROM image WHERE id = :id FOR UPDATE"), {"id": held})
        pool.submit(mark_rung, engine, held, free).result(20)
    assert image(engine, free).state == ImageState.QUEUED
    assert image(engine, held).state == ImageState.RECEIVED


def test_deliveries_are_rung_by_the_same_rules(engine: Engine) -> None:
    first, second = analyse(engine, [("pacs", "find"), ("other", "none")]).delivery_ids

    def due() -> list[int]:
        with database.read(engine) as session:
            return deliveries.to_ring(session, ring_again_s=20, limit=10)

    assert due() == [first, second]
    with database.write(engine) as session:
        deliveries.mark_rung(session, [first])
    assert due() == [second]
    change(engine, Delivery, second, state=DeliveryState.SENT)
    assert due() == [], "sent without proof to come is an end"
    change(engine, Delivery, first, state=DeliveryState.SENT, rung_at=None)
    assert due() == [first], "sent, and its proof is to come"
    claimed_delivery(engine, first)
    assert due() == []


# The outbox


def test_a_claimed_delivery_knows_what_to_send(engine: Engine) -> None:
    made = analyse(engine)
    taken = claimed_delivery(engine, made.delivery_ids[0])
    assert (taken.destination, taken.attempt, taken.unanswered) == ("pacs", 1, False)
    assert taken.identity.sop_instance_uid == made.uids[0]
    assert timedelta(0) <= taken.age < A_MINUTE
    assert claim_delivery(engine, made.delivery_ids[0]) is None


def test_a_send_that_was_killed_is_remembered_as_unanswered(engine: Engine) -> None:
    (delivery_id,) = analyse(engine).delivery_ids
    late = claimed_delivery(engine, delivery_id)
    expire(engine, Delivery, delivery_id)
    successor = claimed_delivery(engine, delivery_id)
    assert (successor.unanswered, successor.attempt) == (True, 2)
    for write in (
        lambda s: deliveries.sent(s, late, 0, "success", actor="late"),
        lambda s: deliveries.confirmed(s, late, "found", actor="late"),
        lambda s: deliveries.later(s, late, A_MINUTE, "later", answered=True),
        lambda s: deliveries.send_again(s, late, "again", actor="late"),
        lambda s: deliveries.give_up(s, late, "never", actor="late"),
    ):
        with pytest.raises(LostLease, match=f"delivery {delivery_id}"), database.write(engine) as session:
            write(session)
    with database.write(engine) as session:
        assert deliveries.renew(session, late, lease_s=60) is False
        assert deliveries.renew(session, successor, lease_s=600) is True
    found = delivery(engine, delivery_id)
    assert (found.state, found.status, found.reason) == (DeliveryState.DUE, None, None)
    assert found.lease_until > now(engine) + timedelta(seconds=500)  # type: ignore[operator]


def finish(engine: Engine, delivery_id: int, *, with_success: bool = True) -> None:
    taken = claimed_delivery(engine, delivery_id)
    with database.write(engine) as session:
        if with_success:
            deliveries.confirmed(session, taken, "found", actor="a")
        else:
            deliveries.give_up(session, taken, "no room", actor="a")


def test_the_last_delivery_makes_the_film_reported(engine: Engine) -> None:
    made = analyse(engine, [("pacs", "find"), ("other", "find")], results=2)
    for delivery_id in made.delivery_ids[:-1]:
        finish(engine, delivery_id)
        assert image(engine, made.image_id).state == ImageState.ANALYSED
    finish(engine, made.delivery_ids[-1])
    found = image(engine, made.image_id)
    assert found.state == ImageState.REPORTED
    assert found.ended_at is not None


def test_sent_is_the_end_where_no_proof_is_asked_for(engine: Engine) -> None:
    made = analyse(engine, [("pacs", "none")])
    taken = claimed_delivery(engine, made.delivery_ids[0])
    with database.write(engine) as session:
        assert deliveries.sent(session, taken, 0xB000, "warning", actor="a") is False
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.status, found.status_text) == (DeliveryState.SENT, 0xB000, "warning")
    assert found.sent_at is not None
    assert image(engine, made.image_id).state == ImageState.REPORTED


def test_sent_is_no_end_where_proof_is_asked_for(engine: Engine) -> None:
    made = analyse(engine, [("pacs", "find")])
    taken = claimed_delivery(engine, made.delivery_ids[0])
    with database.write(engine) as session:
        assert deliveries.sent(session, taken, 0, "success", actor="a") is True
    assert image(engine, made.image_id).state == ImageState.ANALYSED


def test_a_dead_delivery_makes_the_film_dead_once_the_others_are_done(engine: Engine) -> None:
    made = analyse(engine, [("pacs", "find"), ("other", "find")])
    finish(engine, made.delivery_ids[0], with_success=False)
    assert image(engine, made.image_id).state == ImageState.ANALYSED
    finish(engine, made.delivery_ids[1])
    found = image(engine, made.image_id)
    assert (found.state, found.reason) == (ImageState.DEAD, "delivery")
    assert found.reason_detail == "1 of 2 deliveries given up: no room"


def test_two_last_deliveries_at_once_bring_the_film_to_its_end(engine: Engine) -> None:
    """Neither may find the other still open and leave the end to it."""
    for round_ in range(5):
        made = analyse(engine, [("one", "find"), ("two", "find")], uid=f"1.2.{round_}")
        barrier = Barrier(2)

        def end(delivery_id: int, barrier: Barrier = barrier) -> None:
            taken = claimed_delivery(engine, delivery_id)
            barrier.wait(60)
            with database.write(engine) as session:
                deliveries.confirmed(session, taken, "found", actor="a")

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(end, made.delivery_ids))
        assert image(engine, made.image_id).state == ImageState.REPORTED


def test_a_retry_takes_up_the_dead_deliveries_alone_with_a_new_term(engine: Engine) -> None:
    made = analyse(engine, [("pacs", "find"), ("other", "find")])
    change(engine, Delivery, made.delivery_ids[0], created_at=now(engine) - timedelta(days=30))
    finish(engine, made.delivery_ids[0], with_success=False)
    finish(engine, made.delivery_ids[1])
    with database.write(engine) as session:
        assert ledger.retry(session, made.image_id, actor="operator") == ImageState.ANALYSED
    again, done = (delivery(engine, delivery_id) for delivery_id in made.delivery_ids)
    assert (again.state, again.attempts, again.reason) == (DeliveryState.DUE, 0, None)
    assert now(engine) - again.created_at < A_MINUTE
    assert done.state == DeliveryState.CONFIRMED
    finish(engine, made.delivery_ids[0])
    assert image(engine, made.image_id).state == ImageState.REPORTED


@pytest.mark.parametrize("state", [ImageState.REFUSED, ImageState.ANALYSED])
def test_a_retry_takes_up_a_delivery_that_died_though_the_film_did_not(
    engine: Engine, state: ImageState
) -> None:
    """The report of a refused film, and one of two while the other one is still under way."""
    made = analyse(engine, [("pacs", "find"), ("other", "find")])
    change(engine, Image, made.image_id, state=state, reason="lateral")
    finish(engine, made.delivery_ids[0], with_success=False)
    before = events(engine, made.image_id)
    with database.write(engine) as session:
        assert [(image_id, count) for image_id, count, _ in ledger.undelivered(session)] == [
            (made.image_id, 1)
        ]
        assert ledger.retry(session, made.image_id, actor="operator") == state
        assert ledger.undelivered(session) == []
    again = image(engine, made.image_id)
    assert (again.state, again.reason, events(engine, made.image_id)) == (state, "lateral", before)
    assert delivery(engine, made.delivery_ids[0]).state == DeliveryState.DUE
    with pytest.raises(LookupError, match="a delivery that was given up"), database.write(engine) as session:
        ledger.retry(session, made.image_id, actor="operator")


def test_later_waits_and_says_why(engine: Engine) -> None:
    (delivery_id,) = analyse(engine).delivery_ids
    taken = claimed_delivery(engine, delivery_id)
    with database.write(engine) as session:
        deliveries.later(session, taken, AN_HOUR, "0xA700", answered=True)
    found = delivery(engine, delivery_id)
    assert (found.reason, found.unanswered, found.lease_token, found.rung_at) == ("0xA700", False, None, None)
    assert timedelta(minutes=59) < found.due_at - now(engine) <= AN_HOUR
    assert claim_delivery(engine, delivery_id) is None


def test_what_was_taken_and_is_not_there_is_due_again(engine: Engine) -> None:
    (delivery_id,) = analyse(engine).delivery_ids
    taken = claimed_delivery(engine, delivery_id)
    with database.write(engine) as session:
        deliveries.sent(session, taken, 0, "success", actor="a")
        deliveries.send_again(session, taken, "not found", actor="a")
    found = delivery(engine, delivery_id)
    assert (found.state, found.lease_token) == (DeliveryState.DUE, None)


def test_the_breaker_postpones_one_destination_and_releases_what_it_postponed(engine: Engine) -> None:
    ids = [analyse(engine, [("away", "find"), ("here", "find")], uid=f"1.{n}").delivery_ids for n in range(3)]
    (held, here), (own_wait, _), (postponed, _) = ids
    claimed_delivery(engine, held)
    change(engine, Delivery, own_wait, due_at=now(engine) + 2 * AN_HOUR, reason="0xA700")
    with database.write(engine) as session:
        deliveries.postpone_destination(session, "away", AN_HOUR, "nobody answers")

    waits = {i: delivery(engine, i).due_at - now(engine) for i in (held, here, own_wait, postponed)}
    assert waits[held] <= timedelta(0), "whoever is sending is left alone"
    assert waits[here] <= timedelta(0), "another destination is left alone"
    assert waits[own_wait] > AN_HOUR, "a longer wait of its own stays"
    assert timedelta(minutes=59) < waits[postponed] <= AN_HOUR
    assert delivery(engine, postponed).reason == "destination away: nobody answers"

    with database.write(engine) as session:
        deliveries.release_destination(session, "away")
    assert delivery(engine, postponed).due_at <= now(engine)
    assert delivery(engine, postponed).reason is None
    assert delivery(engine, own_wait).due_at > now(engine) + AN_HOUR


# The ledger


def test_the_ledger_balances_over_all_states(engine: Engine) -> None:
    received(engine, uid="1.1")
    finish(engine, analyse(engine, uid="1.2").delivery_ids[0])
    finish(engine, analyse(engine, uid="1.3").delivery_ids[0], with_success=False)
    refused = received(engine, uid="1.4")
    with database.write(engine) as session:
        images.refuse(session, claimed_in(session, refused), "child", "too young", actor="a")
        counted = ledger.ledger(session)
        assert ledger.lost_images(session) == []
    assert counted.received == 4
    assert [counted.count(ImageState(s)) for s in ("reported", "dead", "refused")] == [1, 1, 1]
    assert (counted.waiting, counted.difference) == (1, 0)


def test_a_row_that_is_gone_is_missed_by_its_id(engine: Engine) -> None:
    kept, lost = received(engine, uid="1.1"), received(engine, uid="1.2")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        else:
            # No effect inside a transaction: the driver's own connection is asked.
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN")
        connection.execute(text("DELETE FROM image WHERE id = :id"), {"id": lost})
    with database.read(engine) as session:
        assert ledger.ledger(session).difference == 1
        assert ledger.lost_images(session) == [lost]
    assert image(engine, kept).state == ImageState.RECEIVED


def test_a_film_cannot_be_deleted_while_its_events_are_there(engine: Engine) -> None:
    lost = received(engine)
    with pytest.raises(IntegrityError), database.write(engine) as session:
        session.execute(text("DELETE FROM image WHERE id = :id"), {"id": lost})


def test_rejections_are_counted_by_who_and_why(engine: Engine) -> None:
    stranger, other = Peer("STRANGER", "10.0.0.1"), Peer("STRANGER", "10.0.0.2")
    for peer, reason in [(stranger, "unknown_sender")] * 3 + [
        (other, "unknown_sender"),
        (stranger, "invalid_uid"),
    ]:
        with database.write(engine) as session:
            ledger.record_rejection(session, peer, reason, "words")
    with database.read(engine) as session:
        counted = {(r.calling_host, r.reason): r.count for r in ledger.rejections(session)}
    assert counted == {
        ("10.0.0.1", "unknown_sender"): 3,
        ("10.0.0.2", "unknown_sender"): 1,
        ("10.0.0.1", "invalid_uid"): 1,
    }


def test_a_host_that_invents_ae_titles_does_not_fill_the_table(engine: Engine) -> None:
    most = ledger.MOST_TITLES_OF_A_HOST
    with database.write(engine) as session:
        for number in range(most + 30):
            ledger.record_rejection(session, Peer(f"T{number}", "10.0.0.1"), "unknown_sender", "words")
        ledger.record_rejection(session, Peer("T0", "10.0.0.1"), "unknown_sender", "words")
        ledger.record_rejection(session, Peer("T0", "10.0.0.2"), "unknown_sender", "words")
    with database.read(engine) as session:
        rows = {(r.calling_aet, r.calling_host): r.count for r in ledger.rejections(session)}
    assert len(rows) == most + 2
    assert rows[ledger.FURTHER_TITLES, "10.0.0.1"] == 30
    assert (rows["T0", "10.0.0.1"], rows["T0", "10.0.0.2"]) == (2, 1)


def test_the_view_has_exactly_the_documented_columns(engine: Engine) -> None:
    with engine.connect() as connection:
        assert list(connection.execute(text("SELECT * FROM results")).keys()) == STABLE_COLUMNS


def test_the_view_says_how_far_a_film_is(engine: Engine) -> None:
    made = analyse(engine, [("one", "find"), ("two", "none")], results=2)
    received(engine, uid="1.9")
    finish(engine, made.delivery_ids[0])
    taken = claimed_delivery(engine, made.delivery_ids[1])
    with database.write(engine) as session:
        deliveries.sent(session, taken, 0, "success", actor="a")
        waiting, analysed = ledger.results(session, {}, 10)
    assert (waiting["sop_instance_uid"], waiting["decision"], waiting["deliveries"]) == ("1.9", None, 0)
    assert [analysed[f"deliveries{kind}"] for kind in ("", "_sent", "_proved")] == [4, 2, 1]
    assert [analysed["sr_sop_instance_uid"], analysed["sc_sop_instance_uid"]] == made.uids
    assert (analysed["decision"], analysed["probability"], analysed["model_version"]) == (
        "negative",
        0.25,
        "1",
    )


def test_results_are_filtered_by_moment_to_the_millisecond(engine: Engine) -> None:
    ids = [received(engine, uid=f"1.{number}") for number in range(3)]
    noon = now(engine).replace(hour=12, minute=0, second=0, microsecond=0)
    for image_id, seconds in zip(ids, (0, 0.5, 1), strict=True):
        change(engine, Image, image_id, received_at=noon + timedelta(seconds=seconds))

    def found(**filters: object) -> list[int]:
        with database.read(engine) as session:
            return sorted(row["image_id"] for row in ledger.results(session, dict(filters), 10))

    assert found(since=noon) == ids
    assert found(since=noon + timedelta(seconds=0.5)) == ids[1:]
    assert found(until=noon + timedelta(seconds=0.5)) == ids[:1]
    assert found(until=noon) == []
    assert found(since=noon.astimezone(KOLKATA)) == ids, "the same moment in another zone"
    assert found(until=noon.astimezone(KOLKATA)) == []


def test_results_are_filtered_by_what_was_asked_for(engine: Engine) -> None:
    judged = analyse(engine, uid="1.1").image_id
    waiting = received(engine, uid="1.2")
    change(engine, Image, waiting, patient_id="P' OR '1'='1", study_instance_uid="1.2.3")

    def found(limit: int = 10, **filters: object) -> list[int]:
        with database.read(engine) as session:
            return [row["image_id"] for row in ledger.results(session, dict(filters), limit)]

    assert found() == [waiting, judged], "newest first"
    assert found(limit=1) == [waiting]
    assert found(patient="P' OR '1'='1") == [waiting]
    assert found(patient="' OR '1'='1") == []
    assert found(study="1.2.3", state="received") == [waiting]
    assert found(decision="negative") == [judged]
    assert found(decision="negative", state="received") == []
