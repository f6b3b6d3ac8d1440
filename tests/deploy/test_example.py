"""The example configuration: it loads as it stands, and with its commented lines, and names every key."""

import re
from pathlib import Path

import pytest

from worker import settings
from worker.settings import Destination, DestinationTls

COMMENTED = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)
ALTERNATIVES = ("token_file", "user|password_file")
"""Of these the file may hold one."""


@pytest.fixture
def example(deploy: Path) -> str:
    return (deploy / "config.example.toml").read_text("utf-8")


@pytest.mark.parametrize("left_out", ALTERNATIVES)
def test_lines_that_are_commented_out_are_valid_settings(example: str, tmp_path: Path, left_out: str) -> None:
    whole = COMMENTED.sub("", example)
    (tmp_path / "config.toml").write_text(re.sub(rf"^({left_out}) = .*$", "", whole, flags=re.MULTILINE))
    loaded = settings.load({"CXR_CONFIG": str(tmp_path / "config.toml")}).settings
    association, web = loaded.destination
    assert association.tls is not None
    assert (web.url, web.proof) == ("https://pacs.example:8443/dicom-web", "qido")
    assert (web.user is None) == (left_out != "token_file")


def test_every_key_of_a_destination_is_named(example: str) -> None:
    keys = set(re.findall(r"^(?:# )?([a-z_]+) = ", example, re.MULTILINE))
    wanted = (set(Destination.model_fields) - {"tls"}) | set(DestinationTls.model_fields)
    assert wanted - keys == set()
    assert "[destination.tls]" in example
