"""The doorbell: one message for each row that is work, on its queue, and none lost with a broker."""

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import pools
from parts import RedisServer, free_port, wait_until
from rows import analyse, change, delivery, image, now, receive
from sqlalchemy import Engine

from worker import bell, sweeper
from worker.celery import ANALYSE, DELIVER, app
from worker.context import Context
from worker.tables import Image

MakeContext = Callable[..., Context]


def point_app_at(url: str) -> None:
    app.conf.broker_url = app.conf.broker_write_url = url
    # Its pools of connections are made on first use, from the settings.
    app._pool = app.amqp._producer_pool = None


@pytest.fixture
def broker(redis_server: RedisServer) -> Iterator[RedisServer]:
    before = app.conf.broker_url
    redis_server.flush()
    point_app_at(redis_server.url)
    yield redis_server
    point_app_at(before)
    pools.reset()
    redis_server.flush()


def messages(server: RedisServer, queue: str) -> list[dict[str, Any]]:
    with server.client as client:
        return [json.loads(text) for text in client.lrange(queue, 0, -1)]  # type: ignore[union-attr]


def arguments(server: RedisServer, queue: str) -> list[int]:
    """The first argument of each message, oldest first."""
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages(server, queue)]
    return [body[0][0] for body in bodies][::-1]


def test_each_row_that_is_work_gets_one_message_on_its_queue(
    make_context: MakeContext, engine: Engine, broker: RedisServer
) -> None:
    context = make_context(engine)
    new = receive(engine, uid="1.1")
    made = analyse(engine, [("pacs", "find"), ("other", "none")], uid="1.2")
    assert sweeper.ring(context) == 3
    assert arguments(broker, ANALYSE) == [new]
    assert arguments(broker, DELIVER) == made.delivery_ids
    assert image(engine, 1).state == "queued"
    assert delivery(engine, made.delivery_ids[0]).rung_at is not None
    assert sweeper.ring(context) == 0
    assert len(messages(broker, ANALYSE)) == 1


def test_a_message_holds_the_id_of_the_row_and_nothing_of_the_patient(
    make_context: MakeContext, sqlite_engine: Engine, broker: RedisServer
) -> None:
    image_id = receive(sqlite_engine)
    assert image_id is not None
    change(sqlite_engine, Image, image_id, patient_name="Geheim", patient_id="PID-SECRET")
    sweeper.ring(make_context(sqlite_engine))
    (message,) = messages(broker, ANALYSE)
    assert message["headers"]["task"] == "worker.tasks.analyse"
    assert message["content-type"] == "application/json"
    arguments_, keywords, _ = json.loads(base64.b64decode(message["body"]))
    assert (arguments_, keywords) == ([image_id], {})
    assert "Geheim" not in str(message)
    assert "PID-SECRET" not in str(message)


def test_a_flushed_broker_is_rung_again_after_a_while(
    make_context: MakeContext, sqlite_engine: Engine, broker: RedisServer
) -> None:
    context = make_context(sqlite_engine, ring_again_s=0.3)
    image_id = receive(sqlite_engine)
    sweeper.ring(context)
    broker.flush()
    assert sweeper.ring(context) == 0
    time.sleep(0.4)
    assert sweeper.ring(context) == 1
    assert arguments(broker, ANALYSE) == [image_id]


def test_no_more_messages_than_a_queue_may_hold_are_sent(
    make_context: MakeContext, sqlite_engine: Engine, broker: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "MOST_MESSAGES", 3)
    for number in range(5):
        receive(sqlite_engine, uid=f"1.{number}")
    context = make_context(sqlite_engine, broker_url=broker.url)
    rung = [sweeper.ring(context), sweeper.ring(context)]
    broker.flush()
    assert [*rung, sweeper.ring(context)] == [3, 0, 2]


def test_a_broker_that_is_away_leaves_the_rows_as_they_are_and_costs_little_time(
    make_context: MakeContext, sqlite_engine: Engine, broker: RedisServer
) -> None:
    point_app_at(f"redis://127.0.0.1:{free_port()}/0")
    image_id = receive(sqlite_engine)
    assert image_id is not None
    began = time.monotonic()
    with pytest.raises(bell.AWAY):
        sweeper.ring(make_context(sqlite_engine))
    assert time.monotonic() - began < 4
    found = image(sqlite_engine, image_id)
    assert (found.state, found.rung_at) == ("received", None)


def test_a_woken_relay_rings_at_once(
    make_context: MakeContext, sqlite_engine: Engine, broker: RedisServer
) -> None:
    relay = sweeper.Relay(make_context(sqlite_engine, sweep_s=3600))
    relay.start()
    try:
        time.sleep(0.3)
        image_id = receive(sqlite_engine)
        assert messages(broker, ANALYSE) == []
        relay.wake()
        wait_until(lambda: arguments(broker, ANALYSE) == [image_id], "the message", 20)
    finally:
        relay.stop()


def test_a_relay_survives_a_broker_and_a_database_that_are_away(
    make_context: MakeContext,
    sqlite_engine: Engine,
    broker: RedisServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    point_app_at(f"redis://127.0.0.1:{free_port()}/0")
    relay = sweeper.Relay(make_context(sqlite_engine, sweep_s=0.1))
    image_id = receive(sqlite_engine)
    relay.start()
    try:
        wait_until(lambda: "could not ring, will try again: OperationalError" in caplog.text, "a turn", 20)
        point_app_at(broker.url)
        wait_until(lambda: arguments(broker, ANALYSE) == [image_id], "the message", 20)

        file = tmp_path / "data" / "cxr.sqlite3"
        sqlite_engine.dispose()
        file.rename(file.with_suffix(".away"))
        file.mkdir()
        caplog.clear()
        sqlite_engine.dispose()
        wait_until(lambda: "could not ring" in caplog.text, "a turn without a database", 20)
        file.rmdir()
        file.with_suffix(".away").rename(file)
        second = receive(sqlite_engine, uid="1.9")
        wait_until(lambda: arguments(broker, ANALYSE) == [image_id, second], "the second message", 20)
    finally:
        relay.stop()


def test_a_film_handed_back_is_rung_when_its_wait_is_over(
    make_context: MakeContext, sqlite_engine: Engine, broker: RedisServer
) -> None:
    context = make_context(sqlite_engine)
    image_id = receive(sqlite_engine)
    assert image_id is not None
    change(sqlite_engine, Image, image_id, state="queued", due_at=now(sqlite_engine).replace(year=2999))
    assert sweeper.ring(context) == 0
    change(sqlite_engine, Image, image_id, due_at=now(sqlite_engine))
    assert sweeper.ring(context) == 1


def test_a_plain_worker_consumes_both_queues() -> None:
    assert set(app.amqp.queues.consume_from) == {ANALYSE, DELIVER}


def test_the_queue_takes_json_alone_and_keeps_no_results() -> None:
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"
    assert app.conf.result_backend is None
    assert app.conf.worker_enable_remote_control is False
    assert (app.conf.task_acks_late, app.conf.task_reject_on_worker_lost) == (True, True)


def test_every_name_that_is_rung_is_a_task() -> None:
    import worker.tasks  # noqa: F401

    assert {bell.ANALYSE_TASK, bell.DELIVER_TASK, "worker.tasks.sweep"} <= set(app.tasks)
