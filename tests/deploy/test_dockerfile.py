import json
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from parts import ROOT

from worker import settings
from worker.cli import parser

INSTRUCTIONS = {"FROM", "ARG", "LABEL", "RUN", "COPY", "ENV", "WORKDIR", "VOLUME", "EXPOSE", "USER"} | {
    "HEALTHCHECK",
    "CMD",
}
"""What our Dockerfile may hold: ADD fetches and unpacks, SHELL and ONBUILD hide things."""


@pytest.fixture(scope="session")
def instructions(deploy: Path) -> list[tuple[str, str]]:
    """Instruction and its words, continuation lines joined."""
    lines = [line for line in (deploy / "Dockerfile").read_text("utf-8").splitlines() if line.strip()]
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return [(name, rest) for name, _, rest in (x.partition(" ") for x in _joined(text).splitlines())]


def _joined(text: str) -> str:
    return re.sub(r"\s*\\\n\s*", " ", text)


def copied(instructions: list[tuple[str, str]]) -> list[str]:
    """Sources of what is copied out of the repository."""
    lines = [rest.split() for name, rest in instructions if name == "COPY" and "--from=" not in rest]
    return [source for words in lines for source in words[:-1]]


def variables(instructions: list[tuple[str, str]]) -> dict[str, str]:
    words = [word for name, rest in instructions if name == "ENV" for word in rest.split()]
    return dict(word.split("=", 1) for word in words)


def test_only_instructions_that_we_mean_to_use(instructions: list[tuple[str, str]]) -> None:
    assert {name for name, _ in instructions} <= INSTRUCTIONS


def test_last_user_is_a_number_that_is_not_root(instructions: list[tuple[str, str]]) -> None:
    last_from = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
    users = [rest for name, rest in instructions[last_from:] if name == "USER"]
    user, group = map(int, users[-1].split(":"))
    assert min(user, group) >= 1000
    created = " ".join(rest for name, rest in instructions if name == "RUN")
    assert f"--gid {group} " in created
    assert f"--uid {user} " in created


def test_data_folder_is_that_users_alone(instructions: list[tuple[str, str]]) -> None:
    data = variables(instructions)["CXR_DATA"]
    (volume,) = [rest for name, rest in instructions if name == "VOLUME"]
    assert volume == data
    assert f"install -d -m 0700 -o cxr -g cxr {data}" in " ".join(r for n, r in instructions if n == "RUN")
    order = [name for name, rest in instructions if name == "VOLUME" or f" {data}" in rest]
    assert order.index("RUN") < order.index("VOLUME"), "what is changed after VOLUME is lost"


def test_everything_that_is_copied_is_there(instructions: list[tuple[str, str]]) -> None:
    assert {"dicom_io", "model", "worker", "pyproject.toml"} <= set(copied(instructions))
    assert [source for source in copied(instructions) if not (ROOT / source).exists()] == []


def test_nothing_that_is_copied_is_ignored_and_the_rest_is(
    instructions: list[tuple[str, str]], deploy: Path
) -> None:
    lines = (deploy / "Dockerfile.dockerignore").read_text("utf-8").split("\n")
    rules = [line for line in lines if line and not line.startswith("#")]
    assert [source for source in copied(instructions) if _ignored(source, rules)] == []
    for kept_out in (
        ".git",
        "cxr-data/cxr.sqlite3",
        "deploy/secrets/postgres_password",
        "runs/first",
        ".venv",
    ):
        assert _ignored(kept_out, rules), kept_out


def _ignored(path: str, rules: list[str]) -> bool:
    """The last rule that names the path or a folder above it decides (Docker's .dockerignore)."""
    above = [path, *(str(parent) for parent in Path(path).parents if str(parent) != ".")]
    ignored = False
    for rule in rules:
        if any(fnmatch(name, rule.removeprefix("!")) for name in above):
            ignored = not rule.startswith("!")
    return ignored


def test_each_stage_is_the_oldest_python_that_the_project_supports(
    instructions: list[tuple[str, str]],
) -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    stages = [rest.split()[0] for name, rest in instructions if name == "FROM"]
    assert len(stages) == 2
    for image in stages:
        found = re.fullmatch(r"python:(\d+\.\d+)-slim", image)
        assert found, image
        assert found[1] in SpecifierSet(requires)
        assert requires == f">={found[1]}"


def test_commands_are_ones_of_the_program(instructions: list[tuple[str, str]]) -> None:
    lines = [rest for name, rest in instructions if name in ("CMD", "HEALTHCHECK")]
    commands = [json.loads(line[line.index("[") :]) for line in lines]
    assert all(command[0] == "cxr-worker" for command in commands)
    parsed = [parser().parse_args(command[1:]) for command in commands]
    assert sorted(options.command for options in parsed) == ["migrate", "up"]
    assert next(options for options in parsed if options.command == "migrate").check


def test_variables_are_settings_and_no_secret_is_in_a_layer(instructions: list[tuple[str, str]]) -> None:
    ours = {name: value for name, value in variables(instructions).items() if name.startswith("CXR_")}
    assert str(settings.load(ours).settings.data) == "/data"
    said = " ".join(rest for name, rest in instructions if name in ("ENV", "ARG", "COPY"))
    assert not re.search(r"passw|secret|token|\.env", said, re.IGNORECASE)


def test_wheels_come_from_an_index_that_may_be_replaced_or_emptied(
    instructions: list[tuple[str, str]],
) -> None:
    assert ("ARG", "TORCH_INDEX=https://download.pytorch.org/whl/cpu") in instructions
    (install,) = [rest for name, rest in instructions if name == "RUN" and "pip install" in rest]
    assert '${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}' in install
    assert "-c deploy/constraints.txt" in install
