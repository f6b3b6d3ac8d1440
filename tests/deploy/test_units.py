import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from worker import celery, settings, supervisor
from worker.cli import parser

Units = dict[str, Any]

HARDENING = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "CapabilityBoundingSet": "",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
    "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "StateDirectory": "cxr-worker",
    "StateDirectoryMode": "0700",
    "ReadWritePaths": "/var/lib/cxr-worker",
}
KEYS = {
    "Unit": {"Description", "Wants", "After", "PartOf", "Conflicts", "StartLimitIntervalSec"},
    "Service": {
        *HARDENING,
        *("Type", "User", "Group", "Environment", "EnvironmentFile", "WorkingDirectory", "ExecStart"),
        *("Restart", "RestartSec", "KillMode", "TimeoutStopSec", "OOMPolicy"),
    },
    "Install": {"WantedBy"},
}
REPEATED = {"Environment"}


def services(units: Units) -> list[Any]:
    return [unit for name, unit in sorted(units.items()) if name.endswith(".service")]


def test_the_units_are_there(units: Units) -> None:
    assert sorted(units) == [
        "cxr-worker-listener.service",
        "cxr-worker.service",
        "cxr-worker.target",
        "cxr-worker@.service",
    ]


def test_units_hold_only_known_sections_and_keys(units: Units) -> None:
    for unit in units.values():
        assert set(unit.sections) == {"Unit", "Install"} | ({"Service"} & set(unit.sections)), unit.name
        for section, pairs in unit.sections.items():
            keys = [key for key, _ in pairs]
            assert set(keys) <= KEYS[section], unit.name
            once = [key for key in keys if key not in REPEATED]
            assert len(once) == len(set(once)), f"{unit.name} names a key twice"


def test_services_are_confined(units: Units) -> None:
    for unit in services(units):
        assert {key: unit.one(key) for key in HARDENING} == HARDENING, unit.name
        assert unit.one("User") == unit.one("Group") == "cxr-worker"
        # PyTorch compiles kernels while it runs: no unit may forbid it.
        assert "MemoryDenyWriteExecute" not in dict(unit.sections["Service"])


def test_the_user_is_made_by_sysusers(deploy: Path, tmp_path: Path) -> None:
    kind, name, number, *_, home = (
        (deploy / "systemd" / "cxr-worker.sysusers").read_text().splitlines()[-1].split()
    )
    assert (kind, name, number, home) == ("u", "cxr-worker", "-", "/var/lib/cxr-worker")
    if shutil.which("systemd-sysusers") is None:
        pytest.skip("systemd-sysusers is not installed (Debian package systemd)")
    (tmp_path / "etc").mkdir()
    made = ["systemd-sysusers", f"--root={tmp_path}", str(deploy / "systemd" / "cxr-worker.sysusers")]
    subprocess.run(made, check=True, capture_output=True)
    assert "cxr-worker:" in (tmp_path / "etc" / "passwd").read_text()


def test_variables_are_settings_that_the_code_knows(
    units: Units, deploy: Path, example_variables: dict[str, str]
) -> None:
    assert set(example_variables) == {"CXR_BROKER_URL", "CXR_DATABASE_URL", "CXR_LOG_LEVEL"}
    for unit in services(units):
        given = unit.environment | example_variables
        assert given["CXR_CONFIG"] == "/etc/cxr-worker/config.toml"
        loaded = settings.load(given | {"CXR_CONFIG": str(deploy / "config.example.toml")}).settings
        assert str(loaded.data) == unit.one("WorkingDirectory") == unit.one("ReadWritePaths")


def test_no_password_is_in_the_example(example_variables: dict[str, str]) -> None:
    for variable in ("CXR_BROKER_URL", "CXR_DATABASE_URL"):
        assert make_url(example_variables[variable]).password is None


def test_example_configuration_admits_and_answers_a_pacs(deploy: Path) -> None:
    loaded = settings.load({"CXR_CONFIG": str(deploy / "config.example.toml")}).settings
    assert loaded.listener.host == "127.0.0.1"
    assert [destination.proof for destination in loaded.destination] == ["find"]
    assert all(sender.host for sender in loaded.sender), "an example must not let a bare name in"


def test_a_private_tmp_does_not_hide_the_brokers_socket(units: Units) -> None:
    data = Path(units["cxr-worker.service"].environment["CXR_DATA"])
    assert settings.Settings(data=data).broker_socket.is_relative_to(data)


def test_commands_are_ones_of_the_program(units: Units) -> None:
    for name, expected in (("cxr-worker.service", "up"), ("cxr-worker-listener.service", "listen")):
        program, *words = units[name].command()
        assert program == "/opt/cxr-worker/bin/cxr-worker"
        assert parser().parse_args(words).command == expected


def test_workers_are_started_as_the_supervisor_starts_them(units: Units) -> None:
    program, *words = units["cxr-worker@.service"].command("deliver")
    _python, _m, name, *expected = supervisor.worker_command("deliver", 2, "INFO")
    assert program == f"/opt/cxr-worker/bin/{name}"
    assert words == expected


def test_target_starts_the_listener_and_a_worker_for_every_queue(units: Units) -> None:
    (wanted,) = units["cxr-worker.target"].values("Unit", "Wants")
    listener, *workers = wanted.split()
    assert listener == "cxr-worker-listener.service"
    queues = {name.removeprefix("cxr-worker@").removesuffix(".service") for name in workers}
    routed = {route["queue"] for route in celery.app.conf.task_routes.values()}
    assert queues == routed | {celery.app.conf.task_default_queue} == {celery.ANALYSE, celery.DELIVER}


def test_one_machine_and_split_parts_exclude_each_other(units: Units) -> None:
    assert units["cxr-worker.service"].values("Unit", "Conflicts") == ["cxr-worker.target"]
    assert units["cxr-worker.target"].values("Unit", "Conflicts") == ["cxr-worker.service"]
    for name in ("cxr-worker-listener.service", "cxr-worker@.service"):
        assert units[name].values("Unit", "PartOf") == ["cxr-worker.target"]
        # Without its file a part would wait for an embedded broker that nobody started.
        assert units[name].one("EnvironmentFile") == "/etc/cxr-worker/cxr-worker.env"


def test_a_stop_leaves_time_to_drain(units: Units) -> None:
    for unit in services(units):
        assert unit.one("KillMode") == "mixed", "SIGTERM is for the parent alone"
        parts = supervisor.parts_of(settings.Settings()) if unit.name == "cxr-worker.service" else [None]
        assert int(unit.one("TimeoutStopSec")) > len(parts) * supervisor.DRAIN_S


def test_services_are_restarted_without_end(units: Units) -> None:
    for unit in services(units):
        assert unit.one("Restart") == "always"
        assert unit.values("Unit", "StartLimitIntervalSec") == ["0"]


@pytest.fixture
def installed(deploy: Path, tmp_path: Path) -> Path:
    """The units, with the program where it is here."""
    for path in (deploy / "systemd").iterdir():
        text = path.read_text().replace("/opt/cxr-worker/bin", str(Path(sys.executable).parent))
        (tmp_path / path.name).write_text(text)
    return tmp_path


def test_systemd_accepts_the_units(installed: Path, units: Units) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian package systemd)")
    asked = ["systemd-analyze", "verify", "--man=no", *(str(installed / name) for name in sorted(units))]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
