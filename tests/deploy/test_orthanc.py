import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import builders
import pytest
from parts import end, free_port, need, wait_until

from dicom_io import scu
from dicom_io.scu import Identity, Outcome, Target


@dataclass(frozen=True)
class Pacs:
    port: int
    http_port: int

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def target(self, calling: str) -> Target:
        return Target("ORTHANC", "127.0.0.1", self.port, calling, timeout_s=10)


@pytest.fixture(scope="module")
def pacs(deploy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """Orthanc under the configuration of `deploy/`, on free ports."""
    folder, made = tmp_path_factory.mktemp("orthanc"), Pacs(free_port(), free_port())
    here = {
        "DicomPort": made.port,
        "HttpPort": made.http_port,
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "RegisteredUsers": {"operator": "secret"},
    }
    configuration = json.loads((deploy / "orthanc.json").read_text("utf-8")) | here
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        program = [need("Orthanc", "orthanc"), str(folder / "orthanc.json")]
        process = subprocess.Popen(program, start_new_session=True, stdout=log, stderr=log)
    try:
        wait_until(made.listens, "Orthanc to listen", 30)
        yield made
    finally:
        end(process)


def test_pacs_takes_and_finds_what_the_worker_sends(pacs: Pacs, tmp_path: Path) -> None:
    film = builders.build_film()
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    worker = pacs.target("CXRWORKER")
    assert scu.echo(worker)
    answer = scu.send_file(worker, tmp_path / "film.dcm")
    assert answer.outcome == Outcome.SENT
    identity = Identity(film.SOPClassUID, film.SOPInstanceUID, film.SeriesInstanceUID, film.StudyInstanceUID)
    assert wait_until(lambda: scu.find(worker, identity) == (), "the film to be found", 10)


def test_pacs_knows_nobody_else(pacs: Pacs) -> None:
    assert not scu.echo(pacs.target("STRANGER"))


def test_pacs_asks_for_a_login(pacs: Pacs) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{pacs.http_port}/system", timeout=10)
    refused.value.close()
    assert refused.value.code == 401
