"""`cxr-worker up`: start the parts, watch them, restart what dies, and stop them in order."""

import ctypes
import logging
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from types import FrameType

from worker import broker, folder
from worker.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.2
RESTART_FIRST_S = 0.5
RESTART_CAP_S = 30.0
STEADY_S = 60.0
"""A part that ran this long is well again: its next restart is a quick one."""
DRAIN_S = 30.0
"""How long a part may finish what it is at."""
PR_SET_PDEATHSIG = 1
"""prctl(2)."""


@dataclass
class Part:
    """One process that is kept running."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0


@dataclass
class Supervisor:
    """Keeps the parts of one installation running until it is told to stop."""

    settings: Settings
    parts: list[Part] = field(default_factory=list)
    stopping: bool = False

    def run(self) -> int:
        """Run until SIGTERM or SIGINT; returns the exit code."""
        lock = folder.hold(self.settings.data / "up.lock", "cxr-worker up")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self.parts = parts_of(self.settings)
        try:
            self._start_broker()
            while not self.stopping:
                self._watch()
                time.sleep(POLL_S)
        finally:
            self._end_all()
            lock.close()
        return 0

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _start_broker(self) -> None:
        """The other parts ask the broker at once: give it a moment to answer."""
        if self.parts[0].name != "broker":
            return
        broker.remove_stale_socket(self.settings.broker_socket)
        _start(self.parts[0])
        until = time.monotonic() + 10
        while not broker.answers(self.settings.effective_broker_url) and time.monotonic() < until:
            if self.stopping:
                return
            time.sleep(0.05)

    def _watch(self) -> None:
        """Start what is not running and may be."""
        moment = time.monotonic()
        for part in self.parts:
            if part.process is not None and part.process.poll() is None:
                if part.failures and moment - part.started_at > STEADY_S:
                    part.failures = 0
                continue
            if part.process is not None:
                part.failures += 1
                wait = min(RESTART_CAP_S, RESTART_FIRST_S * 2 ** (part.failures - 1))
                part.restart_at = moment + wait
                log.error(
                    "%s ended with code %d, restart in %.1f s", part.name, part.process.returncode, wait
                )
                part.process = None
            if moment >= part.restart_at:
                _start(part)

    def _end_all(self) -> None:
        """Stop in order: no new films, then the work, then the broker."""
        for part in reversed(self.parts):
            if part.process is None or part.process.poll() is not None:
                continue
            part.process.terminate()
            try:
                part.process.wait(DRAIN_S)
            except subprocess.TimeoutExpired:
                log.warning(
                    "%s did not end in %.0f s and is killed; its work is taken up later", part.name, DRAIN_S
                )
                part.process.kill()
                part.process.wait()
        log.info("stopped")


def parts_of(settings: Settings) -> list[Part]:
    """What runs on one machine, in the order in which it starts."""
    parts = []
    if settings.broker_url is None:
        parts.append(Part("broker", broker.command(settings)))
    level = settings.log_level
    parts.append(Part("deliver", worker_command("deliver", 2, level)))
    parts.append(Part("analyse", worker_command("analyse", settings.concurrency, level)))
    parts.append(Part("listener", [sys.executable, "-m", "worker.cli", "listen"]))
    return parts


def worker_command(queue: str, concurrency: int, level: str) -> list[str]:
    """A Celery worker for one queue."""
    options = ["-Q", queue, "-n", f"{queue}@%h", "-c", str(concurrency), "-l", level]
    # They cost messages and tell us nothing: the rows do.
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    return [sys.executable, "-m", "celery", "-A", "worker", "worker", *options, *quiet]


def _start(part: Part) -> None:
    part.process = subprocess.Popen(part.command, start_new_session=True, preexec_fn=_die_with_parent)
    part.started_at = time.monotonic()
    log.info("%s started, process %d", part.name, part.process.pid)


def _die_with_parent() -> None:
    """A supervisor that was killed leaves no orphan that holds the port or the socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
