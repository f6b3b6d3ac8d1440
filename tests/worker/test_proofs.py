"""What it takes to believe that a destination has an object, and what is stored when it does not."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from builders import build_secondary_capture
from parts import SOCKETS_LEFT, free_port
from rows import Analysed, analyse, change, delivery, image, now
from scripted_pacs import KEEP_AND_ABORT, ScriptedPacs
from scripted_web import DROP, ScriptedWeb
from sqlalchemy import Engine, select

from dicom_io.commitment_scp import CommitmentAnswer, Reference
from worker import database
from worker.context import Context
from worker.delivery import deliver
from worker.queries import commitments
from worker.receiver import Receiver
from worker.settings import Destination
from worker.states import DeliveryState, ImageState
from worker.tables import Commitment, Delivery

MakeContext = Callable[..., Context]
TERM = timedelta(days=7)

pytestmark = SOCKETS_LEFT


def site(
    make_context: MakeContext,
    engine: Engine,
    pacs: ScriptedPacs,
    proof: str = "commitment",
    results: int = 1,
    **settings: Any,
) -> tuple[Context, Analysed]:
    to = Destination.model_validate(
        {"name": "pacs", "aet": "PACS", "host": "127.0.0.1", "port": pacs.port, "proof": proof}
    )
    context = make_context(engine, destination=(to,), **settings)
    return context, analyse(engine, [("pacs", proof)], results=results, folder=context.results)


def make_due(engine: Engine, delivery_id: int) -> None:
    change(engine, Delivery, delivery_id, due_at=now(engine))


def questions(engine: Engine) -> list[Commitment]:
    with database.read(engine) as session:
        return list(session.scalars(select(Commitment).order_by(Commitment.id)))


def committed(transaction_uid: str, uid: str) -> CommitmentAnswer:
    return CommitmentAnswer(transaction_uid, (Reference("1.2", uid),), ())


def failed(transaction_uid: str, uid: str, reason: int) -> CommitmentAnswer:
    return CommitmentAnswer(transaction_uid, (), ((Reference("1.2", uid), reason),))


def hear(engine: Engine, answer: CommitmentAnswer) -> bool:
    """As the listener does when the answer comes to our port."""
    with database.write(engine) as session:
        return commitments.answer(session, answer, actor="test/listener", term=TERM)


# Storage Commitment


def test_what_is_committed_at_once_is_confirmed(make_context: MakeContext, engine: Engine) -> None:
    with ScriptedPacs.running() as pacs:
        context, made = site(make_context, engine, pacs)
        deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.lease_token) == (DeliveryState.CONFIRMED, None)
    assert image(engine, made.image_id).state == ImageState.REPORTED
    (question,) = questions(engine)
    assert pacs.asked == [(question.transaction_uid, made.uids)]
    assert question.answered_at is not None
    assert question.failure_reason is None
    assert pacs.finds == []


def test_what_is_committed_later_is_confirmed_by_whoever_hears_it(
    make_context: MakeContext, engine: Engine
) -> None:
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        context, made = site(make_context, engine, pacs, commitment_wait_s=1800)
        deliver(context, made.delivery_ids[0])
    found = delivery(engine, made.delivery_ids[0])
    assert (found.state, found.reason) == (
        DeliveryState.SENT,
        "sent, commitment asked for, no answer yet",
    )
    assert 1700 < (found.due_at - now(engine)).total_seconds() <= 1800
    assert image(engine, made.image_id).state == ImageState.ANALYSED

    (question,) = questions(engine)
    assert hear(engine, committed(question.transaction_uid, made.uids[0]))
    assert delivery(engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert image(engine, made.image_id).state == ImageState.REPORTED
    assert hear(engine, committed(question.transaction_uid, made.uids[0])), "told twice: no harm"


def test_without_an_answer_it_is_asked_anew_and_the_late_answer_still_counts(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        for _ in range(2):
            deliver(context, made.delivery_ids[0])
            make_due(sqlite_engine, made.delivery_ids[0])
    first, second = questions(sqlite_engine)
    assert first.transaction_uid != second.transaction_uid
    assert len(pacs.stores) == 1
    assert hear(sqlite_engine, committed(first.transaction_uid, made.uids[0]))
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED


def test_a_pacs_that_commits_to_half_confirms_that_half_and_is_sent_the_other_again(
    make_context: MakeContext, engine: Engine
) -> None:
    with ScriptedPacs.running() as pacs:
        context, made = site(make_context, engine, pacs, results=2)
        pacs.not_committed[made.uids[1]] = 0x0112
        for delivery_id in made.delivery_ids:
            deliver(context, delivery_id)
        kept, lost = (delivery(engine, delivery_id) for delivery_id in made.delivery_ids)
        assert (kept.state, lost.state) == (DeliveryState.CONFIRMED, DeliveryState.DUE)
        assert lost.reason == "not committed: 0x0112 no such object instance"
        assert (lost.due_at - now(engine)).total_seconds() > 1
        assert image(engine, made.image_id).state == ImageState.ANALYSED
        assert [question.failure_reason for question in questions(engine)] == [None, 0x0112]

        pacs.not_committed.clear()
        make_due(engine, lost.id)
        deliver(context, lost.id)
    assert delivery(engine, lost.id).state == DeliveryState.CONFIRMED
    assert image(engine, made.image_id).state == ImageState.REPORTED
    assert [uid for uid, _ in pacs.stores] == [*made.uids, made.uids[1]]


def test_a_pacs_that_never_commits_to_an_object_ends_it_and_the_film_with_the_reason(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running() as pacs:
        context, made = site(make_context, sqlite_engine, pacs, results=2, delivery_days=2)
        pacs.not_committed[made.uids[1]] = 0x0213
        for delivery_id in made.delivery_ids:
            deliver(context, delivery_id)
        (_, lost) = made.delivery_ids
        assert delivery(sqlite_engine, lost).state == DeliveryState.SENT, "it is there: not sent again"
        past = now(sqlite_engine) - timedelta(days=2, minutes=1)
        change(sqlite_engine, Delivery, lost, created_at=past, due_at=now(sqlite_engine))
        deliver(context, lost)
    found = delivery(sqlite_engine, lost)
    assert (found.state, found.reason) == (
        DeliveryState.DEAD,
        "no success in 2 days; last: not committed: 0x0213 resource limitation",
    )
    assert image(sqlite_engine, made.image_id).state == ImageState.DEAD
    assert len(pacs.stores) == 2


@pytest.mark.parametrize(("hours", "state"), [(23, DeliveryState.SENT), (25, DeliveryState.DEAD)])
def test_a_class_that_cannot_be_committed_to_is_asked_about_for_a_day(
    make_context: MakeContext, sqlite_engine: Engine, hours: int, state: DeliveryState
) -> None:
    """The question is taken each time, and answered later: the term goes on from answer to answer."""
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        (delivery_id,) = made.delivery_ids
        deliver(context, delivery_id)
        assert hear(sqlite_engine, failed(pacs.asked[-1][0], made.uids[0], 0x0122))
        past = now(sqlite_engine) - timedelta(hours=hours)
        change(sqlite_engine, Delivery, delivery_id, refused_since=past, due_at=now(sqlite_engine))
        deliver(context, delivery_id)
        assert hear(sqlite_engine, failed(pacs.asked[-1][0], made.uids[0], 0x0122))
    assert delivery(sqlite_engine, delivery_id).state == state


@pytest.mark.usefixtures("own_process_settings")
def test_an_answer_on_an_association_of_the_destinations_own_is_heard_by_the_listener(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    """It calls our port in the role of the SCP, and has committed to the first of two objects alone."""
    port = free_port()
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        more = {"listener": {"port": port}, "sender": ({"aet": "PACS", "host": "127.0.0.1"},)}
        context, made = site(make_context, sqlite_engine, pacs, results=2, **more)
        pacs.not_committed[made.uids[1]] = 0x0112
        for delivery_id in made.delivery_ids:
            deliver(context, delivery_id)
        listener = Receiver(context.settings, sqlite_engine, lambda: None).listener()
        listener.start()
        try:
            assert [pacs.report(port, pacs.information(question)) for question in (0, 1)] == [0, 0]
        finally:
            listener.stop()
    states = [delivery(sqlite_engine, delivery_id).state for delivery_id in made.delivery_ids]
    assert states == [DeliveryState.CONFIRMED, DeliveryState.DUE]


def test_a_failure_that_answers_an_older_question_changes_nothing(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        for _ in range(2):
            deliver(context, made.delivery_ids[0])
            make_due(sqlite_engine, made.delivery_ids[0])
        assert hear(sqlite_engine, failed(pacs.asked[0][0], made.uids[0], 0x0112))
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.SENT


def test_an_answer_to_what_was_never_asked_is_not_taken(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        deliver(context, made.delivery_ids[0])
    assert not hear(sqlite_engine, committed("2.25.1", made.uids[0]))
    assert not hear(sqlite_engine, committed(pacs.asked[0][0], "1.2.3.4.5"))
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.SENT


def test_an_answer_that_comes_while_it_is_asked_for_wins(
    make_context: MakeContext, sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The destination calls our port before the worker is done: the worker finds its lease gone."""
    with ScriptedPacs.running(commits_at_once=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        pacs.on_question = lambda: hear(sqlite_engine, committed(pacs.asked[-1][0], made.uids[0]))
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.lease_token) == (DeliveryState.CONFIRMED, None)
    assert "nothing written" in caplog.text


def test_a_pacs_without_storage_commitment_is_asked_again_and_named(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(commits=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert found.state == DeliveryState.SENT
    assert "expected Storage Commitment to be accepted" in str(found.reason)


# After a send without an answer


@pytest.mark.parametrize("proof", ["commitment", "none"])
def test_what_arrived_without_an_answer_is_found_and_not_sent_again(
    make_context: MakeContext, sqlite_engine: Engine, proof: str
) -> None:
    with ScriptedPacs.running() as pacs:
        context, made = site(make_context, sqlite_engine, pacs, proof=proof)
        pacs.answers.append(KEEP_AND_ABORT)
        for _ in range(2):
            deliver(context, made.delivery_ids[0])
            make_due(sqlite_engine, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert (len(pacs.stores), pacs.finds) == (1, made.uids)
    assert len(pacs.asked) == (proof == "commitment")


@pytest.mark.parametrize(("proof", "state"), [("commitment", "confirmed"), ("none", "sent")])
def test_a_destination_that_cannot_be_asked_is_sent_it_again(
    make_context: MakeContext, sqlite_engine: Engine, proof: str, state: str
) -> None:
    with ScriptedPacs.running(queries=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs, proof=proof)
        pacs.answers.append(KEEP_AND_ABORT)
        for _ in range(2):
            deliver(context, made.delivery_ids[0])
            make_due(sqlite_engine, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == state
    assert len(pacs.stores) == 2


def test_an_object_that_was_cut_in_the_middle_is_asked_for_and_sent_again(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedPacs.running(breaks_mid_object=True) as pacs:
        context, made = site(make_context, sqlite_engine, pacs, proof="find")
        deliver(context, made.delivery_ids[0])
        found = delivery(sqlite_engine, made.delivery_ids[0])
        assert (found.state, found.unanswered) == (DeliveryState.DUE, True)
        assert "expected an answer to C-STORE, got none" in str(found.reason)
        assert (pacs.stores, pacs.pieces) == ([], 3)

        pacs.breaks_mid_object = False
        make_due(sqlite_engine, made.delivery_ids[0])
        deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert pacs.finds == made.uids * 2, "before the second send, and as its proof"


# Duplicates


@pytest.mark.parametrize("proof", ["find", "commitment", "none"])
def test_a_duplicate_of_another_class_is_no_success_and_ends_after_a_day(
    make_context: MakeContext, sqlite_engine: Engine, proof: str
) -> None:
    with ScriptedPacs.running() as pacs:
        context, made = site(make_context, sqlite_engine, pacs, proof=proof)
        (delivery_id,) = made.delivery_ids
        pacs.held[made.uids[0]] = build_secondary_capture(SOPInstanceUID=made.uids[0])
        pacs.answers.extend([0x0111, 0x0111])
        deliver(context, delivery_id)
        found = delivery(sqlite_engine, delivery_id)
        assert found.state == DeliveryState.DUE
        assert "holds an object of another class under our UID" in str(found.reason)
        past = now(sqlite_engine) - timedelta(hours=25)
        change(sqlite_engine, Delivery, delivery_id, refused_since=past, due_at=now(sqlite_engine))
        deliver(context, delivery_id)
    assert delivery(sqlite_engine, delivery_id).state == DeliveryState.DEAD


def test_a_duplicate_that_is_committed_is_confirmed(make_context: MakeContext, sqlite_engine: Engine) -> None:
    with ScriptedPacs.running(queries=False) as pacs:
        context, made = site(make_context, sqlite_engine, pacs)
        deliver(context, made.delivery_ids[0])
        change(sqlite_engine, Delivery, made.delivery_ids[0], state=DeliveryState.DUE)
        pacs.answers.append(0x0111)
        deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert len(pacs.asked) == 2


# DICOMweb


def web_site(
    make_context: MakeContext, engine: Engine, web: ScriptedWeb, **more: Any
) -> tuple[Context, Analysed]:
    to = Destination.model_validate({"name": "web", "url": web.url, **more})
    context = make_context(engine, destination=(to,))
    return context, analyse(engine, [("web", to.proof)], folder=context.results)


TAKEN = json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI"}}]}}).encode()


def match(uid: str) -> bytes:
    """A QIDO-RS answer that has this object."""
    found = {"00080018": {"vr": "UI", "Value": [uid]}, "00100020": {"vr": "LO", "Value": ["OTHER"]}}
    return json.dumps([found]).encode()


def test_what_is_stored_over_the_web_is_found_by_qido(make_context: MakeContext, engine: Engine) -> None:
    with ScriptedWeb.running() as web:
        context, made = web_site(make_context, engine, web)
        web.answers["/dicom-web/studies/"] = (200, "application/dicom+json", match(made.uids[0]))
        web.answers["/dicom-web/studies"] = (200, "application/dicom+json", TAKEN)
        deliver(context, made.delivery_ids[0])
    assert delivery(engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert image(engine, made.image_id).state == ImageState.REPORTED
    assert [request.method for request in web.requests] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("failure", "state", "reason"),
    [
        (0x0122, DeliveryState.DEAD, "0x0122 HTTP 409, refused: SOP class not supported"),
        (0xA700, DeliveryState.DUE, "0xA700 HTTP 409, refused: out of resources"),
        (0xC000, DeliveryState.DUE, "0xC000 HTTP 409, error: cannot understand"),
    ],
)
def test_a_failure_over_the_web_has_the_outcome_of_its_reason(
    make_context: MakeContext, sqlite_engine: Engine, failure: int, state: DeliveryState, reason: str
) -> None:
    item = {"00081197": {"vr": "US", "Value": [failure]}}
    body = json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()
    with ScriptedWeb.running(code=409, body=body) as web:
        context, made = web_site(make_context, sqlite_engine, web)
        deliver(context, made.delivery_ids[0])
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert (found.state, found.reason) == (state, reason)


def test_a_success_that_names_nothing_is_not_sent_also_where_no_proof_is_wanted(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedWeb.running(code=200) as web:
        context, made = web_site(make_context, sqlite_engine, web, proof="none")
        deliver(context, made.delivery_ids[0])
        found = delivery(sqlite_engine, made.delivery_ids[0])
        assert (found.state, found.unanswered) == (DeliveryState.DUE, True)
        assert "empty answer" in str(found.reason)
        web.body = TAKEN
        make_due(sqlite_engine, made.delivery_ids[0])
        deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state in (
        DeliveryState.SENT,
        DeliveryState.CONFIRMED,
    )


def test_a_post_without_an_answer_is_asked_for_before_it_is_sent_again(
    make_context: MakeContext, sqlite_engine: Engine
) -> None:
    with ScriptedWeb.running(code=DROP) as web:
        context, made = web_site(make_context, sqlite_engine, web)
        deliver(context, made.delivery_ids[0])
        assert delivery(sqlite_engine, made.delivery_ids[0]).unanswered is True
        web.code, web.body = 200, match(made.uids[0])
        make_due(sqlite_engine, made.delivery_ids[0])
        deliver(context, made.delivery_ids[0])
    assert delivery(sqlite_engine, made.delivery_ids[0]).state == DeliveryState.CONFIRMED
    assert [request.method for request in web.requests] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        ({"token_file": "secret"}, "Bearer s3cret"),
        ({"user": "worker", "password_file": "secret"}, "Basic d29ya2VyOnMzY3JldA=="),
        ({}, None),
    ],
)
def test_a_secret_is_read_from_its_file_and_goes_into_the_header_alone(
    make_context: MakeContext,
    sqlite_engine: Engine,
    tmp_path: Any,
    caplog: pytest.LogCaptureFixture,
    keys: dict[str, str],
    header: str | None,
) -> None:
    caplog.set_level("DEBUG", "worker")
    (tmp_path / "secret").write_text("s3cret\n")
    paths = {key: tmp_path / value if key.endswith("_file") else value for key, value in keys.items()}
    with ScriptedWeb.running(code=503) as web:
        context, made = web_site(make_context, sqlite_engine, web, **paths)
        deliver(context, made.delivery_ids[0])
    assert web.requests[0].headers.get("Authorization") == header
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert "s3cret" not in f"{found.reason}{found.status_text}{caplog.text}{context.settings}"


@pytest.mark.parametrize("content", [None, "", "two\nlines", "pässword"])
def test_a_secret_that_cannot_be_used_is_told_without_repeating_it(
    make_context: MakeContext, sqlite_engine: Engine, tmp_path: Any, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    with ScriptedWeb.running() as web:
        context, made = web_site(make_context, sqlite_engine, web, token_file=tmp_path / "secret")
        deliver(context, made.delivery_ids[0])
    assert web.requests == []
    found = delivery(sqlite_engine, made.delivery_ids[0])
    assert found.state == DeliveryState.DUE
    assert f"token_file {tmp_path / 'secret'}: expected" in str(found.reason)
    assert not content or content.strip() not in str(found.reason)
