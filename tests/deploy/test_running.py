"""The commands of the units and of compose.yaml, run as real processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from parts import ROOT, end, free_port, need, wait_until

from dicom_io.scu import Target, echo
from worker import database, schema

BIN = Path(sys.executable).parent
STOP_S = 40
RELEASE = ROOT / "model" / "release"


@dataclass
class Machine:
    """Where units run: a data folder, a free port, and the variables of an administrator."""

    data: Path
    variables: dict[str, str]
    port: int = field(default_factory=free_port)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self, unit_says: dict[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")}
        here = {"CXR_DATA": str(self.data), "CXR_LISTENER_PORT": str(self.port)}
        return kept | unit_says | self.variables | here

    def start(self, unit: Any, instance: str = "") -> subprocess.Popen[bytes]:
        """Run a unit's ExecStart as systemd would, with the program where it is here."""
        program, *words = unit.command(instance)
        with (self.data / f"{unit.name}{instance}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(BIN / Path(program).name), *words],
                env=self.environment(unit.environment),
                cwd=self.data,
                umask=0o077,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command of a container: it finds its programs in the environment of the package."""
        environment = self.environment({}) | {"PATH": f"{BIN}:{os.environ['PATH']}"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """SIGTERM to the main process alone, as KillMode=mixed does; returns the exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(STOP_S)

    def pids(self) -> list[int]:
        """Processes that work in this data folder, whoever their parent is now."""
        found = []
        for cwd in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if cwd.readlink().is_relative_to(self.data):
                    found.append(int(cwd.parent.name))
        return found

    def log(self, name: str) -> str:
        return (self.data / f"{name}.log").read_text(errors="replace")

    def end_all(self) -> None:
        for process in self.running:
            if process.poll() is None:
                end(process)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    made = Machine(data, {})
    yield made
    made.end_all()


def listens(machine: Machine, aet: str) -> bool:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", machine.port)) != 0:
            return False
    return echo(Target("CXRWORKER", "127.0.0.1", machine.port, aet, timeout_s=5))


def test_one_machine_unit_listens_and_leaves_nothing_behind(
    machine: Machine, units: dict[str, Any], deploy: Path
) -> None:
    machine.variables["CXR_CONFIG"] = str(deploy / "config.example.toml")
    process = machine.start(units["cxr-worker.service"])
    wait_until(lambda: listens(machine, "CXRSTATUS"), "an answer to C-ECHO", STOP_S)
    assert not listens(machine, "STRANGER")
    # The supervisor, the broker, two workers and the listener.
    assert len(machine.pids()) >= 5
    assert machine.stop(process) == 0, machine.log("cxr-worker.service")
    assert machine.pids() == []
    written = [path for path in machine.data.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert written
    assert [path for path in written if path.stat().st_mode & 0o077] == []


@pytest.fixture
def broker_url(compose: dict[str, Any], tmp_path: Path) -> Iterator[str]:
    """Redis, started by the command of compose.yaml."""
    _program, *words = compose["services"]["redis"]["command"]
    port = free_port()
    here = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    process = subprocess.Popen(
        [need("redis-server", "redis-server"), *words, *here],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
    )
    with redis.Redis(port=port) as client:

        def answers() -> bool:
            with suppress(redis.ConnectionError):
                return bool(client.ping())
            return False

        wait_until(answers, "redis-server to answer")
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    yield f"redis://127.0.0.1:{port}/0"
    end(process)


@pytest.fixture
def split(machine: Machine, broker_url: str, deploy: Path, example_variables: dict[str, str]) -> Machine:
    """A machine for the split units: their example of variables, with SQLite for PostgreSQL."""
    here = {"CXR_BROKER_URL": broker_url, "CXR_DATABASE_URL": ""}
    machine.variables = example_variables | here | {"CXR_CONFIG": str(deploy / "compose.config.toml")}
    return machine


def test_health_checks_see_what_is_missing_and_what_is_there(
    split: Machine, units: dict[str, Any], compose: dict[str, Any]
) -> None:
    of_the_image = ["cxr-worker", "migrate", "--check"]
    of_the_listener = [
        word.replace("11112", str(split.port))
        for word in compose["services"]["listener"]["healthcheck"]["test"][1:]
    ]
    assert split.run(of_the_image).returncode == 1
    assert split.run(of_the_listener).returncode == 1
    assert split.run(compose["services"]["migrate"]["command"]).returncode == 0
    listener = split.start(units["cxr-worker-listener.service"])
    wait_until(lambda: split.run(of_the_listener).returncode == 0, "the health check to pass", STOP_S)
    assert split.run(of_the_image).returncode == 0
    assert split.stop(listener) == 0, split.log("cxr-worker-listener.service")
    assert split.pids() == []


@pytest.mark.parametrize("queue", ["analyse", "deliver"])
def test_worker_unit_takes_its_queue_alone_and_stops(
    split: Machine, units: dict[str, Any], queue: str
) -> None:
    if queue == "analyse" and not RELEASE.is_dir():
        pytest.skip("no model is shipped in model/release, and a worker without one stops")
    schema.upgrade(database.open_engine(f"sqlite:///{split.data / 'cxr.sqlite3'}"))
    url = split.variables["CXR_BROKER_URL"]
    with redis.Redis.from_url(url) as client, Celery(broker=url, set_as_current=False) as sender:
        for name in ("analyse", "deliver"):
            sender.send_task("worker.tasks.sweep", queue=name)
            assert client.llen(name) == 1
        process = split.start(units["cxr-worker@.service"], instance=queue)
        wait_until(lambda: client.llen(queue) == 0, f"the queue {queue} to be taken", STOP_S)
        (other,) = {"analyse", "deliver"} - {queue}
        assert client.llen(other) == 1
    assert split.stop(process) == 0, split.log(f"cxr-worker@.service{queue}")
    assert split.pids() == []


def test_programs_of_the_units_are_installed(units: dict[str, Any]) -> None:
    for name in ("cxr-worker.service", "cxr-worker-listener.service", "cxr-worker@.service"):
        program = Path(units[name].command()[0])
        assert program.parent == Path("/opt/cxr-worker/bin")
        assert shutil.which(program.name, path=str(BIN))
