"""Databases, settings and the model for the tests of the worker: both databases, and one network for all."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from parts import PostgreSQL, release_without_gate
from pynetdicom import _config
from sqlalchemy import Engine, make_url

from worker import context, database, schema
from worker import settings as worker_settings
from worker.cli import main
from worker.context import Context
from worker.settings import Destination, Settings
from worker.tables import Base

MakeContext = Callable[..., Context]
CommandLine = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session", autouse=True)
def no_broker_of_the_checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Celery's app reads the settings when it is imported: it must not find those of a developer."""
    with pytest.MonkeyPatch.context() as patch:
        for variable in [
            name for name in os.environ if name.startswith("CXR_") and name != "CXR_SHARED_DATA"
        ]:
            if variable != "CXR_MODEL":
                patch.delenv(variable)
        patch.setenv("CXR_DATA", str(tmp_path_factory.mktemp("no-broker")))
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "cxr.sqlite3"
    engine = database.open_engine(f"sqlite:///{file}")
    schema.upgrade(engine)
    engine.dispose()
    return file


@pytest.fixture(scope="session")
def postgresql_engine(postgresql: PostgreSQL) -> Iterator[Engine]:
    engine = database.open_engine(postgresql.new_database(f"worker_{os.getpid()}"))
    schema.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(tmp_path: Path, sqlite_template: Path) -> Iterator[Engine]:
    file = tmp_path / "data" / "cxr.sqlite3"
    file.parent.mkdir(exist_ok=True)
    shutil.copy(sqlite_template, file)
    engine = database.open_engine(f"sqlite:///{file}")
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The migrated database, without rows, of each kind."""
    if request.param == "sqlite":
        found: Engine = request.getfixturevalue("sqlite_engine")
        return found
    server: Engine = request.getfixturevalue("postgresql_engine")
    names = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with server.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
    return server


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    return partial(_context, tmp_path / "data")


def _context(data: Path, engine: Engine, **settings: Any) -> Context:
    data.mkdir(exist_ok=True)
    url = None
    if engine.dialect.name == "postgresql":
        url = make_url(str(engine.url)).render_as_string(hide_password=False)
    made = Settings(
        **{"data": data, "node_id": "test", "database_url": url, "network_timeout_s": 20, **settings}
    )
    return Context(made, engine)


def destination(name: str, port: int, proof: str = "find", **more: Any) -> Destination:
    return Destination.model_validate(
        {"name": name, "aet": "PACS", "host": "127.0.0.1", "port": port, "proof": proof, **more}
    )


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Take off what a command put on the root logger: its stream is closed after the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """Run commands in this process: words in; exit code, output and errors out."""
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    for name, value in {"DATA": str(folder), "CONFIG": "", "NODE_ID": "test"}.items():
        monkeypatch.setenv(f"CXR_{name}", value)
    monkeypatch.setenv("COLUMNS", "80")

    def forget() -> None:
        # A context that a command made keeps its connections open.
        if context.get.cache_info().currsize:
            context.get().engine.dispose()
        context.get.cache_clear()
        worker_settings.current.cache_clear()

    def run(*words: str) -> tuple[int, str, str]:
        forget()
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    yield run
    forget()


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The model under test: CXR_MODEL, else the one in the package, without its gate."""
    named = os.environ.get("CXR_MODEL")
    return Path(named) if named else release_without_gate()


@pytest.fixture(scope="session")
def predictor(model_folder: Path) -> Any:
    """The network, loaded once for all tests."""
    from model.predict import Predictor

    return Predictor(model_folder, threads=2)


@pytest.fixture
def own_process_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a listener sets for its process is put back, for the other servers of this process."""
    monkeypatch.setattr(tempfile, "tempdir", tempfile.gettempdir())
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", False)
