"""The edge of the worker: what a task meets is a line in the log, never a traceback that quotes a row."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from rows import receive
from sqlalchemy import Engine

from worker import context, settings, tasks


@pytest.fixture(autouse=True)
def own_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process's context is that of this test, and of no other."""
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "data"))
    settings.current.cache_clear()
    context.get.cache_clear()
    yield
    context.get().engine.dispose()
    settings.current.cache_clear()
    context.get.cache_clear()


def test_a_task_does_the_work_of_its_row(sqlite_engine: Engine) -> None:
    image_id = receive(sqlite_engine)
    tasks.analyse(image_id)
    with sqlite_engine.connect() as connection:
        (found,) = connection.exec_driver_sql("SELECT state, hand_backs FROM image").fetchall()
    assert found == ("queued", 1), "its file is not there, so it was handed back"


def test_a_row_that_is_gone_is_no_error(sqlite_engine: Engine) -> None:
    tasks.analyse(4711)
    tasks.deliver(4711)


def test_a_database_that_is_away_is_one_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data" / "cxr.sqlite3").mkdir(parents=True)
    with caplog.at_level(logging.INFO):
        tasks.analyse(1)
        tasks.deliver(2)
        tasks.sweep()
    lines = [record.getMessage() for record in caplog.records if record.name == "worker.tasks"]
    assert [line.split(":")[0] for line in lines] == ["image 1", "delivery 2", "sweep"]
    assert all("waits for the database or the broker: OperationalError" in line for line in lines)
    assert all(record.exc_info is None for record in caplog.records)


def test_a_broker_that_is_away_is_one_line_in_the_log(
    sqlite_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    receive(sqlite_engine)
    tasks.sweep()
    assert [r.getMessage() for r in caplog.records if r.name == "worker.tasks"] == [
        "sweep: waits for the database or the broker: OperationalError"
    ]
