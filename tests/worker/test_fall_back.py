"""A destination that refuses a form of the report gets the next one, and the row says so."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from parts import SOCKETS_LEFT
from rows import Analysed, analyse, change, delivery, image, now, put_report_in_forms
from scripted_pacs import BASIC_TEXT_AND_PICTURES, ScriptedPacs
from sqlalchemy import Engine, select

from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from worker import database
from worker.context import Context
from worker.delivery import deliver
from worker.queries import ledger
from worker.refusals import REMEMBERED_S, RefusedClasses
from worker.settings import Destination
from worker.states import DeliveryState, ImageState
from worker.tables import Delivery, Event

MakeContext = Callable[..., Context]

pytestmark = SOCKETS_LEFT
ALL_FORMS = (*REPORT_SOP_CLASS.values(), "1.2.840.10008.5.1.4.1.1.7")


def to(pacs: ScriptedPacs, **more: Any) -> Destination:
    values = {"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": pacs.port, "proof": "find"}
    return Destination.model_validate({**values, **more})


def film(context: Context, uid: str = "1.2.3") -> tuple[Analysed, dict[Profile, str]]:
    """A film with its report in all forms; the delivery is that of the richest."""
    made = analyse(context.engine, folder=context.results, uid=uid)
    return made, put_report_in_forms(context.engine, made, context.results)


def causes(engine: Engine) -> list[str]:
    with database.read(engine) as session:
        return list(session.scalars(select(Event.cause).order_by(Event.id)))


def shown(engine: Engine) -> dict[str, Any]:
    with database.read(engine) as session:
        (row,) = ledger.results(session, {}, 10)
    return row


def test_a_pacs_that_takes_basic_text_alone_gets_it_and_the_row_says_so(
    make_context: MakeContext, engine: Engine
) -> None:
    with ScriptedPacs.running(storable=BASIC_TEXT_AND_PICTURES) as pacs:
        context = make_context(engine, destination=(to(pacs),))
        made, uids = film(context)
        deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.fell_back_from) == (
        DeliveryState.CONFIRMED,
        "comprehensive-3d, comprehensive, enhanced",
    )
    assert [uid for uid, _ in pacs.stores] == [uids[Profile.BASIC_TEXT]]
    assert image(engine, made.image_id).state == ImageState.REPORTED
    row = shown(engine)
    assert (row["sr_sop_instance_uid"], row["fell_back_to"]) == (uids[Profile.BASIC_TEXT], "basic-text")
    told = [cause for cause in causes(engine) if "refused" in cause]
    assert told[0] == (
        "comprehensive-3d refused: 0x0122 SOP class not accepted at association; next comprehensive"
    )
    assert len(told) == 3


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xC000])
def test_an_object_that_is_refused_in_one_form_is_sent_in_the_next(
    make_context: MakeContext, sqlite_engine: Engine, status: int
) -> None:
    with ScriptedPacs.running(storable=ALL_FORMS) as pacs:
        pacs.answers.append(status)
        context = make_context(sqlite_engine, destination=(to(pacs),))
        made, uids = film(context)
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.fell_back_from) == (DeliveryState.CONFIRMED, "comprehensive-3d")
    assert [uid for uid, _ in pacs.stores] == [uids[Profile.COMPREHENSIVE_3D], uids[Profile.COMPREHENSIVE]]


@pytest.mark.parametrize("status", [0x0110, 0xA700, 0x0124, 0x0001])
def test_a_refusal_that_may_pass_changes_no_form(
    make_context: MakeContext, sqlite_engine: Engine, status: int
) -> None:
    with ScriptedPacs.running(storable=ALL_FORMS) as pacs:
        pacs.answers.append(status)
        context = make_context(sqlite_engine, destination=(to(pacs),))
        made, _ = film(context)
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.fell_back_from) == (DeliveryState.DUE, None)


def test_a_pacs_that_takes_no_report_at_all_ends_the_delivery_with_all_forms_named(
    make_context: MakeContext, engine: Engine
) -> None:
    with ScriptedPacs.running(storable=()) as pacs:
        context = make_context(engine, destination=(to(pacs),))
        made, _ = film(context)
        deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.fell_back_from) == (
        DeliveryState.DEAD,
        "comprehensive-3d, comprehensive, enhanced",
    )
    assert image(engine, made.image_id).state == ImageState.DEAD


def test_the_last_form_that_is_not_understood_is_tried_for_a_day(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(storable=ALL_FORMS) as pacs:
        pacs.answers.extend([0xC000] * 6)
        context = make_context(sqlite_engine, destination=(to(pacs),))
        made, uids = film(context)
        (delivery_id,) = made.delivery_ids
        # A PACS that was away for longer than a day has its day from its first refusal on.
        change(sqlite_engine, Delivery, delivery_id, created_at=now(sqlite_engine) - timedelta(days=2))
        deliver(context, delivery_id)
        assert delivery(sqlite_engine, delivery_id).state == DeliveryState.DUE
        change(
            sqlite_engine,
            Delivery,
            delivery_id,
            due_at=now(sqlite_engine),
            refused_since=now(sqlite_engine) - timedelta(hours=25),
        )
        deliver(context, delivery_id)
    assert delivery(sqlite_engine, delivery_id).state == DeliveryState.DEAD
    assert [uid for uid, _ in pacs.stores] == [*uids.values(), uids[Profile.BASIC_TEXT]]


def test_a_destination_with_a_form_of_its_own_gets_no_other(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(storable=BASIC_TEXT_AND_PICTURES) as pacs:
        context = make_context(sqlite_engine, destination=(to(pacs, profile="comprehensive-3d"),))
        made, _ = film(context)
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.fell_back_from) == (DeliveryState.DEAD, None)


def test_a_picture_has_no_other_form(make_context: MakeContext, sqlite_engine: Engine) -> None:
    with ScriptedPacs.running() as pacs:
        pacs.answers.append(0xA900)
        context = make_context(sqlite_engine, destination=(to(pacs),))
        made = analyse(sqlite_engine, results=2, folder=context.results)
        put_report_in_forms(sqlite_engine, made, context.results)
        deliver(context, made.delivery_ids[1])
    found = delivery(sqlite_engine, made.delivery_ids[1])
    assert (found.state, found.fell_back_from) == (DeliveryState.DEAD, None)


def test_the_next_film_begins_with_what_was_taken(make_context: MakeContext, sqlite_engine: Engine) -> None:
    """Four associations for the first film; then one, and one for the query."""
    with ScriptedPacs.running(storable=BASIC_TEXT_AND_PICTURES) as pacs:
        context = make_context(sqlite_engine, destination=(to(pacs),))
        for number, associations in enumerate((5, 7)):
            made, uids = film(context, f"1.2.3.{number}")
            deliver(context, made.delivery_ids[0])
            found = delivery(sqlite_engine, made.delivery_ids[0])
            assert (found.state, str(found.fell_back_from)[:16]) == ("confirmed", "comprehensive-3d")
            assert pacs.stores[-1][0] == uids[Profile.BASIC_TEXT]
            assert len(pacs.callers) == associations
    assert any("refused there within the last hour" in cause for cause in causes(sqlite_engine))


def test_a_refused_object_does_not_speak_for_the_next_film(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(storable=ALL_FORMS) as pacs:
        pacs.answers.append(0xA900)
        context = make_context(sqlite_engine, destination=(to(pacs),))
        for number in range(2):
            made, uids = film(context, f"1.2.3.{number}")
            deliver(context, made.delivery_ids[0])
    assert pacs.stores[-1][0] == uids[Profile.COMPREHENSIVE_3D]


def test_what_was_refused_is_forgotten_after_an_hour() -> None:
    moment = 0.0
    memory = RefusedClasses(clock=lambda: moment)
    assert not memory.holds("pacs", "1.2")
    memory.note("pacs", "1.2")
    moment = REMEMBERED_S - 1
    assert memory.holds("pacs", "1.2")
    assert not memory.holds("other", "1.2")
    moment = REMEMBERED_S + 1
    assert not memory.holds("pacs", "1.2")


def test_a_retry_by_an_operator_begins_with_the_richest_form_again(
    make_context: MakeContext, engine: Engine
) -> None:
    with ScriptedPacs.running(storable=()) as pacs:
        context = make_context(engine, destination=(to(pacs),))
        made, uids = film(context)
        deliver(context, made.delivery_ids[0])
    with database.write(engine) as session:
        ledger.retry(session, made.image_id, actor="operator")
    with ScriptedPacs.running(storable=ALL_FORMS) as pacs:
        context = make_context(engine, destination=(to(pacs),))
        deliver(context, made.delivery_ids[0])
    assert [uid for uid, _ in pacs.stores] == [uids[CHAIN[0]]]
    assert delivery(engine, made.delivery_ids[0]).fell_back_from is None
