"""The real parts that tests start and stop: each is a process on a free loopback port, ended by its pid."""

import atexit
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
import redis

ROOT = Path(__file__).parent.parent
COMMAND_TIMEOUT_S = 120
"""A command that hangs must not cost a whole run of CI."""
IN_CI = bool(os.environ.get("CI"))
SOCKETS_LEFT = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
"""A connection that fails, or whose peer has hung up first, leaves its socket unclosed, in pynetdicom."""
TLS_SOCKETS_LEFT = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <(socket.socket|ssl.SSLSocket):pytest.PytestUnraisableExceptionWarning"
)
"""The same of connections that may be secured."""
DICOMWEB_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def need(program: str, package: str) -> str:
    """Path of a program: absent it fails in CI, and skips by name on a laptop."""
    # The system's first: pynetdicom puts a storescu of its own into a virtual environment.
    found = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin") or shutil.which(program)
    if found is None:
        (pytest.fail if IN_CI else pytest.skip)(f"{program} is not installed (Debian package {package})")
    return str(found)


def need_file(path: str, package: str) -> str:
    """The same for a file that a package brings."""
    if not Path(path).exists():
        (pytest.fail if IN_CI else pytest.skip)(f"{path} is not installed (Debian package {package})")
    return path


def shared_data() -> Path | None:
    folder = Path(os.environ.get("CXR_SHARED_DATA") or ROOT.parent / "shared" / "data")
    return folder if folder.is_dir() else None


@cache
def release_without_gate() -> Path:
    """The model of the package in a folder without its gate: phantoms are no films, and it would say so."""
    # Imported here: with a tensor library in the parent, a forward pass in a forked child hangs.
    from model.checkpoint import CONFIG, RELEASE, WEIGHTS

    folder = Path(tempfile.mkdtemp(prefix="cxr-no-gate-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in (CONFIG, WEIGHTS):
        (folder / name).symlink_to(RELEASE / name)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 60) -> Any:
    """Poll until the condition is true; its value is returned."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {timeout_s} s in vain for: {what}")


def end(process: subprocess.Popen[bytes], number: int = signal.SIGTERM, timeout_s: float = 40) -> None:
    """End a process that we started, with its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout_s)


@dataclass
class RedisServer:
    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def flush(self) -> None:
        with self.client as client:
            client.flushall()

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[Self]:
        program, port = need("redis-server", "redis-server"), free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        process = subprocess.Popen(
            [program, *options], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        server = cls(folder, port, process)
        try:
            wait_until(lambda: answers(port), "redis-server to answer")
            yield server
        finally:
            end(process)


@dataclass
class PostgreSQL:
    port: int

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """A cluster in a folder of its own; PostgreSQL refuses root, so root lends it an account."""
        binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)), None)
        initdb = str(binaries) if binaries else need("initdb", "postgresql")
        port = free_port()
        folder = Path(tempfile.mkdtemp(prefix="cxr-postgresql-"))
        as_root = os.geteuid() == 0
        account = ["runuser", "-u", "postgres", "--"] if as_root else []
        if as_root:
            shutil.chown(folder, "postgres")
        cluster = folder / "cluster"
        try:
            initialise = [initdb, "-D", str(cluster), "-U", "cxr", "-A", "trust", "-E", "UTF8", "--no-sync"]
            subprocess.run([*account, *initialise], check=True, capture_output=True, cwd=folder)
            serve = [
                str(Path(initdb).parent / "postgres"),
                "-D",
                str(cluster),
                "-p",
                str(port),
                "-h",
                "127.0.0.1",
            ]
            process = subprocess.Popen(
                [*account, *serve, "-k", str(folder)],
                start_new_session=True,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_until(lambda: answers(port), "PostgreSQL to answer")
                yield cls(port)
            finally:
                end(process, signal.SIGINT)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def new_database(self, name: str) -> str:
        """Create a database; returns its URL."""
        server = f"postgresql://cxr@127.0.0.1:{self.port}"

        def create() -> bool:
            try:
                with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
                    connection.execute(f'CREATE DATABASE "{name}"')
            except psycopg.OperationalError:
                return False
            return True

        wait_until(create, "PostgreSQL to accept connections")
        return f"{server}/{name}"


@dataclass
class Orthanc:
    """The PACS of the tests: its own listener, REST and storage."""

    aet: str
    port: int
    http_port: int
    process: subprocess.Popen[bytes]

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *, dicomweb: bool = False, **more: Any) -> Iterator[Self]:
        """Start it, with the DICOMweb plug-in when asked; `more` goes into its configuration."""
        program = need("Orthanc", "orthanc")
        port, http_port = free_port(), free_port()
        configuration = {
            "Name": "test PACS",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": http_port,
            "DicomPort": port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowEcho": True,
            "OverwriteInstances": False,
            "Plugins": [need_file(DICOMWEB_PLUGIN, "orthanc-dicomweb")] if dicomweb else [],
            **more,
        }
        file = folder / "orthanc.json"
        file.write_text(json.dumps(configuration))
        log = (folder / "orthanc.log").open("wb")
        process = subprocess.Popen([program, str(file)], start_new_session=True, stdout=log, stderr=log)
        server = cls("ORTHANC", port, http_port, process)
        try:
            wait_until(lambda: answers(port) and answers(http_port), "Orthanc to answer")
            yield server
        finally:
            end(process)
            log.close()

    @property
    def dicomweb_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=20) as answer:
            return json.loads(answer.read())

    def file(self, instance: str) -> bytes:
        url = f"http://127.0.0.1:{self.http_port}/instances/{instance}/file"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return bytes(answer.read())

    def instances(self) -> list[str]:
        return list(self.get("/instances"))

    def empty(self) -> None:
        for study in self.get("/studies"):
            url = f"http://127.0.0.1:{self.http_port}/studies/{study}"
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20).close()

    def modalities(self) -> list[str]:
        """Modality of every object that it holds, sorted."""
        tags = (self.get(f"/instances/{name}/simplified-tags") for name in self.instances())
        return sorted(str(tag["Modality"]) for tag in tags)


@dataclass
class Installation:
    """cxr-worker as an administrator runs it: processes of its own, one folder, one configuration."""

    data: Path
    broker_url: str | None
    pacs: Orthanc | None
    database_url: str | None = None
    port: int = field(default_factory=free_port)
    extra: str = ""
    proof: str = "find"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self.write_configuration()

    def write_configuration(self) -> None:
        lines = ['node_id = "test-node"', "lease_s = 3", "sweep_s = 0.5", "ring_again_s = 2", self.extra]
        if self.broker_url:
            lines.append(f'broker_url = "{self.broker_url}"')
        if self.database_url:
            lines.append(f'database_url = "{self.database_url}"')
        lines.append(f'[listener]\nport = {self.port}\n[[sender]]\naet = "STORESCU"\nhost = "127.0.0.1"')
        if self.pacs:
            lines.append(
                f'[[destination]]\nname = "pacs"\naet = "{self.pacs.aet}"\nhost = "127.0.0.1"\n'
                f'port = {self.pacs.port}\nproof = "{self.proof}"'
            )
        (self.data / "config.toml").write_text("\n".join(lines) + "\n")

    @property
    def environment(self) -> dict[str, str]:
        # CXR_MODEL: the same tests for another model.
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CXR_") or k == "CXR_MODEL"}
        return {**kept, "CXR_DATA": str(self.data)}

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.data / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                env=self.environment,
                cwd=self.data,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def listen(self) -> subprocess.Popen[bytes]:
        process = self.start("listener", ["worker.cli", "listen"])
        wait_until(lambda: answers(self.port) or process.poll() is not None, "the listener to answer")
        assert process.poll() is None, self.log("listener")
        return process

    def work(self, concurrency: int = 1) -> subprocess.Popen[bytes]:
        return self.start("worker", ["celery", "-A", "worker", "worker", "-c", str(concurrency)])

    def up(self) -> subprocess.Popen[bytes]:
        process = self.start("up", ["worker.cli", "up"])
        wait_until(lambda: answers(self.port) or process.poll() is not None, "the listener to answer")
        assert process.poll() is None, self.log("up")
        return process

    def kill(self, name: str) -> None:
        """SIGKILL a process and all that it started."""
        process = self.processes.pop(name)
        victims = [process.pid, *descendants(process.pid)]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        for process in reversed(list(self.processes.values())):
            end(process)
        self.processes.clear()

    def log(self, name: str) -> str:
        return (self.data / f"{name}.log").read_text(errors="replace")

    def storescu(self, *files: Path, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
        program = need("storescu", "dcmtk")
        target = ["-aec", "CXRWORKER", "127.0.0.1", str(self.port)]
        command = [program, *options, *target, *map(str, files)]
        return subprocess.run(command, capture_output=True, check=False, timeout=COMMAND_TIMEOUT_S)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "worker.cli", *words]
        return subprocess.run(
            asked,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_TIMEOUT_S,
        )

    def results(self) -> list[dict[str, Any]]:
        answer = self.command("results", "--json")
        assert answer.returncode == 0, answer.stderr
        return list(json.loads(answer.stdout))

    def wait_for_states(self, *states: str, timeout_s: float = 120) -> list[dict[str, Any]]:
        """Wait until exactly these are the states of all images, sorted; returns the rows."""
        wait_until(lambda: sorted(self.states()) == sorted(states), f"states {states}", timeout_s)
        return self.results()

    def states(self) -> list[str]:
        """State of each image, by SQL: a command per look would take a core from what is waited for."""
        return [str(state) for (state,) in self.execute("SELECT state FROM results")]

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """One statement on the database, as a user of it would."""
        if self.database_url:
            with psycopg.connect(self.database_url, autocommit=True) as server:
                cursor = server.execute(statement)  # type: ignore[call-overload]
                return list(cursor.fetchall()) if cursor.description else []
        with sqlite3.connect(self.data / "cxr.sqlite3", timeout=20) as embedded:
            return list(embedded.execute(statement))


def descendants(pid: int) -> list[int]:
    """All processes below that one, from /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
