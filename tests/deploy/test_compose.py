import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from parts import IN_CI, ROOT

from worker import broker, celery, settings, supervisor
from worker.cli import parser

OURS = "cxr-worker:local"


@pytest.fixture(scope="session")
def ours(compose: dict[str, Any]) -> dict[str, Any]:
    """The services that run our image."""
    return {name: s for name, s in compose["services"].items() if s["image"] == OURS}


@pytest.fixture(scope="session")
def workers(ours: dict[str, Any]) -> dict[str, list[str]]:
    """Name and command of each Celery worker."""
    return {name: s["command"] for name, s in ours.items() if s["command"][0] == "celery"}


def queues_of(command: list[str]) -> list[str]:
    return command[command.index("-Q") + 1].split(",")


def test_compose_file_fits_the_schema_of_what_we_use(compose: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(compose)


def test_compose_file_fits_the_compose_specification(compose: dict[str, Any]) -> None:
    shipped = importlib.util.find_spec("check_jsonschema")
    if shipped is None or shipped.origin is None:
        pytest.skip("check-jsonschema, whose wheel holds the specification's schema, is not installed")
    path = Path(shipped.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.Draft202012Validator(json.loads(path.read_text("utf-8"))).validate(compose)


def test_docker_compose_accepts_the_file(deploy: Path) -> None:
    command = next((c for c in (["docker", "compose"], ["docker-compose"]) if _runs(c)), None)
    if command is None:
        pytest.skip("docker compose is not installed (the client is enough, no engine is asked)")
    asked = [*command, "-f", str(deploy / "compose.yaml"), "config", "-q"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


def _runs(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0


def test_every_variable_is_a_setting_that_the_code_knows(ours: dict[str, Any], deploy: Path) -> None:
    for name, service in ours.items():
        environment = dict(service.get("environment", {}))
        if environment:
            assert environment["CXR_CONFIG"] in _mounted(service), name
            environment["CXR_CONFIG"] = str(deploy / "compose.config.toml")
        assert settings.load(environment), name


def _mounted(service: dict[str, Any]) -> dict[str, str]:
    """Path in the container → source, of what is mounted."""
    return {words[1]: words[0] for words in (volume.split(":") for volume in service["volumes"])}


def test_every_part_works_on_the_shared_database_broker_and_data(ours: dict[str, Any]) -> None:
    for name in ours.keys() - {"pgpass"}:
        loaded = settings.load(ours[name]["environment"] | {"CXR_CONFIG": ""}).settings
        assert (loaded.broker_url, loaded.database_url) == (
            "redis://redis:6379/0",
            "postgresql://cxr@postgres:5432/cxr?passfile=/run/cxr/pgpass",
        )
        assert _mounted(ours[name])["/data"] == "data"


def test_every_command_is_one_of_the_program(ours: dict[str, Any], workers: dict[str, list[str]]) -> None:
    commands = {n: s["command"][1:] for n, s in ours.items() if n not in workers and n != "pgpass"}
    parsed = {name: parser().parse_args(words).command for name, words in commands.items()}
    assert parsed == {"migrate": "migrate", "listener": "listen"}


def test_workers_are_started_as_the_supervisor_starts_them(workers: dict[str, list[str]]) -> None:
    for command in workers.values():
        (queue,) = queues_of(command)
        concurrency = int(command[command.index("-c") + 1])
        _python, _m, *expected = supervisor.worker_command(queue, concurrency, "INFO")
        assert command == expected


def test_every_queue_in_code_is_consumed_and_no_other(workers: dict[str, list[str]]) -> None:
    routed = {route["queue"] for route in celery.app.conf.task_routes.values()}
    consumed = sorted(queue for command in workers.values() for queue in queues_of(command))
    assert consumed == sorted(routed | {celery.app.conf.task_default_queue})
    assert consumed == sorted([celery.ANALYSE, celery.DELIVER])


def test_films_are_analysed_by_two_replicas(compose: dict[str, Any]) -> None:
    assert compose["services"]["analyse"]["deploy"]["replicas"] == 2


def test_a_stop_leaves_time_to_drain(ours: dict[str, Any]) -> None:
    for name in ours.keys() - {"pgpass"}:
        assert int(ours[name]["stop_grace_period"].removesuffix("s")) > supervisor.DRAIN_S


def test_our_containers_are_confined(ours: dict[str, Any]) -> None:
    for name, service in ours.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert [name for name, service in ours.items() if "user" in service] == ["pgpass"]
    assert ours["pgpass"]["network_mode"] == "none"


def test_redis_and_postgresql_are_on_a_network_without_a_way_out(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert compose["networks"]["backend"] == {"internal": True}
    for name in ("redis", "postgres", "analyse"):
        assert services[name]["networks"] == ["backend"]
        assert "ports" not in services[name]
    assert services["orthanc"]["networks"] == ["dicom"]


def test_no_secret_is_in_the_file_or_in_a_variable(compose: dict[str, Any], deploy: Path) -> None:
    for service in compose["services"].values():
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
            assert not variable.endswith("_FILE") or value.startswith("/run/secrets/")
    listed = ["git", "-C", str(ROOT), "ls-files", "deploy/secrets"]
    tracked = subprocess.run(listed, capture_output=True, text=True, check=IN_CI).stdout
    assert not tracked
    assert "secrets/" in (deploy / ".gitignore").read_text().split()


def test_everything_that_is_named_is_there(compose: dict[str, Any], deploy: Path) -> None:
    for name, service in compose["services"].items():
        assert set(service.get("depends_on", {})) <= set(compose["services"]), name
        assert set(service.get("networks", [])) <= set(compose["networks"]), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        for target, source in _mounted(service).items():
            there = (deploy / source).is_file() if source.startswith("./") else source in compose["volumes"]
            assert there, f"{name}: {target}"
        build = service.get("build")
        assert build is None or (deploy / build["context"] / build["dockerfile"]).is_file()


def test_a_service_is_waited_for_only_if_it_says_that_it_is_well(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for other, needed in service.get("depends_on", {}).items():
            if needed["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"]
            else:
                assert services[other]["restart"] == "no"


def test_redis_keeps_what_the_embedded_broker_keeps(compose: dict[str, Any], tmp_path: Path) -> None:
    embedded = broker.command(settings.Settings(data=tmp_path))
    wanted = dict(zip(embedded[1::2], embedded[2::2], strict=True))
    command = compose["services"]["redis"]["command"]
    given = dict(zip(command[1::2], command[2::2], strict=True))
    assert given == {key: wanted[key] for key in given}
    assert {"--appendonly", "--appendfsync", "--maxmemory-policy"} <= set(given)


def test_pacs_and_worker_know_each_other(compose: dict[str, Any], deploy: Path) -> None:
    ours = settings.load({"CXR_CONFIG": str(deploy / "compose.config.toml")}).settings
    orthanc = json.loads((deploy / "orthanc.json").read_text("utf-8"))
    (destination,) = ours.destination
    assert destination.host in compose["services"]
    assert (destination.aet, destination.port) == (orthanc["DicomAet"], orthanc["DicomPort"])
    (modality,) = orthanc["DicomModalities"].values()
    assert (modality["AET"], modality["Port"]) == (ours.listener.aet, ours.listener.port)
    assert modality["Host"] in compose["services"]
    assert orthanc["DicomAet"] in [sender.aet for sender in ours.sender]


def test_published_ports_are_those_that_are_listened_on(compose: dict[str, Any], deploy: Path) -> None:
    ours = settings.load({"CXR_CONFIG": str(deploy / "compose.config.toml")}).settings
    orthanc = json.loads((deploy / "orthanc.json").read_text("utf-8"))
    inside = {n: [int(p.split(":")[2]) for p in s.get("ports", [])] for n, s in compose["services"].items()}
    assert inside["listener"] == [ours.listener.port]
    assert inside["orthanc"] == [orthanc["DicomPort"], 8042]
