"""An operator has a film judged anew: a changed identity that is right, or a newer model."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import build_film, compress, to_bytes
from pydicom import FileDataset, dcmread
from pydicom.uid import RLELossless
from rich.console import Console
from rows import change, events, image
from sqlalchemy import Engine, select

from dicom_io.scp import Peer, ReceivedInstance
from worker import database, pipeline
from worker.cli import status
from worker.context import Context
from worker.queries import images, ledger
from worker.queries.reissue import ModelKey, NothingToReissue, reissue
from worker.states import ImageState
from worker.tables import Analysis, Event, Image, Result

CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture
def context(make_context: Callable[..., Context], sqlite_engine: Engine, predictor: Any) -> Context:
    made = make_context(sqlite_engine)
    made.__dict__["predictor"] = predictor
    return made


def judge(context: Context, film: FileDataset) -> Image:
    path = context.spool.incoming / "film.part"
    path.write_bytes(to_bytes(film))
    peer, uid = Peer("CR1", "h"), str(film.SOPInstanceUID)
    instance = ReceivedInstance(str(film.SOPClassUID), uid, "1.2.840.10008.1.2.1", peer, path)
    stored = context.spool.adopt(path)
    with database.write(context.engine) as session:
        row = images.record(session, instance, stored, actor="test")
        assert row is not None
    pipeline.analyse(context, row.id)
    return image(context.engine, row.id)


def again(context: Context, image_id: int, *, version: str | None = None) -> str:
    info = context.predictor.info
    model = ModelKey(info.name, version or info.version, info.weights_sha256)
    with database.write(context.engine) as session:
        return reissue(session, image_id, model, actor="test/operator")


def results_of(context: Context, image_id: int) -> dict[str, Result]:
    with database.read(context.engine) as session:
        return {r.kind: r for r in session.scalars(select(Result).where(Result.image_id == image_id))}


def rows(context: Context, table: type[Any]) -> list[Any]:
    with database.read(context.engine) as session:
        return list(session.scalars(select(table).order_by(table.id)))


def with_version(context: Context, version: str) -> None:
    """The same network, as a model of another version."""
    newer = copy(context.predictor)
    newer.info = replace(newer.info, version=version)
    context.__dict__["predictor"] = newer


def test_a_changed_identity_is_an_alarm_until_an_operator_has_it_judged(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    first = judge(context, build_film())
    second = judge(context, build_film(PatientID="PID-4712"))
    assert (second.state, second.reason) == (ImageState.REFUSED, "identity_changed")
    assert [r.levelname for r in caplog.records if "identity_changed" in r.message] == ["ERROR"]
    (alarm,) = status.collect(context)["identity_changed"]
    assert alarm["image_id"] == second.id
    assert "PID" not in alarm["detail"]
    shown = StringIO()
    status.show(status.collect(context), Console(file=shown, width=200))
    assert f"ALARM: image {second.id}: image {first.id} is the same film" in shown.getvalue()
    assert f"cxr-worker reissue {second.id}" in shown.getvalue()

    again(context, second.id)
    pipeline.analyse(context, second.id)
    judged = image(context.engine, second.id)
    assert (judged.state, judged.reason) == (ImageState.REPORTED, None)
    assert judged.reissue_hash == judged.content_sha256
    assert status.collect(context)["identity_changed"] == []
    assert events(context.engine, second.id)[-4:] == [
        *(("refused", "queued"), ("queued", "analysing"), ("analysing", "analysed"), ("analysed", "reported"))
    ]
    (decided,) = [event for event in rows(context, Event) if event.before == "refused"]
    assert (decided.actor, decided.cause) == (
        "test/operator",
        "reissue by an operator: the changed identity stands",
    )

    before, after = results_of(context, first.id), results_of(context, second.id)
    assert {r.sop_instance_uid for r in before.values()}.isdisjoint(
        r.sop_instance_uid for r in after.values()
    )
    report = dcmread(BytesIO(context.results.read(after["sr"].sha256)))
    assert report.PatientID == "PID-4712"
    with database.read(context.engine) as session:
        assert ledger.ledger(session).difference == 0


def test_what_was_decided_does_not_come_up_again_when_it_is_sent_again(context: Context) -> None:
    judge(context, build_film())
    second = judge(context, build_film(PatientID="PID-4712"))
    again(context, second.id)
    pipeline.analyse(context, second.id)
    third = judge(context, compress(build_film(PatientID="PID-4712"), RLELossless))
    assert (third.reason, third.reason_detail) == (
        "repeat",
        f"the same film came before in another encoding: image {second.id}",
    )
    assert len(rows(context, Analysis)) == 2


def test_a_reported_film_is_judged_by_a_newer_model_and_its_older_results_stay(context: Context) -> None:
    row = judge(context, build_film())
    assert row.state == ImageState.REPORTED
    old = results_of(context, row.id)
    with_version(context, "99.1")
    assert "99.1" in again(context, row.id)
    pipeline.analyse(context, row.id)
    assert image(context.engine, row.id).state == ImageState.REPORTED
    versions = [analysis.model_version for analysis in rows(context, Analysis)]
    assert len(versions) == 2
    assert versions[1] == "99.1"
    stored = {result.sop_instance_uid for result in rows(context, Result)}
    assert len(stored) == 2 * len(old)
    assert {result.sop_instance_uid for result in old.values()} < stored
    for result in old.values():
        context.results.check(result.sha256)


def test_with_no_newer_model_nothing_is_done(context: Context) -> None:
    row = judge(context, build_film())
    seen = events(context.engine, row.id)
    with pytest.raises(NothingToReissue, match=r"nothing to do, the configured model .* has judged it"):
        again(context, row.id)
    with pytest.raises(NothingToReissue, match=r"expected a newer model than .*; the configured one is"):
        again(context, row.id, version="0.0.1")
    assert image(context.engine, row.id).state == ImageState.REPORTED
    assert events(context.engine, row.id) == seen


def test_a_version_is_newer_by_its_numbers_not_by_its_letters(context: Context) -> None:
    row = judge(context, build_film())
    change(context.engine, Analysis, rows(context, Analysis)[0].id, model_version="0.9.0")
    assert "0.10.0" in again(context, row.id, version="0.10.0")


def test_a_worker_that_still_holds_the_older_model_hands_the_film_back(context: Context) -> None:
    row = judge(context, build_film())
    again(context, row.id, version="99.1")
    pipeline.analyse(context, row.id)
    waiting = image(context.engine, row.id)
    assert (waiting.state, waiting.attempts, waiting.hand_backs) == (ImageState.QUEUED, 0, 1)
    with database.read(context.engine) as session:
        assert "restart the workers" in images.last_cause(session, row.id)
    with_version(context, "99.1")
    change(context.engine, Image, row.id, due_at=waiting.received_at)
    pipeline.analyse(context, row.id)
    assert image(context.engine, row.id).state == ImageState.REPORTED


@pytest.mark.parametrize("film", [{"BodyPartExamined": "HAND"}])
def test_what_was_refused_for_another_reason_is_not_reissued(context: Context, film: dict[str, str]) -> None:
    row = judge(context, build_film(**film))
    with pytest.raises(
        NothingToReissue, match=r"expected state reported, or refused \(identity_changed\), it"
    ):
        again(context, row.id)
    with pytest.raises(NothingToReissue, match="no such row"):
        again(context, 4711)


def test_the_command_says_what_it_did_or_why_it_did_nothing(
    command_line: CommandLine, context: Context, tmp_path: Path
) -> None:
    judge(context, build_film())
    second = judge(context, build_film(PatientID="PID-4712"))
    code, output, _ = command_line("reissue", str(second.id))
    assert code == 0
    assert output.startswith(f"image {second.id}: queued; reissue by an operator")
    assert image(context.engine, second.id).state == ImageState.QUEUED
    code, _, errors = command_line("reissue", str(second.id))
    assert code == 2
    assert f"image {second.id}: expected state reported" in errors
