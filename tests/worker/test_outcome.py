"""What is made of a judged or refused film, for which destination, and what it says of earlier issues."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from builders import build_film, phantom_HW, put_compressed, put_pixels, to_bytes
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import RLELossless
from rows import change, delivery, image, now
from sqlalchemy import Engine, select

from dicom_io import codes
from dicom_io.acceptance import Reason
from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from dicom_io.scp import Peer, ReceivedInstance
from worker import database, pipeline
from worker.context import Context
from worker.queries import deliveries as outbox
from worker.queries import images, ledger
from worker.settings import Destination
from worker.states import DeliveryState, ImageState
from worker.tables import Analysis, Delivery, Image, Result

Make = Callable[..., Context]
CR_STORAGE, EXPLICIT_LE = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.1.2.1"


def to(name: str, **more: Any) -> Destination:
    return Destination.model_validate({"name": name, "aet": "PACS", "host": "127.0.0.1", "port": 104, **more})


@pytest.fixture
def make(make_context: Make, sqlite_engine: Engine, predictor: Any) -> Make:
    """Make contexts that share the network."""

    def made(*destinations: Destination, **settings: Any) -> Context:
        context = make_context(sqlite_engine, destination=destinations, **settings)
        context.__dict__["predictor"] = predictor
        return context

    return made


def receive(context: Context, film: FileDataset) -> int:
    path = context.spool.incoming / "film.part"
    path.write_bytes(to_bytes(film))
    uid = str(film.SOPInstanceUID)
    instance = ReceivedInstance(CR_STORAGE, uid, EXPLICIT_LE, Peer("CR1", "h"), path)
    stored = context.spool.adopt(path)
    with database.write(context.engine) as session:
        row = images.record(session, instance, stored, actor="test")
        assert row is not None
        return row.id


def judge(context: Context, film: FileDataset) -> int:
    image_id = receive(context, film)
    pipeline.analyse(context, image_id)
    return image_id


def again(context: Context, image_id: int, **values: Any) -> None:
    """Send a film back to the queue as `cxr-worker reissue` does, and judge it."""
    change(context.engine, Image, image_id, state=ImageState.QUEUED, due_at=now(context.engine), **values)
    pipeline.analyse(context, image_id)


def all_of(context: Context, table: type[Any]) -> list[Any]:
    with database.read(context.engine) as session:
        return list(session.scalars(select(table).order_by(table.id)))


def sent(context: Context) -> list[tuple[str, str, str]]:
    """Destination, kind and profile of each delivery."""
    results = {result.id: result for result in all_of(context, Result)}
    found = [(d.destination, results[d.result_id]) for d in all_of(context, Delivery)]
    return [(name, result.kind, result.profile) for name, result in found]


def stored(context: Context, result: Result) -> Dataset:
    return dcmread(BytesIO(context.results.read(result.sha256)))


def reports(context: Context) -> list[Dataset]:
    return [stored(context, result) for result in all_of(context, Result) if result.kind == "sr"]


def texts(report: Dataset) -> list[str]:
    return [item.value for item in report.iterall() if item.keyword == "TextValue"]


# Forms


def test_a_destination_that_falls_back_finds_the_report_in_every_form(make: Make) -> None:
    context = make(to("pacs"))
    judge(context, build_film())
    forms = {r.profile: r.sop_class_uid for r in all_of(context, Result) if r.kind == "sr"}
    assert forms == {str(profile): REPORT_SOP_CLASS[profile] for profile in CHAIN}
    assert sent(context) == [("pacs", "sc", "default"), ("pacs", "sr", "comprehensive-3d")]


def test_only_the_forms_that_a_destination_may_need_are_made(make: Make) -> None:
    context = make(to("old", profile="basic-text"), to("middle", profile="comprehensive"))
    judge(context, build_film())
    assert [r.profile for r in all_of(context, Result) if r.kind == "sr"] == ["comprehensive", "basic-text"]
    assert sent(context) == [
        ("old", "sc", "default"),
        ("old", "sr", "basic-text"),
        ("middle", "sc", "default"),
        ("middle", "sr", "comprehensive"),
    ]


def test_without_a_destination_the_report_is_made_in_its_richest_form_alone(make: Make) -> None:
    context = make()
    judge(context, build_film())
    assert [(r.kind, r.profile) for r in all_of(context, Result)] == [
        ("sc", "default"),
        ("sr", "comprehensive-3d"),
    ]


def test_summary_page_and_annotation_go_to_those_who_ask_for_them(make: Make) -> None:
    context = make(to("plain"), to("shows", summary=True), to("draws", annotation=True))
    judge(context, build_film())
    pictures = [(name, kind) for name, kind, _ in sent(context) if kind in ("summary", "annotation")]
    assert pictures == [("shows", "summary"), ("draws", "annotation")]
    kinds = {r.kind: stored(context, r) for r in all_of(context, Result)}
    assert (kinds["summary"].SeriesNumber, kinds["annotation"].SeriesNumber) == (9003, 9004)


def test_a_film_in_colour_gets_no_annotation_and_is_reported_all_the_same(make: Make) -> None:
    context = make(to("draws", annotation=True))
    grey_HW = (phantom_HW() * 255).astype("uint8")
    film = build_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    colour = put_pixels(
        film, grey_HW[..., None].repeat(3, axis=-1), bits_stored=8, photometric_interpretation="RGB"
    )
    assert image(context.engine, judge(context, colour)).state == ImageState.ANALYSED
    assert {kind for _, kind, _ in sent(context)} == {"sr", "sc"}


# Refused


def test_a_refused_film_sends_nothing_by_default(make: Make) -> None:
    context = make(to("pacs"))
    judge(context, build_film(ViewPosition="LL"))
    assert all_of(context, Result) == all_of(context, Delivery) == []


def test_where_the_site_wants_it_a_refused_film_says_why_in_a_report(make: Make) -> None:
    context = make(to("pacs"), report_refusals=True)
    row = image(context.engine, judge(context, build_film(ViewPosition="LL")))
    assert (row.state, row.reason) == (ImageState.REFUSED, "lateral")
    assert row.ended_at is not None
    assert all_of(context, Analysis) == []
    assert sent(context) == [("pacs", "sr", "comprehensive-3d")]
    assert [(r.image_id, r.analysis_id, r.profile) for r in all_of(context, Result)] == [
        (row.id, None, str(profile)) for profile in CHAIN
    ]
    (first, *_) = reports(context)
    group = first.ContentSequence[-2].ContentSequence[0].ContentSequence
    answers = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeMeaning
        for item in group
        if item.ValueType == "CODE"
    }
    assert answers == {"COVID-19": "Undetermined", "Quality Assessment": "Not judged: not a frontal view"}
    assert not [item for item in group if item.ValueType == "NUM"]


def test_the_report_of_a_refused_film_is_delivered_after_the_films_end(make: Make) -> None:
    context = make(to("pacs"), report_refusals=True)
    image_id = judge(context, build_film(ViewPosition="LL"))
    (due,) = all_of(context, Delivery)
    with database.write(context.engine) as session:
        claim = outbox.claim(session, due.id, lease_s=60)
        assert claim is not None
        outbox.sent(session, claim, 0, "stored", actor="test")
    assert delivery(context.engine, due.id).state == DeliveryState.SENT
    assert image(context.engine, image_id).state == ImageState.REFUSED
    with database.read(context.engine) as session:
        counted = ledger.ledger(session)
    assert (counted.received, counted.count(ImageState.REFUSED), counted.difference) == (1, 1, 0)


def test_unreadable_pixels_are_a_matter_of_quality(make: Make) -> None:
    context = make(to("pacs", profile="basic-text"), report_refusals=True)
    damaged = put_compressed(build_film(), b"\x02\x00\x00\x00" + b"\xff" * 200, RLELossless)
    assert image(context.engine, judge(context, damaged)).reason == "unreadable"
    (report,) = reports(context)
    assert "COVID-19: Undetermined. Unusable - Quality renders image unusable." in texts(report)


def test_a_damaged_film_that_comes_twice_in_other_bytes_has_one_report(make: Make) -> None:
    context = make(to("pacs", profile="enhanced"), report_refusals=True)
    ids = []
    for filler in (b"\xff", b"\xfe"):
        damaged = put_compressed(build_film(), b"\x02\x00\x00\x00" + filler * 200, RLELossless)
        ids.append(judge(context, damaged))
    assert [image(context.engine, image_id).state for image_id in ids] == [ImageState.REFUSED] * 2
    assert len(all_of(context, Result)) == len(all_of(context, Delivery)) == 1


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"Manufacturer": "cxr-worker"}, Reason.OWN_OUTPUT),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, Reason.SOP_CLASS),
        ({"StudyInstanceUID": None}, Reason.INVALID_UID),
        ({"ViewPosition": "LL", "PatientID": "12\n34"}, Reason.LATERAL),
    ],
    ids=["our own", "another kind", "no study", "an id that cannot be copied"],
)
def test_what_is_no_film_or_nobodys_is_refused_without_a_report(
    make: Make, overrides: dict[str, Any], reason: Reason
) -> None:
    context = make(to("pacs"), report_refusals=True)
    row = image(context.engine, judge(context, build_film(**overrides)))
    assert (row.state, row.reason) == (ImageState.REFUSED, reason)
    assert all_of(context, Result) == []


def test_an_image_of_another_algorithm_is_refused_with_a_report(make: Make) -> None:
    context = make(to("pacs"), report_refusals=True)
    film = build_film(ImageType=["DERIVED", "SECONDARY", "OTHER"], AlgorithmName="other")
    assert image(context.engine, judge(context, film)).reason == Reason.OTHER_ALGORITHM
    assert {result.kind for result in all_of(context, Result)} == {"sr"}


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_its_words_or_is_told_to_nobody(reason: Reason) -> None:
    assert reason in codes.UNREPORTED or reason in codes.REFUSAL
    if reason in codes.REFUSAL:
        code = codes.REFUSAL[reason]
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64
        assert code.scheme_designator == ("DCM" if reason is Reason.UNREADABLE else "99CXRW")


def test_no_two_reasons_share_a_code() -> None:
    values = [code.value for code in codes.REFUSAL.values()]
    assert len(set(values)) == len(values)


# Once more


def test_a_newer_model_lists_the_older_report_and_leaves_it(make: Make, predictor: Any) -> None:
    context = make(to("pacs"))
    image_id = judge(context, build_film())
    change(context.engine, Analysis, 1, model_version="0.0.1")
    older = next(r for r in all_of(context, Result) if r.profile == Profile.COMPREHENSIVE_3D)
    # The destination did not take the first form.
    _, fallen = all_of(context, Delivery)
    text = next(r for r in all_of(context, Result) if r.profile == Profile.BASIC_TEXT)
    change(context.engine, Delivery, fallen.id, result_id=text.id)
    # The network of the tests has one version, so the older results get other UIDs by hand.
    for result in all_of(context, Result):
        change(context.engine, Result, result.id, sop_instance_uid=f"{result.sop_instance_uid}9")
    again(context, image_id)

    made = [r for r in all_of(context, Result) if r.analysis_id == 2 and r.kind == "sr"]
    assert len(made) == len(CHAIN)
    for result in made:
        report = stored(context, result)
        evidence = [
            instance.ReferencedSOPInstanceUID
            for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
            for instance in series.ReferencedSOPSequence
        ]
        assert f"{text.sop_instance_uid}9" in evidence
        assert f"{older.sop_instance_uid}9" not in evidence, "a form that no PACS has"
        assert [line for line in texts(report) if "0.0.1" in line and text.sop_instance_uid in line]
        assert "PredecessorDocumentsSequence" not in report
    assert predictor.info.version in texts(stored(context, made[0]))


def test_a_first_report_lists_no_earlier_one(make: Make) -> None:
    context = make(to("pacs"))
    judge(context, build_film())
    assert not [line for report in reports(context) for line in texts(report) if "Earlier" in line]


def test_the_hash_of_a_reissued_film_makes_its_uids_others(make: Make) -> None:
    context = make(to("pacs"))
    judge(context, build_film())
    film = build_film(PatientID="4712")
    image_id = judge(context, film)
    assert image(context.engine, image_id).reason == "identity_changed"
    before = {r.sop_instance_uid for r in all_of(context, Result)}
    digest = image(context.engine, image_id).content_sha256
    again(context, image_id, reissue_hash=digest, reason=None, reason_detail=None)
    assert image(context.engine, image_id).state == ImageState.ANALYSED
    after = [r for r in all_of(context, Result) if r.image_id == image_id]
    assert len(after) == len(CHAIN) + 1
    assert not before & {r.sop_instance_uid for r in after}
    for result in after:
        made = stored(context, result)
        assert made.PatientID == "4712"
        assert not [line for line in texts(made) if "Earlier" in line], "another patient's report"


def test_objects_are_on_disk_under_the_hash_of_their_bytes(make: Make, tmp_path: Path) -> None:
    context = make(to("pacs", summary=True, annotation=True))
    judge(context, build_film())
    names = {path.stem for path in context.results.root.rglob("*") if path.is_file()}
    assert {r.sha256 for r in all_of(context, Result)} <= names
    assert len({r.sha256 for r in all_of(context, Result)}) == len(CHAIN) + 3
