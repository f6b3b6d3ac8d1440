"""Real parts for the tests: Redis, PostgreSQL, Orthanc and our own processes, on free loopback ports."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts import Installation, Orthanc, PostgreSQL, RedisServer, shared_data


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer.running(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with PostgreSQL.running() as server:
        yield server


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc.running(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture
def orthanc(orthanc_server: Orthanc) -> Orthanc:
    orthanc_server.empty()
    return orthanc_server


@pytest.fixture
def installation(tmp_path: Path, redis_server: RedisServer, orthanc: Orthanc) -> Iterator[Installation]:
    """SQLite, real Redis, Orthanc as PACS; nothing runs until the test starts it."""
    redis_server.flush()
    made = Installation(tmp_path / "data", broker_url=redis_server.url, pacs=orthanc)
    yield made
    made.stop()


@pytest.fixture(scope="module", autouse=True)
def collected(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a module lets a library leave things to the garbage collector, they are collected there.

    Its filter does not hold in another module's test.
    """
    yield
    if next(request.node.iter_markers("filterwarnings"), None) is not None:
        gc.collect()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of the shared radiographs; a test that needs it is skipped where it is not."""
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared radiographs are not here: set CXR_SHARED_DATA to their folder")
    return folder
