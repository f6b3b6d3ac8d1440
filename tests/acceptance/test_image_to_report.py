"""The whole path on real parts: dcmtk → listener → Redis → Celery → Orthanc, then every claim is compared."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from builders import build_dx, build_film
from parts import ROOT, Installation, Orthanc, PostgreSQL, RedisServer, need, wait_until
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import DigitalXRayImageStorageForProcessing

from dicom_io.capture import build_capture
from dicom_io.findings import Algorithm, Device, Finding, Presence, ResultContext
from dicom_io.pixels import read_pixels
from dicom_io.report import build_report, encode
from dicom_io.validators import validate_folder

FILM = Path(str(get_testdata_file("RG1_UNCR.dcm", download=False)))


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, redis_server: RedisServer, orthanc: Orthanc
) -> Iterator[Installation]:
    """The same installation on both databases."""
    redis_server.flush()
    url = None
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database(f"cxr_{os.getpid()}_{tmp_path.name}")
    made = Installation(tmp_path / "data", broker_url=redis_server.url, pacs=orthanc, database_url=url)
    if url:
        assert made.command("migrate").returncode == 0
    yield made
    made.stop()


def test_a_chest_film_comes_back_as_a_report_and_a_heat_map(site: Installation, tmp_path: Path) -> None:
    assert site.pacs is not None
    site.listen()
    site.work()
    # A modality sends to the PACS and to the worker.
    to_pacs = ["-aec", site.pacs.aet, "127.0.0.1", str(site.pacs.port), str(FILM)]
    subprocess.run([need("storescu", "dcmtk"), *to_pacs], check=True, capture_output=True)
    assert site.storescu(FILM).returncode == 0

    (row,) = site.wait_for_states("reported")

    assert site.pacs.modalities() == ["CR", "OT", "SR"]
    source = dcmread(FILM)
    objects = exported(site.pacs, tmp_path / "pacs")
    film, capture, report = (objects[modality] for modality in ("CR", "OT", "SR"))
    assert film.SOPInstanceUID == source.SOPInstanceUID
    for result in (capture, report):
        same_patient_and_study(result, source)
        assert result.ContentQualification == "RESEARCH"
        assert "research use only" in str(result.SeriesDescription).lower()
    the_report_says_what_the_database_says(report, capture, source, row)
    assert row["delivered"] == "proved"
    (tmp_path / "pacs" / "film.dcm").unlink()
    no_validator_finds_an_error(tmp_path / "pacs")
    assert json.loads(site.command("audit", "--json").stdout)["balanced"] is True


def no_validator_finds_an_error(folder: Path) -> None:
    programs = {"dciodvfy": "dicom3tools", "dsrdump": "dcmtk", "java": "default-jre-headless"}
    for program, package in programs.items():
        need(program, package)
    assert validate_folder(folder) == []
    runner = ROOT.parent / "shared" / "spec" / "check_results.sh"
    if runner.exists():
        checked = subprocess.run(
            ["bash", str(runner), str(folder)], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout
        assert "no error" in checked.stdout


def exported(pacs: Orthanc, folder: Path) -> dict[str, Dataset]:
    """All objects of the PACS, by modality, as files as well."""
    folder.mkdir()
    objects = {}
    for name in pacs.instances():
        encoded = pacs.file(name)
        dataset = dcmread(BytesIO(encoded))
        ours = str(dataset.SOPInstanceUID).startswith("2.25.")
        (folder / f"{dataset.Modality if ours else 'film'}.dcm").write_bytes(encoded)
        objects[str(dataset.Modality)] = dataset
    return objects


def same_patient_and_study(result: Dataset, source: Dataset) -> None:
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
    ):
        assert result[keyword].value == source[keyword].value, keyword
    assert result.get("AccessionNumber", "") == source.get("AccessionNumber", "")
    assert result.SeriesInstanceUID != source.SeriesInstanceUID
    assert str(result.SOPInstanceUID).startswith("2.25.")


def the_report_says_what_the_database_says(
    report: Dataset, capture: Dataset, source: Dataset, row: dict[str, object]
) -> None:
    items = [item for item in report.iterall() if item.keyword == "ConceptNameCodeSequence"]
    assert items[0].value[0].CodeValue == "126000"
    (number,) = [
        item.MeasuredValueSequence[0].NumericValue
        for item in walk(report)
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "PROBCOVID"
    ]
    probability = row["probability"]
    assert isinstance(probability, float)
    assert float(number) == pytest.approx(100 * probability, abs=0.051)
    (presence,) = [
        item.ConceptCodeSequence[0].CodeValue
        for item in walk(report)
        if item.ValueType == "CODE" and item.ConceptNameCodeSequence[0].CodeValue == "840539006"
    ]
    decided = {"positive": "52101004", "negative": "272519000", "indeterminate": "373068000"}
    assert presence == decided[str(row["decision"])]
    referenced = {
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for item in walk(report)
        if item.ValueType == "IMAGE"
    }
    assert referenced == {source.SOPInstanceUID, capture.SOPInstanceUID}
    assert report.SOPInstanceUID == row["sr_sop_instance_uid"]
    assert capture.SOPInstanceUID == row["sc_sop_instance_uid"]
    assert row["patient_id"] == source.PatientID
    assert row["study_instance_uid"] == source.StudyInstanceUID


def walk(item: Dataset) -> Iterator[Dataset]:
    """All content items below one."""
    for child in item.get("ContentSequence", []):
        yield child
        yield from walk(child)


def test_an_unknown_calling_title_is_rejected_and_shown(installation: Installation) -> None:
    installation.listen()
    answer = installation.storescu(FILM, options=("-aet", "STRANGER"))
    assert answer.returncode != 0
    status = json.loads(installation.command("status", "--json").stdout)
    (rejection,) = status["rejections"]
    assert (rejection["calling_aet"], rejection["reason"]) == ("STRANGER", "unknown_sender")
    assert 'aet = "STRANGER"' in rejection["to_admit"]
    assert status["received"] == 0


def test_what_must_not_be_judged_is_refused_with_its_reason_and_sends_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    installation.listen()
    installation.work()
    extremity = Path(str(get_testdata_file("RG3_UNCR.dcm", download=False)))
    for_processing = tmp_path / "for_processing.dcm"
    film = build_dx(SOPClassUID=DigitalXRayImageStorageForProcessing, PresentationIntentType="FOR PROCESSING")
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.save_as(for_processing, enforce_file_format=True)
    report, capture = our_own_objects(tmp_path)
    expected = ["not_chest", "sop_class", "own_output", "own_output"]

    for path in (extremity, for_processing, report, capture):
        # -R: propose what the file needs, not dcmtk's list of old classes; -xr: and RLE, as ours are.
        assert installation.storescu(path, options=("-R", "-xr")).returncode == 0

    rows = installation.wait_for_states(*["refused"] * 4)
    assert [row["reason"] for row in sorted(rows, key=lambda row: row["image_id"])] == expected
    assert {row["probability"] for row in rows} == {None}
    assert installation.pacs is not None
    assert installation.pacs.modalities() == []
    assert json.loads(installation.command("audit", "--json").stdout)["refused"] == 4


def our_own_objects(folder: Path) -> list[Path]:
    """A report and a heat map as we would send them, as files."""
    film = build_film()
    context = ResultContext(
        finding=Finding(Presence.ABSENT, 0.1, 0.5, 0.5, 0.5),
        algorithm=Algorithm("cxr-test", "1", "0" * 64),
        device=Device("test-node", "0"),
        created_at=datetime.now(UTC),
    )
    capture = build_capture(film, read_pixels(film), np.zeros((5, 5), np.float32), context)
    paths = []
    for name, result in (("report", build_report(film, context, capture)), ("capture", capture)):
        paths.append(folder / f"{name}.dcm")
        paths[-1].write_bytes(encode(result))
    return paths


def test_a_removed_row_makes_the_audit_fail(installation: Installation) -> None:
    installation.listen()
    installation.storescu(FILM)
    wait_until(lambda: len(installation.states()) == 1, "the row")
    assert installation.command("audit").returncode == 0
    installation.execute("DELETE FROM image")
    audit = installation.command("audit", "--json")
    assert audit.returncode == 1
    assert json.loads(audit.stdout)["difference"] == 1
