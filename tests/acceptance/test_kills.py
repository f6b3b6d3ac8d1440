"""Processes die in the middle of their work: each film is reported all the same, and once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import build_film, chest_HW
from parts import Installation, Orthanc, wait_until
from pydicom.uid import generate_uid


def make_films(folder: Path, count: int) -> list[Path]:
    """Different films of one patient, as files."""
    folder.mkdir()
    paths = []
    for number in range(count):
        film = build_film(chest_HW(), SOPInstanceUID=generate_uid(entropy_srcs=["kill test", str(number)]))
        film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID
        paths.append(folder / f"{number}.dcm")
        film.save_as(paths[-1], enforce_file_format=True)
    return paths


def test_a_worker_killed_in_an_analysis_costs_no_film(installation: Installation, tmp_path: Path) -> None:
    assert installation.pacs is not None
    installation.listen()
    installation.work()
    assert installation.storescu(*make_films(tmp_path / "films", 1)).returncode == 0
    wait_until(lambda: installation.states() == ["analysing"], "the analysis to begin")

    installation.kill("worker")

    assert installation.states() == ["analysing"], "it was killed too late to show anything"
    installation.work()
    installation.wait_for_states("reported")
    assert installation.pacs.modalities() == ["OT", "SR"]
    assert installation.execute("SELECT attempts FROM image") == [(2,)]


def test_a_flushed_broker_costs_no_film(installation: Installation, tmp_path: Path, redis_server) -> None:  # type: ignore[no-untyped-def]
    assert installation.pacs is not None
    installation.listen()
    assert installation.storescu(*make_films(tmp_path / "films", 10)).returncode == 0
    wait_until(lambda: installation.states() == ["queued"] * 10, "all messages to be sent")

    redis_server.flush()

    installation.work()
    installation.wait_for_states(*["reported"] * 10, timeout_s=180)
    assert installation.pacs.modalities() == ["OT"] * 10 + ["SR"] * 10


@pytest.fixture
def embedded(tmp_path: Path, orthanc: Orthanc) -> Iterator[Installation]:
    """One machine with nothing beside it: `cxr-worker up` with its own broker and SQLite."""
    made = Installation(tmp_path / "data", broker_url=None, pacs=orthanc)
    yield made
    made.stop()


def test_everything_killed_and_up_again_balances(embedded: Installation, tmp_path: Path) -> None:
    assert embedded.pacs is not None
    embedded.up()
    assert embedded.storescu(*make_films(tmp_path / "films", 4)).returncode == 0
    wait_until(lambda: "analysing" in embedded.states(), "an analysis to begin")

    embedded.kill("up")

    assert embedded.states() != ["reported"] * 4, "it was killed too late to show anything"
    embedded.up()
    embedded.wait_for_states(*["reported"] * 4, timeout_s=180)
    audit = json.loads(embedded.command("audit", "--json").stdout)
    assert (audit["balanced"], audit["received"], audit["reported"]) == (True, 4, 4)
    assert embedded.pacs.modalities() == ["OT"] * 4 + ["SR"] * 4
