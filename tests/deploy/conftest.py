"""The files of `deploy/`, parsed once."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"


@dataclass(frozen=True)
class Unit:
    """A systemd unit: sections, each with its keys in order; a key may be there more than once."""

    name: str
    sections: dict[str, list[tuple[str, str]]]

    @classmethod
    def parse(cls, path: Path) -> "Unit":
        sections: dict[str, list[tuple[str, str]]] = {}
        for line in path.read_text("utf-8").splitlines():
            if not line.strip() or line.startswith(("#", ";")):
                continue
            if header := re.fullmatch(r"\[(\w+)\]", line):
                current = sections.setdefault(header[1], [])
                continue
            key, equals, value = line.partition("=")
            assert equals, f"{path.name}: expected Key=Value, got {line!r}"
            current.append((key, value))
        return cls(path.name, sections)

    def values(self, section: str, key: str) -> list[str]:
        return [value for name, value in self.sections.get(section, []) if name == key]

    def one(self, key: str) -> str:
        (value,) = self.values("Service", key)
        return value

    @property
    def environment(self) -> dict[str, str]:
        pairs = (word for line in self.values("Service", "Environment") for word in shlex.split(line))
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self, instance: str = "") -> list[str]:
        """Words of ExecStart, with the specifiers that we use put in (systemd.unit(5))."""
        put_in = {"%i": instance, "%%": "%"}
        words = shlex.split(self.one("ExecStart"))
        return [re.sub(r"%.", lambda found: put_in[found[0]], word) for word in words]


@pytest.fixture(scope="session")
def deploy() -> Path:
    return DEPLOY


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="session")
def units() -> dict[str, Unit]:
    paths = [*(DEPLOY / "systemd").glob("*.service"), *(DEPLOY / "systemd").glob("*.target")]
    return {path.name: Unit.parse(path) for path in paths}


@pytest.fixture(scope="session")
def example_variables() -> dict[str, str]:
    """`cxr-worker.env.example` as systemd reads it."""
    lines = (DEPLOY / "cxr-worker.env.example").read_text("utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line.strip() and not line.startswith("#"))
