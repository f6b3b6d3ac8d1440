"""Each thing that a PACS can do to a delivery, and the state that is stored of it."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from parts import SOCKETS_LEFT, free_port
from rows import Analysed, analyse, change, delivery, image, now
from scripted_pacs import ABORT, KEEP_AND_ABORT, ScriptedPacs
from sqlalchemy import Engine, select

from worker import database
from worker.context import Context
from worker.delivery import deliver
from worker.proofs import ASK_AT_MOST
from worker.queries import deliveries, ledger
from worker.settings import Destination
from worker.states import DeliveryState, ImageState
from worker.tables import Delivery, Image
from worker.tables import Event as EventRow

MakeContext = Callable[..., Context]

pytestmark = SOCKETS_LEFT


@pytest.fixture
def pacs() -> Iterator[ScriptedPacs]:
    with ScriptedPacs.running() as running:
        yield running


def site(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs, proof: str = "find", **settings: Any
) -> tuple[Context, Analysed]:
    """A film with one result that is due at that PACS."""
    context = make_context(engine, destination=(to(pacs.port, proof),), **settings)
    return context, analyse(engine, [("pacs", proof)], folder=context.results)


def to(port: int, proof: str = "find", name: str = "pacs") -> Destination:
    return Destination.model_validate(
        {"name": name, "aet": "PACS", "host": "127.0.0.1", "port": port, "proof": proof}
    )


def wait_of(engine: Engine, found: Delivery) -> float:
    return (found.due_at - now(engine)).total_seconds()


def make_due(engine: Engine, delivery_id: int) -> None:
    change(engine, Delivery, delivery_id, due_at=now(engine))


# Taken


def test_what_is_taken_and_found_is_confirmed(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, engine, pacs)
    deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.status, found.unanswered) == (DeliveryState.CONFIRMED, 0x0000, False)
    assert found.sent_at is not None
    assert found.confirmed_at is not None
    assert image(engine, made.image_id).state == ImageState.REPORTED
    assert [uid for uid, _ in pacs.stores] == pacs.finds == made.uids
    assert pacs.callers == ["CXRWORKER"] * 2


def test_without_proof_sent_is_enough(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs, proof="none")
    deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.SENT
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED
    assert pacs.finds == []


def test_the_text_of_a_warning_is_kept(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    pacs.answers.append(0xB000)
    pacs.comment = "patient name coerced"
    deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.status) == (DeliveryState.CONFIRMED, 0xB000)
    assert found.status_text == "0xB000 warning: coercion of data elements: patient name coerced"


def test_a_second_message_for_a_done_delivery_sends_nothing(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    for _ in range(3):
        deliver(context, made.delivery_ids[0])
    assert len(pacs.stores) == 1


def test_two_workers_at_once_send_once(make_context: MakeContext, engine: Engine, pacs: ScriptedPacs) -> None:
    context, made = site(make_context, engine, pacs)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: deliver(context, made.delivery_ids[0]), range(4)))
    assert len(pacs.stores) == 1
    assert delivery(engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED


def test_a_duplicate_that_is_found_is_confirmed(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    deliver(context, made.delivery_ids[0])
    change(sqlite_engine, Delivery, made.delivery_ids[0], state=DeliveryState.DUE)
    pacs.answers.append(0x0111)
    deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED


def test_a_duplicate_that_is_not_found_is_tried_again(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    pacs.answers.append(0x0111)
    deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert found.state == DeliveryState.DUE
    assert "C-FIND does not find it" in str(found.reason)


# Not taken


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0x0124, 0xC000, 0x0001])
def test_a_refusal_that_may_pass_is_tried_again_after_a_wait(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs, status: int
) -> None:
    context, made = site(make_context, engine, pacs)
    pacs.answers.append(status)
    deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.unanswered, found.lease_token) == (DeliveryState.DUE, False, None)
    assert f"0x{status:04X}" in str(found.reason)
    assert 1 < wait_of(engine, found) <= 5
    assert image(engine, made.image_id).state == ImageState.ANALYSED

    make_due(engine, found.id)
    deliver(context, found.id)
    assert delivery(engine, found.id).state == DeliveryState.CONFIRMED
    assert pacs.finds == made.uids, "an answer came, so nothing was asked before the second send"


def test_an_administrator_is_told_when_we_are_not_authorised(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs, caplog: pytest.LogCaptureFixture
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    pacs.answers.append(0x0124)
    deliver(context, made.delivery_ids[0])
    assert [r.levelname for r in caplog.records if "an administrator must act" in r.getMessage()] == ["ERROR"]


@pytest.mark.parametrize("status", [0x0122, 0xA900])
def test_a_refusal_for_good_ends_delivery_and_film(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs, status: int
) -> None:
    context, made = site(make_context, engine, pacs)
    pacs.answers.append(status)
    deliver(context, made.delivery_ids[0])
    assert delivery(engine, made.delivery_ids[0]).state == DeliveryState.DEAD
    found = image(engine, made.image_id)
    assert (found.state, found.reason) == (ImageState.DEAD, "delivery")
    assert f"0x{status:04X}" in str(found.reason_detail)


def test_a_class_that_is_not_accepted_ends_the_delivery(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(storable=()) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.reason) == (DeliveryState.DEAD, "0x0122 SOP class not accepted at association")


@pytest.mark.parametrize(("hours", "state"), [(23, DeliveryState.DUE), (25, DeliveryState.DEAD)])
def test_what_is_not_understood_is_tried_for_a_day(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs, hours: int, state: DeliveryState
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    past = now(sqlite_engine) - timedelta(hours=hours)
    change(sqlite_engine, Delivery, made.delivery_ids[0], refused_since=past)
    pacs.answers.append(0xC000)
    deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == state


def test_after_its_days_a_delivery_is_given_up_and_a_retry_starts_anew(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, engine, pacs, delivery_days=2)
    (delivery_id,) = made.delivery_ids
    change(engine, Delivery, delivery_id, created_at=now(engine) - timedelta(days=2, minutes=1))
    pacs.answers.append(0xA700)
    deliver(context, delivery_id)
    assert delivery(engine, delivery_id).state == DeliveryState.DEAD
    assert "no success in 2 days; last: 0xA700" in str(delivery(engine, delivery_id).reason)
    assert image(engine, made.image_id).state == ImageState.DEAD

    with database.write(engine) as session:
        ledger.retry(session, made.image_id, actor="operator")
    pacs.answers.append(0xA700)
    deliver(context, delivery_id)
    assert delivery(engine, delivery_id).state == DeliveryState.DUE, "a new term, not the old one"
    make_due(engine, delivery_id)
    deliver(context, delivery_id)
    assert image(engine, made.image_id).state == ImageState.REPORTED


def test_waits_grow_with_each_attempt(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    pacs.answers.extend([0xA700] * 4)
    waits = []
    for _ in range(4):
        deliver(context, made.delivery_ids[0])
        waits.append(wait_of(sqlite_engine, delivery(sqlite_engine, made.delivery_ids[0])))
        make_due(sqlite_engine, made.delivery_ids[0])
    bounds = [(2.5, 5), (5, 10), (10, 20), (20, 40)]
    assert all(low - 1 < wait <= high for wait, (low, high) in zip(waits, bounds, strict=True)), waits


# No answer


def test_what_was_lost_without_an_answer_is_asked_for_and_then_sent_again(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, engine, pacs)
    pacs.answers.append(ABORT)
    deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.unanswered) == (DeliveryState.DUE, True)
    assert pacs.finds == []

    make_due(engine, found.id)
    deliver(context, found.id)
    assert delivery(engine, found.id).state == DeliveryState.CONFIRMED
    assert pacs.finds == made.uids * 2, "before the second send, and as its proof"
    assert len(pacs.stores) == 2


def test_what_arrived_without_an_answer_is_found_and_not_sent_again(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, engine, pacs)
    pacs.answers.append(KEEP_AND_ABORT)
    deliver(context, made.delivery_ids[0])
    make_due(engine, made.delivery_ids[0])
    deliver(context, made.delivery_ids[0])
    assert delivery(engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert image(engine, made.image_id).state == ImageState.REPORTED
    assert len(pacs.stores) == 1


def test_what_a_killed_worker_had_sent_is_asked_for_first(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    deliver(context, made.delivery_ids[0])
    change(sqlite_engine, Delivery, made.delivery_ids[0], state=DeliveryState.DUE)
    with database.write(sqlite_engine) as session:
        deliveries.claim(session, made.delivery_ids[0], lease_s=0)
    time.sleep(0.01)
    deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert len(pacs.stores) == 1


def test_what_cannot_be_asked_for_is_neither_sent_again_nor_forgotten(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    pacs.answers.append(KEEP_AND_ABORT)
    deliver(context, made.delivery_ids[0])
    pacs.find_status = 0xA700
    pacs.finds_nothing = True
    make_due(sqlite_engine, made.delivery_ids[0])
    deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.unanswered) == (DeliveryState.DUE, True)
    assert len(pacs.stores) == 1


def test_a_pacs_that_lists_it_late_is_asked_again_and_then_sent_again(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    (delivery_id,) = made.delivery_ids
    pacs.finds_nothing = True
    deliver(context, delivery_id)
    found = delivery(sqlite_engine, delivery_id)
    assert (found.state, found.reason) == (DeliveryState.SENT, "sent, not found by C-FIND yet")
    for _ in range(ASK_AT_MOST - 2):
        make_due(sqlite_engine, delivery_id)
        deliver(context, delivery_id)
        assert delivery(sqlite_engine, delivery_id).state == DeliveryState.SENT
    assert wait_of(sqlite_engine, delivery(sqlite_engine, delivery_id)) <= 60
    assert len(pacs.stores) == 1

    make_due(sqlite_engine, delivery_id)
    deliver(context, delivery_id)
    assert delivery(sqlite_engine, delivery_id).state == DeliveryState.DUE, "asked often enough"
    pacs.finds_nothing = False
    deliver(context, delivery_id)
    assert delivery(sqlite_engine, delivery_id).state == DeliveryState.CONFIRMED
    assert len(pacs.stores) == 2


def test_a_pacs_that_is_away_postpones_all_that_is_for_it(
    make_context: MakeContext, engine: Engine, pacs: ScriptedPacs
) -> None:
    context = make_context(engine, destination=(to(free_port(), name="away"), to(pacs.port)))
    made = [
        analyse(engine, [("away", "find"), ("pacs", "find")], folder=context.results, uid=f"1.{number}")
        for number in range(3)
    ]
    tried = made[0].delivery_ids[0]
    deliver(context, tried)
    for film in made:
        away, here = (delivery(engine, delivery_id) for delivery_id in film.delivery_ids)
        assert away.state == DeliveryState.DUE
        assert str(away.reason).startswith(deliveries.AWAY)
        assert "nobody answers" in str(away.reason)
        assert wait_of(engine, away) > 1
        assert wait_of(engine, here) <= 0
    assert delivery(engine, tried).unanswered is False, "nothing was sent"
    assert [delivery(engine, film.delivery_ids[0]).attempts for film in made] == [1, 0, 0]


def test_a_pacs_that_is_back_gets_what_waited_for_it_at_once(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context = make_context(sqlite_engine, destination=(to(pacs.port),))
    made = [analyse(sqlite_engine, folder=context.results, uid=f"1.{number}") for number in range(2)]
    with database.write(sqlite_engine) as session:
        deliveries.postpone_destination(session, "pacs", timedelta(hours=1), "nobody answers")
    make_due(sqlite_engine, made[0].delivery_ids[0])
    deliver(context, made[0].delivery_ids[0])
    assert wait_of(sqlite_engine, delivery(sqlite_engine, made[1].delivery_ids[0])) <= 0


def test_a_slow_pacs_does_not_hold_up_another(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    release = Event()
    with ScriptedPacs.running(hold=release) as slow, ThreadPoolExecutor(1) as pool:
        context = make_context(sqlite_engine, destination=(to(slow.port, name="slow"), to(pacs.port)))
        made = analyse(sqlite_engine, [("slow", "find"), ("pacs", "find")], folder=context.results)
        sending = pool.submit(deliver, context, made.delivery_ids[0])
        try:
            deliver(context, made.delivery_ids[1])
            assert delivery(sqlite_engine, made.delivery_ids[1]).state == DeliveryState.CONFIRMED
            assert not sending.done()
        finally:
            release.set()
        sending.result(60)
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED


def test_the_lease_outlives_a_slow_send(make_context: MakeContext, sqlite_engine: Engine) -> None:
    """A PACS that takes longer than the lease: no second worker may begin the same send."""
    release = Event()
    with ScriptedPacs.running(hold=release) as slow, ThreadPoolExecutor(1) as pool:
        context = make_context(sqlite_engine, destination=(to(slow.port),), lease_s=0.9)
        made = analyse(sqlite_engine, folder=context.results)
        sending = pool.submit(deliver, context, made.delivery_ids[0])
        try:
            time.sleep(2)
            with database.write(sqlite_engine) as session:
                assert deliveries.claim(session, made.delivery_ids[0], lease_s=60) is None
        finally:
            release.set()
        sending.result(60)
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert len(slow.stores) == 1


def test_a_silent_peer_costs_its_time_and_no_more(make_context: MakeContext, sqlite_engine: Engine) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        context = make_context(sqlite_engine, destination=(to(silent.getsockname()[1]),), network_timeout_s=1)
        made = analyse(sqlite_engine, folder=context.results)
        began = time.monotonic()
        deliver(context, made.delivery_ids[0])
        assert time.monotonic() - began < 15
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.DUE


# Our own trouble


@pytest.mark.parametrize(("hours", "state"), [(23, DeliveryState.DUE), (25, DeliveryState.DEAD)])
def test_a_destination_that_is_not_in_the_configuration_is_waited_for_a_day(
    make_context: MakeContext, sqlite_engine: Engine, hours: int, state: DeliveryState
) -> None:
    """It may only be this worker's configuration that is old."""
    context = make_context(sqlite_engine)
    made = analyse(sqlite_engine, folder=context.results)
    past = now(sqlite_engine) - timedelta(hours=hours)
    change(sqlite_engine, Delivery, made.delivery_ids[0], refused_since=past)
    deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert found.state == state
    assert "the destination is not in the configuration" in str(found.reason)


def test_a_result_that_is_missing_is_waited_for(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    """A folder that is not mounted comes back."""
    context, made = site(make_context, sqlite_engine, pacs)
    (file,) = context.results.root.glob("??/*.dcm")
    away = file.rename(file.with_suffix(".away"))
    deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.unanswered) == (DeliveryState.DUE, False)
    assert "No such file" in str(found.reason)
    away.rename(file)
    make_due(sqlite_engine, found.id)
    deliver(context, found.id)
    assert delivery(sqlite_engine, found.id).state == DeliveryState.CONFIRMED


def test_a_result_that_is_no_longer_what_was_stored_is_never_sent(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    (file,) = context.results.root.glob("??/*.dcm")
    file.write_bytes(file.read_bytes()[:-2] + b"\1\1")
    deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert found.state == DeliveryState.DEAD
    assert "is damaged" in str(found.reason)
    assert pacs.stores == []


def test_what_the_pacs_coerced_is_confirmed_and_named(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs)
    change(sqlite_engine, Image, made.image_id, patient_id="SECRET-1")
    deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    with database.read(sqlite_engine) as session:
        causes = [str(cause) for cause in session.scalars(select(EventRow.cause))]
    assert "found by C-FIND; coerced there: PatientID" in causes
    assert not any("SECRET" in cause or "PID-4711" in cause for cause in causes)


def test_a_duplicate_at_a_pacs_that_cannot_be_asked_counts_as_sent_where_no_proof_is_wanted(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    context, made = site(make_context, sqlite_engine, pacs, proof="none")
    pacs.answers.append(0x0111)
    pacs.find_status = 0xA700
    deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.SENT
    assert image(sqlite_engine, made.image_id).state == ImageState.REPORTED


def test_a_refused_query_holds_up_its_own_delivery_alone(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs
) -> None:
    """The destination answers: the others need not wait."""
    context = make_context(sqlite_engine, destination=(to(pacs.port),))
    made = [analyse(sqlite_engine, folder=context.results, uid=f"1.{number}") for number in range(2)]
    pacs.find_status = 0xA700
    pacs.finds_nothing = True
    deliver(context, made[0].delivery_ids[0])
    assert wait_of(sqlite_engine, delivery(sqlite_engine, made[1].delivery_ids[0])) <= 0


def test_a_lease_that_was_lost_in_the_send_writes_nothing(
    make_context: MakeContext, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    release = Event()
    with ScriptedPacs.running(hold=release) as slow, ThreadPoolExecutor(1) as pool:
        context = make_context(sqlite_engine, destination=(to(slow.port),))
        made = analyse(sqlite_engine, folder=context.results)
        sending = pool.submit(deliver, context, made.delivery_ids[0])
        while not slow.callers:
            time.sleep(0.01)
        change(sqlite_engine, Delivery, made.delivery_ids[0], lease_token="another worker")
        release.set()
        sending.result(60)
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.status, found.lease_token) == (DeliveryState.DUE, None, "another worker")
    assert "nothing written" in caplog.text


def test_no_log_line_of_a_delivery_names_the_patient(
    make_context: MakeContext, sqlite_engine: Engine, pacs: ScriptedPacs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    context, made = site(make_context, sqlite_engine, pacs)
    pacs.comment = "rejected Grün^Åsa PID-4711"
    pacs.answers.extend([0xA700, 0x0124, 0xB000])
    for _ in range(3):
        deliver(context, made.delivery_ids[0])
        make_due(sqlite_engine, made.delivery_ids[0])
    ours = [r.getMessage() for r in caplog.records if r.name.startswith(("worker", "dicom_io"))]
    assert ours
    assert not any("Åsa" in line or "PID-4711" in line for line in ours)
