"""The steps of the demonstration: PACS and worker up, films sent, reports awaited, table printed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image as Picture
from pydicom import dcmread
from pydicom.data import get_testdata_file
from rich.console import Console
from rich.table import Table

from dicom_io import scu
from dicom_io.scu import Outcome, Target
from worker.demo.pacs import DemoPacs

FILMS = {"chest": "RG1_UNCR.dcm", "extremity": "RG3_UNCR.dcm"}
"""From the package pydicom-data (MIT): one is analysed, one is refused."""
SENDER, WORKER, PACS = "DEMOMODALITY", "CXRWORKER", "DEMOPACS"
MARKER = ".cxr-worker-demo"
"""Says that a folder is ours to empty."""
START_TIMEOUT_S = 60
REPORT_TIMEOUT_S = 180
STOP_TIMEOUT_S = 45


class DemoFailed(Exception):
    """What was expected did not come; the message says what, and where to look."""


@dataclass
class Film:
    """One film on its way."""

    name: str
    path: Path
    sop_instance_uid: str
    acknowledged_at: float = 0.0


class Demo:
    """One run of the demonstration in one folder.

    Parameters
    ----------
    folder
        All that is made lies in it: `pacs/` what the worker sent, `pictures/`, the database, the logs.
    stay
        Keep everything running after the table, until Ctrl-C.
    """

    def __init__(self, folder: Path, *, stay: bool) -> None:
        self.folder = folder
        self.stay = stay
        self.console = Console()
        self.log = folder / "cxr-worker.log"

    def run(self) -> int:
        """Run every step; 0 when all came back and the ledger balances."""
        films = self._films()
        self._make_folder()
        pacs = DemoPacs(self.folder / "pacs", PACS, free_port())
        port = free_port()
        pacs.start()
        self._configure(port, pacs._address[1])
        try:
            with self._worker() as process:
                target = Target(WORKER, "127.0.0.1", port, SENDER)
                self._wait_for_listener(target, process)
                self._send(films, target)
                rows = self._wait_for_reports(films, pacs, process)
                self._show(films, rows, pacs)
                good = self._balances() and self._as_expected(rows)
                if self.stay:
                    self._stay(process)
        finally:
            pacs.stop()
        return 0 if good else 1

    def _films(self) -> list[Film]:
        films = []
        for name, file in FILMS.items():
            path = get_testdata_file(file, download=False)
            if not isinstance(path, str):
                raise DemoFailed(
                    f"expected {file} of the package pydicom-data: run `make demo`, which installs it"
                )
            uid = str(dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
            films.append(Film(name, Path(path), uid))
        return films

    def _make_folder(self) -> None:
        """Begin with an empty folder, and empty none but our own."""
        if self.folder.exists() and any(self.folder.iterdir()):
            if not (self.folder / MARKER).exists():
                raise DemoFailed(
                    f"expected {self.folder} to be empty or made by an earlier demo; name another DATA=DIR"
                )
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).touch()

    def _configure(self, port: int, pacs_port: int) -> None:
        lines = (
            'node_id = "demo"',
            f'[listener]\naet = "{WORKER}"\nport = {port}',
            f'[[sender]]\naet = "{SENDER}"\nhost = "127.0.0.1"',
            f'[[destination]]\nname = "demo-pacs"\naet = "{PACS}"\nhost = "127.0.0.1"\nport = {pacs_port}',
        )
        (self.folder / "config.toml").write_text("\n".join(lines) + "\n")

    @contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """`cxr-worker up` in this folder, stopped at the end as an administrator would."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CXR_") or k == "CXR_MODEL"}
        environment["CXR_DATA"] = str(self.folder)
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "worker.cli", "up"]
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(STOP_TIMEOUT_S)

    def _wait_for_listener(self, target: Target, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        with self.console.status("starting broker, listener and workers"):
            while not scu.echo(target):
                if process.poll() is not None or time.monotonic() > until:
                    raise DemoFailed(f"the listener did not answer C-ECHO; see {self.log}")
                time.sleep(0.1)
        self.console.print(f"{WORKER} listens on 127.0.0.1:{target.port}")

    def _send(self, films: list[Film], target: Target) -> None:
        for film in films:
            answer = scu.send_file(target, film.path)
            if answer.outcome != Outcome.SENT:
                raise DemoFailed(f"{film.name}: expected Success, got {answer.text}; see {self.log}")
            film.acknowledged_at = time.time()
            self.console.print(f"{film.name} film sent by C-STORE, acknowledged")

    def _wait_for_reports(
        self, films: list[Film], pacs: DemoPacs, process: subprocess.Popen[bytes]
    ) -> dict[str, dict[str, Any]]:
        """Wait until each film is at its end, and what was reported is in the PACS; rows by film."""
        until = time.monotonic() + REPORT_TIMEOUT_S
        with self.console.status("waiting for the reports to arrive in the PACS"):
            while True:
                rows = {row["sop_instance_uid"]: row for row in self._ask("results")}
                if all(self._is_done(rows.get(film.sop_instance_uid), film, pacs) for film in films):
                    return {film.name: rows[film.sop_instance_uid] for film in films}
                if process.poll() is not None or time.monotonic() > until:
                    raise DemoFailed(f"the reports did not come in {REPORT_TIMEOUT_S} s; see {self.log}")
                pacs.wait(2.0)

    @staticmethod
    def _is_done(row: dict[str, Any] | None, film: Film, pacs: DemoPacs) -> bool:
        if row is None or row["state"] in ("refused", "dead"):
            return row is not None
        arrived = all(pacs.about(film.sop_instance_uid, modality) for modality in ("SR", "OT"))
        return arrived and row["state"] == "reported"

    def _show(self, films: list[Film], rows: dict[str, dict[str, Any]], pacs: DemoPacs) -> None:
        table = Table("film", "state", "decision", "P(COVID-19)", "time", "refusal reason")
        for film in films:
            row, report = rows[film.name], pacs.about(film.sop_instance_uid, "SR")
            table.add_row(
                film.name,
                row["state"],
                row["decision"] or "",
                "" if row["probability"] is None else f"{100 * row['probability']:.1f} %",
                "" if report is None else f"{report.at - film.acknowledged_at:.2f} s",
                row["reason"] or "",
            )
        self.console.print(table)
        self.console.print("time: from the acknowledgement of the film to its report in the PACS")
        self.console.print("Research software. Not for diagnosis.")
        for film in films:
            self._show_paths(film, pacs)
        self.console.print(f"database: {self.folder / 'cxr.sqlite3'} (view `results`)", soft_wrap=True)
        self.console.print(f"log: {self.log}", soft_wrap=True)

    def _show_paths(self, film: Film, pacs: DemoPacs) -> None:
        report, capture = pacs.about(film.sop_instance_uid, "SR"), pacs.about(film.sop_instance_uid, "OT")
        if report is None or capture is None:
            return
        picture = self.folder / "pictures" / f"{film.name}.png"
        picture.parent.mkdir(exist_ok=True)
        Picture.fromarray(dcmread(capture.path).pixel_array).save(picture)
        for what, path in (
            ("report (SR)", report.path),
            ("heat map (SC)", capture.path),
            ("picture", picture),
        ):
            self.console.print(f"{what}: {path}", soft_wrap=True)

    def _balances(self) -> bool:
        audit = self._ask("audit")
        sums = " + ".join(f"{audit[name]} {name}" for name in ("reported", "refused", "dead", "waiting"))
        verdict = "balanced" if audit["balanced"] else "DOES NOT BALANCE"
        self.console.print(f"ledger: {audit['received']} received = {sums}: {verdict}")
        return bool(audit["balanced"])

    def _as_expected(self, rows: dict[str, dict[str, Any]]) -> bool:
        states = {name: row["state"] for name, row in rows.items()}
        expected = {"chest": "reported", "extremity": "refused"}
        if states != expected:
            self.console.print(f"expected {expected}, got {states}; see {self.log}")
        return states == expected

    def _ask(self, command: str) -> Any:
        """Ask the installation as a user would, by its own command."""
        asked = [sys.executable, "-m", "worker.cli", "--data", str(self.folder), command, "--json"]
        answer = subprocess.run(asked, capture_output=True, check=False)
        return json.loads(answer.stdout)

    def _stay(self, process: subprocess.Popen[bytes]) -> None:
        self.console.print("Everything stays up; Ctrl-C stops it. The dashboard is not built yet.")
        self.console.print(f"ask it with: cxr-worker --data {self.folder} status", soft_wrap=True)
        try:
            process.wait()
        except KeyboardInterrupt:
            self.console.print("stopping")


def free_port() -> int:
    """A port on loopback that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
