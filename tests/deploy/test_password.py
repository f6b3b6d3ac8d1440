"""PostgreSQL's password goes from a secret file into a file of libpq's, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from parts import PostgreSQL
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.exc import OperationalError

from worker import database

PASSWORD = r"pa:ss\wo'rd 7"
"""Colon and backslash mean something in a password file (libpq, "The Password File")."""
DATABASE = "cxr_compose"
CLI = [sys.executable, "-m", "worker.cli"]


@pytest.fixture
def pgpass(compose: dict[str, Any], tmp_path: Path, postgresql: PostgreSQL) -> Path:
    """The file that the service `pgpass` writes, for the server of the tests."""
    secret, written = tmp_path / "postgres_password", tmp_path / "pgpass"
    secret.write_text(PASSWORD + "\n")
    shell, option, script = compose["services"]["pgpass"]["command"]
    replaced = {
        "/run/secrets/postgres_password": str(secret),
        "/run/cxr/pgpass": str(written),
        "10001:10001": f"{os.getuid()}:{os.getgid()}",
        "postgres:5432:cxr:": f"127.0.0.1:{postgresql.port}:{DATABASE}:",
    }
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    subprocess.run([shell, option, script], check=True, umask=0o022)
    return written


@pytest.fixture
def url(compose: dict[str, Any], pgpass: Path, postgresql: PostgreSQL) -> str:
    """The URL of compose.yaml, pointed at a database that asks for the password."""
    trusted = postgresql.new_database(DATABASE)
    with psycopg.connect(trusted, autocommit=True) as connection:
        quoted = PASSWORD.replace("'", "''")
        connection.execute(f"ALTER ROLE cxr PASSWORD '{quoted}'")  # type: ignore[call-overload]
        row = connection.execute("SHOW hba_file").fetchone()
        assert row
        rules = Path(row[0])
        rule = f"host {DATABASE} cxr 127.0.0.1/32 scram-sha-256\n"
        rules.write_text(rule + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
    given = compose["x-cxr"]["environment"]["CXR_DATABASE_URL"]
    there = given.replace("postgres:5432/cxr", f"127.0.0.1:{postgresql.port}/{DATABASE}")
    return str(there.replace("/run/cxr/pgpass", str(pgpass)))


def run(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CXR_", "PG"))}
    environment |= {"CXR_DATABASE_URL": url}
    return subprocess.run([*CLI, *words], env=environment, capture_output=True, text=True, check=False)


def test_migrate_takes_the_password_out_of_the_file(url: str, pgpass: Path, tmp_path: Path) -> None:
    assert pgpass.stat().st_mode & 0o777 == 0o600, "libpq ignores a file that others may read"
    data = ["--data", str(tmp_path / "data")]
    without = database.open_engine(url.partition("?")[0])
    with pytest.raises(OperationalError, match="no password supplied"):
        without.connect()
    done = run(url, *data, "migrate")
    assert done.returncode == 0, done.stderr
    shown = run(url, *data, "config")
    said = "".join([done.stdout, done.stderr, shown.stdout, shown.stderr])
    assert "passfile" in shown.stdout
    assert PASSWORD not in said


def test_engine_hands_the_passfile_to_libpq(compose: dict[str, Any]) -> None:
    given = compose["x-cxr"]["environment"]["CXR_DATABASE_URL"]
    engine = database.open_engine(given)
    words, values = engine.dialect.create_connect_args(engine.url)
    assert conninfo_to_dict(*words, **values)["passfile"] == "/run/cxr/pgpass"
    assert engine.url.password is None
    engine.dispose()
