"""The story of one image, on data sets made in code and on the real network."""

import logging
import shutil
import traceback
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, phantom_HW, put_compressed, set_attributes, to_bytes
from pydicom import FileDataset, dcmread
from pydicom.uid import RLELossless
from rows import change, events, image, now
from sqlalchemy import Engine, select

from dicom_io.headers import read_header
from dicom_io.profiles import CHAIN
from dicom_io.scp import Peer, ReceivedInstance
from worker import database, pipeline
from worker.context import Context
from worker.queries import images
from worker.settings import Destination
from worker.states import ImageState
from worker.tables import Analysis, Delivery, Event, Image, Result

MakeContext = Callable[..., Context]
TO_PACS = Destination(name="pacs", aet="PACS", host="127.0.0.1", port=104, proof="find")
NAME, PATIENT_ID = "Geheim^Vorname", "PID-SECRET"


@pytest.fixture
def context(make_context: MakeContext, sqlite_engine: Engine, predictor: Any) -> Context:
    return with_network(make_context(sqlite_engine, destination=(TO_PACS,)), predictor)


def with_network(made: Context, predictor: Any) -> Context:
    """Each process loads the network once; the tests of one process share it."""
    made.__dict__["predictor"] = predictor
    return made


def receive(
    context: Context, encoded: bytes | FileDataset, uid: str = "1.2.826.0.1.3680043.10.1588.99.3"
) -> int:
    """Spool and record a film as the listener does."""
    if isinstance(encoded, FileDataset):
        uid = str(encoded.get("SOPInstanceUID", uid))
        encoded = to_bytes(encoded)
    path = context.spool.incoming / "film.part"
    path.write_bytes(encoded)
    instance = ReceivedInstance(
        "1.2.840.10008.5.1.4.1.1.1", uid, "1.2.840.10008.1.2.1", Peer("CR1", "h"), path
    )
    stored = context.spool.adopt(path)
    with database.write(context.engine) as session:
        row = images.record(session, instance, stored, actor="test")
        assert row is not None
        return row.id


def judge(context: Context, encoded: bytes | FileDataset) -> Image:
    image_id = receive(context, encoded)
    pipeline.analyse(context, image_id)
    return image(context.engine, image_id)


def all_of(engine: Engine, table: type[Any]) -> list[Any]:
    with database.read(engine) as session:
        return list(session.scalars(select(table).order_by(table.id)))


def test_a_film_is_analysed_with_all_that_belongs_to_it(
    make_context: MakeContext, engine: Engine, predictor: Any
) -> None:
    context = with_network(make_context(engine, destination=(TO_PACS,)), predictor)
    film = build_film()
    row = judge(context, film)
    assert row.state == ImageState.ANALYSED
    assert (row.patient_id, row.accession_number, row.study_date) == ("PID-4711", "ACC-1", "20240102")
    assert (row.patient_name, row.modality, row.body_part_examined) == ("Grün^Åsa", "CR", "CHEST")
    assert events(engine, row.id) == [
        (None, "received"),
        ("received", "analysing"),
        ("analysing", "analysed"),
    ]

    (analysis,) = all_of(engine, Analysis)
    said = predictor(phantom_as_stored())
    assert analysis.probability == pytest.approx(said.probability, abs=1e-4)
    assert analysis.decision == said.decision
    assert analysis.weights_sha256 == predictor.info.weights_sha256
    assert analysis.duration_s > 0

    results = all_of(engine, Result)
    assert [(result.kind, result.profile) for result in results] == [
        ("sc", "default"),
        *(("sr", profile) for profile in CHAIN),
    ]
    for result in results:
        dataset = dcmread(BytesIO(context.results.read(result.sha256)))
        assert dataset.SOPInstanceUID == result.sop_instance_uid
        assert dataset.StudyInstanceUID == film.StudyInstanceUID == result.study_instance_uid
        assert result.size_bytes == context.results.path(result.sha256).stat().st_size
    deliveries = all_of(engine, Delivery)
    assert all(d.due_at <= now(engine) for d in deliveries)
    assert [(d.result_id, d.destination, d.state) for d in deliveries] == [
        (r.id, "pacs", "due") for r in results[:2]
    ]


def phantom_as_stored() -> Any:
    return (np.rint(phantom_HW() * 4095) / 4095).astype(np.float32)


def test_a_film_without_a_destination_is_reported_at_once(
    make_context: MakeContext, sqlite_engine: Engine, predictor: Any
) -> None:
    context = with_network(make_context(sqlite_engine), predictor)
    row = judge(context, build_film())
    assert row.state == ImageState.REPORTED
    assert row.ended_at is not None
    assert len(all_of(sqlite_engine, Result)) == 2
    assert all_of(sqlite_engine, Delivery) == []


def test_each_destination_has_its_delivery(
    make_context: MakeContext, sqlite_engine: Engine, predictor: Any
) -> None:
    other = TO_PACS.model_copy(update={"name": "other", "proof": "none"})
    context = with_network(make_context(sqlite_engine, destination=(TO_PACS, other)), predictor)
    judge(context, build_film())
    found = sorted((d.destination, d.proof) for d in all_of(sqlite_engine, Delivery))
    assert found == [("other", "none")] * 2 + [("pacs", "find")] * 2


# Refused


def no_pixels() -> FileDataset:
    film = build_film()
    del film.PixelData
    return film


def damaged_pixels() -> FileDataset:
    return put_compressed(build_film(), b"\x02\x00\x00\x00" + b"\xff" * 200, RLELossless)


@pytest.mark.parametrize(
    ("film", "reason"),
    [
        (lambda: b"no DICOM at all", "not_dicom"),
        (lambda: b"", "not_dicom"),
        (no_pixels, "no_pixels"),
        (damaged_pixels, "unreadable"),
        (lambda: build_film(PatientAge="007Y"), "child"),
        (lambda: build_film(BodyPartExamined="HAND"), "not_chest"),
        (lambda: build_film(ViewPosition="LL"), "lateral"),
        (lambda: build_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33"), "sop_class"),
    ],
    ids=["text", "empty", "no pixels", "damaged pixels", "child", "hand", "lateral", "report"],
)
def test_what_must_not_be_judged_is_refused_with_its_reason(
    context: Context, film: Callable[[], bytes | FileDataset], reason: str
) -> None:
    row = judge(context, film())
    assert (row.state, row.reason) == (ImageState.REFUSED, reason)
    assert row.reason_detail
    assert row.lease_token is None
    assert all_of(context.engine, Analysis) == []


def test_the_header_of_a_refused_film_is_kept(context: Context) -> None:
    row = judge(context, build_film(PatientAge="007Y"))
    assert (row.patient_id, row.patient_age_years) == ("PID-4711", 7.0)


def test_the_youngest_age_is_a_setting(
    make_context: MakeContext, sqlite_engine: Engine, predictor: Any
) -> None:
    context = with_network(make_context(sqlite_engine, min_age_years=5), predictor)
    assert judge(context, build_film(PatientAge="007Y")).state == ImageState.REPORTED


# Twins


def test_the_same_film_twice_at_once_is_one_analysis(context: Context) -> None:
    image_id = receive(context, build_film())
    for _ in range(2):
        pipeline.analyse(context, image_id)
    assert len(all_of(context.engine, Analysis)) == 1
    assert image(context.engine, image_id).attempts == 1


def test_the_same_pixels_in_another_encoding_are_a_repeat(context: Context) -> None:
    judge(context, build_film())
    again = build_film()
    again.compress(RLELossless, generate_instance_uid=False)
    row = judge(context, again)
    assert (row.state, row.reason) == (ImageState.REFUSED, "repeat")


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_the_same_film_of_another_patient_or_study_is_refused(context: Context, keyword: str) -> None:
    judge(context, build_film())
    row = judge(context, build_film(**{keyword: "1.2.3.4"}))
    assert (row.state, row.reason) == (ImageState.REFUSED, "identity_changed")


def test_other_pixels_under_the_same_uid_are_refused_and_kept(context: Context) -> None:
    first = judge(context, build_film())
    second = judge(context, build_film(phantom_HW(seed=1)))
    assert (second.state, second.reason) == (ImageState.REFUSED, "uid_conflict")
    assert first.state == ImageState.ANALYSED
    assert len(all_of(context.engine, Image)) == 2


def test_the_same_pixels_under_another_uid_are_another_film(context: Context) -> None:
    judge(context, build_film())
    assert judge(context, build_film(SOPInstanceUID="1.2.3.4")).state == ImageState.ANALYSED


# Our own trouble


def test_a_film_that_is_gone_from_the_spool_is_waited_for_then_dead_with_words(context: Context) -> None:
    image_id = receive(context, build_film())
    shutil.rmtree(context.spool.root)
    context.spool.incoming.mkdir(parents=True)
    pipeline.analyse(context, image_id)
    row = image(context.engine, image_id)
    assert (row.state, row.attempts, row.hand_backs) == (ImageState.QUEUED, 0, 1)
    moment = now(context.engine)
    change(context.engine, Image, image_id, waiting_since=moment - timedelta(days=8), due_at=moment)
    pipeline.analyse(context, image_id)
    row = image(context.engine, image_id)
    assert (row.state, row.reason) == (ImageState.DEAD, "our_trouble")
    assert "No such file" in str(row.reason_detail)


def test_a_damaged_film_is_dead_with_words(context: Context) -> None:
    image_id = receive(context, build_film())
    (path,) = context.spool.root.glob("??/*.dcm")
    path.write_bytes(path.read_bytes()[:-2] + b"\1\1")
    pipeline.analyse(context, image_id)
    row = image(context.engine, image_id)
    assert (row.state, row.reason) == (ImageState.DEAD, "DamagedObject")


def test_a_film_whose_study_uid_is_no_uid_is_refused(context: Context) -> None:
    row = judge(context, build_film(StudyInstanceUID="DOE^JOHN"))
    assert (row.state, row.reason) == (ImageState.REFUSED, "invalid_uid")
    assert "DOE" not in str(row.reason_detail)


def test_a_bad_model_hands_the_film_back(
    make_context: MakeContext, sqlite_engine: Engine, tmp_path: Path
) -> None:
    context = make_context(sqlite_engine, model=tmp_path / "no model here")
    row = judge(context, build_film())
    assert (row.state, row.reason, row.attempts) == (ImageState.QUEUED, None, 0)
    assert row.due_at > now(sqlite_engine)
    (*_, last) = all_of(sqlite_engine, Event)
    assert "the model cannot be used" in last.cause


def test_a_damaged_weights_file_hands_the_film_back(
    make_context: MakeContext,
    sqlite_engine: Engine,
    tmp_path: Path,
    predictor: Any,
    model_folder: Path | None,
) -> None:
    from model.checkpoint import RELEASE

    folder = Path(shutil.copytree(model_folder or RELEASE, tmp_path / "model"))
    weights = folder / "weights.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    row = judge(make_context(sqlite_engine, model=folder), build_film())
    assert row.state == ImageState.QUEUED


def test_results_that_cannot_be_written_hand_the_film_back(context: Context) -> None:
    image_id = receive(context, build_film())
    for number in range(256):
        (context.results.root / f"{number:02x}").touch()
    pipeline.analyse(context, image_id)
    assert image(context.engine, image_id).state == ImageState.QUEUED
    assert all_of(context.engine, Analysis) == []
    for number in range(256):
        (context.results.root / f"{number:02x}").unlink()
    change(context.engine, Image, image_id, due_at=now(context.engine))
    pipeline.analyse(context, image_id)
    assert image(context.engine, image_id).state == ImageState.ANALYSED


def test_a_film_whose_analyses_never_end_is_dead(
    make_context: MakeContext, sqlite_engine: Engine, predictor: Any
) -> None:
    """Each of them began, by its count, and was killed."""
    context = with_network(make_context(sqlite_engine, max_attempts=3), predictor)
    image_id = receive(context, build_film())
    change(sqlite_engine, Image, image_id, attempts=3)
    pipeline.analyse(context, image_id)
    row = image(sqlite_engine, image_id)
    assert (row.state, row.reason) == (ImageState.DEAD, "attempts")
    assert str(row.reason_detail).startswith("3 analyses began and none ended; the last: ")


def test_the_last_allowed_analysis_is_made(
    make_context: MakeContext, sqlite_engine: Engine, predictor: Any
) -> None:
    context = with_network(make_context(sqlite_engine, max_attempts=3), predictor)
    image_id = receive(context, build_film())
    change(sqlite_engine, Image, image_id, attempts=2)
    pipeline.analyse(context, image_id)
    assert image(sqlite_engine, image_id).state == ImageState.REPORTED


def test_a_lease_that_was_lost_writes_nothing(
    context: Context, predictor: Any, caplog: pytest.LogCaptureFixture
) -> None:
    image_id = receive(context, build_film())

    def judged_too_slowly(image_HW: Any) -> Any:
        change(context.engine, Image, image_id, lease_token="another worker")
        return predictor(image_HW)

    judged_too_slowly.info = predictor.info  # type: ignore[attr-defined]
    with_network(context, judged_too_slowly)
    pipeline.analyse(context, image_id)
    row = image(context.engine, image_id)
    assert (row.state, row.lease_token) == (ImageState.ANALYSING, "another worker")
    assert all_of(context.engine, Analysis) == all_of(context.engine, Result) == []
    assert "nothing written" in caplog.text


# Nobody sees a patient who was not let in


def secret_film(**overrides: Any) -> FileDataset:
    return build_film(PatientName=NAME, PatientID=PATIENT_ID, **overrides)


def told(context: Context) -> str:
    """Everything that database rows say besides the columns that hold the header."""
    words = [f"{e.actor} {e.cause}" for e in all_of(context.engine, Event)]
    words += [f"{i.reason} {i.reason_detail}" for i in all_of(context.engine, Image)]
    return " ".join(words)


def assert_nothing_of_the_patient(text: str) -> None:
    for secret in ("Geheim", "Vorname", PATIENT_ID):
        assert secret not in text


def test_an_exception_that_quotes_the_film_is_told_without_it(
    context: Context, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def fault(image_HW: Any) -> Any:
        raise ValueError(f"could not judge the film of {NAME} ({PATIENT_ID})")

    fault.info = context.predictor.info  # type: ignore[attr-defined]
    with_network(context, fault)
    row = judge(context, secret_film())
    assert row.state == ImageState.QUEUED
    assert row.patient_name == NAME, "the column that is for it"
    assert "ValueError at test_pipeline.py:" in told(context)
    assert_nothing_of_the_patient(told(context))
    assert_nothing_of_the_patient(caplog.text)


@pytest.mark.parametrize(
    "overrides",
    [
        {"PatientAge": "007Y"},
        {"PixelData": None},
        {"Rows": 1},
        {"StudyInstanceUID": None},
        {"PatientName": NAME + "^" * 9 + "=" * 9},
        {"BodyPartExamined": NAME},
        {"ViewPosition": "LL"},
    ],
    ids=lambda o: next(iter(o)),
)
def test_neither_log_nor_reasons_name_a_patient(
    context: Context, overrides: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    judge(context, set_attributes(secret_film(), overrides))  # type: ignore[arg-type]
    ours = "\n".join(
        r.getMessage() for r in caplog.records if r.name.startswith(("worker", "dicom_io", "model"))
    )
    assert_nothing_of_the_patient(ours)
    body_part_is_told = overrides.get("BodyPartExamined") == NAME
    if not body_part_is_told:
        assert_nothing_of_the_patient(told(context))


def test_a_database_that_fails_does_not_quote_the_film(context: Context) -> None:
    """SQLAlchemy repeats a statement's parameters in its messages unless told otherwise."""
    image_id = receive(context, secret_film())
    with context.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER broken BEFORE UPDATE ON image WHEN new.patient_name IS NOT NULL "
            "BEGIN SELECT RAISE(ABORT, 'disk image is malformed'); END"
        )
        connection.exec_driver_sql("UPDATE image SET attempts = 0")
    with database.write(context.engine) as session:
        claim = images.claim(session, image_id, lease_s=60, actor="a")
    assert claim is not None
    header = read_header(dcmread(BytesIO(to_bytes(secret_film()))))
    with pytest.raises(Exception, match="malformed") as caught, database.write(context.engine) as session:
        images.describe(session, claim, header)
    assert_nothing_of_the_patient("".join(traceback.format_exception(caught.value)))


def test_a_film_of_hostile_text_is_judged_and_its_text_kept(context: Context) -> None:
    film = build_film(
        PatientID="'; DROP TABLE image; --", AccessionNumber="<b>&amp;</b>", StudyDescription="\x1b[31m"
    )
    row = judge(context, film)
    assert row.state == ImageState.ANALYSED
    assert row.patient_id == "'; DROP TABLE image; --"
    assert row.accession_number == "<b>&amp;</b>"


def test_a_film_of_nested_items_without_end_is_refused_or_judged_but_ends(context: Context) -> None:
    row = judge(context, nested(400))
    assert row.state in (ImageState.REFUSED, ImageState.ANALYSED, ImageState.DEAD)


def nested(levels: int) -> bytes:
    """A film with sequences in sequences, written by hand: pydicom would fail to write them."""
    encoded = to_bytes(build_film())
    start = b"\x08\x00\x10\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    place = encoded.index(b"\x10\x00\x10\x00PN")
    return encoded[:place] + start * levels + end * levels + encoded[place:]
