"""The revisions: they make what the tables say, forth and back, and no wrong one is worked with."""

import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from parts import PostgreSQL
from rows import receive
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import IntegrityError

from worker import database, schema
from worker.schema import WrongRevision
from worker.settings import Settings
from worker.tables import RESULTS_VIEW, Base


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'cxr.sqlite3'}"
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        url = server.new_database(f"schema_{os.getpid()}_{tmp_path.name}")
    engine = database.open_engine(url)
    yield engine
    engine.dispose()


def differences(engine: Engine) -> list[object]:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def downgrade(engine: Engine) -> None:
    with engine.begin() as connection:
        command.downgrade(schema._config(connection), "base")


def test_revisions_are_numbered_in_one_line() -> None:
    scripts = ScriptDirectory.from_config(schema._config())
    assert len(scripts.get_heads()) == 1
    revisions = [script.revision for script in scripts.walk_revisions()][::-1]
    assert revisions == [f"{number:04d}" for number in range(1, len(revisions) + 1)]
    for script in scripts.walk_revisions():
        assert re.fullmatch(rf"v{script.revision}_[a-z0-9_]+\.py", Path(script.path).name)
    assert schema.head() == revisions[-1]


def test_upgraded_from_nothing_it_is_what_the_tables_say(empty: Engine) -> None:
    assert schema.current(empty) is None
    schema.upgrade(empty)
    assert schema.current(empty) == schema.head()
    assert differences(empty) == []


def test_a_column_that_no_revision_makes_would_be_noticed(empty: Engine) -> None:
    """The comparison above can fail."""
    schema.upgrade(empty)
    with empty.begin() as connection:
        connection.exec_driver_sql("DROP VIEW results")
        connection.exec_driver_sql("ALTER TABLE image DROP COLUMN patient_sex")
    assert len(differences(empty)) == 1


def test_the_view_of_the_revisions_is_that_of_the_tables(empty: Engine) -> None:
    schema.upgrade(empty)
    made = inspect(empty).get_columns("results")
    with empty.begin() as connection:
        connection.exec_driver_sql("DROP VIEW results")
        connection.exec_driver_sql(RESULTS_VIEW)
    meant = inspect(empty).get_columns("results")
    assert [(c["name"], str(c["type"])) for c in made] == [(c["name"], str(c["type"])) for c in meant]


def test_down_and_up_again_leaves_the_same(empty: Engine) -> None:
    schema.upgrade(empty)
    downgrade(empty)
    left = set(inspect(empty).get_table_names()) - {"alembic_version"}
    assert left == set()
    assert inspect(empty).get_view_names() == []
    schema.upgrade(empty)
    assert differences(empty) == []


ROWS_OF_0001 = (
    "INSERT INTO image (id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, content_sha256, "
    "spool_name, size_bytes, calling_aet, calling_host, received_at, state, attempts, hand_backs, "
    "waiting_since, due_at) VALUES (7, '1.2.3', '1.2', '1.2', 'c', 's', 1, 'A', 'h', '2024-01-01', "
    "'analysed', 1, 0, '2024-01-01', '2024-01-01')",
    "INSERT INTO analysis (id, image_id, model_name, model_version, weights_sha256, package_version, "
    "node_id, backend, decision, probability, threshold, band_low, band_high, duration_s, created_at) "
    "VALUES (3, 7, 'm', '1', 'w', '0', 'n', 'b', 'negative', 0.1, 0.5, 0.4, 0.6, 1, '2024-01-01')",
    "INSERT INTO result (id, analysis_id, kind, profile, sop_class_uid, sop_instance_uid, "
    "study_instance_uid, series_instance_uid, sha256, size_bytes, created_at) "
    "VALUES (5, 3, 'sr', 'default', '1.2', '1.2.5', '1.2.6', '1.2.7', 'h', 1, '2024-01-01')",
    "INSERT INTO delivery (id, result_id, destination, proof, state, attempts, unanswered, created_at, "
    "due_at) VALUES (9, 5, 'pacs', 'find', 'due', 0, false, '2024-01-01', '2024-01-01')",
)


def test_rows_of_the_first_revision_are_kept_and_completed(empty: Engine) -> None:
    with empty.begin() as connection:
        command.upgrade(schema._config(connection), "0001")
        for statement in ROWS_OF_0001:
            connection.exec_driver_sql(statement)
    schema.upgrade(empty)
    with empty.begin() as connection:
        kept = connection.exec_driver_sql(
            "SELECT result.image_id, result.analysis_id, delivery.state, results.sr_sop_instance_uid "
            "FROM delivery JOIN result ON result.id = delivery.result_id "
            "JOIN results ON results.image_id = result.image_id"
        ).fetchall()
        assert [tuple(row) for row in kept] == [(7, 3, "due", "1.2.5")]
        with pytest.raises(IntegrityError):
            connection.exec_driver_sql("UPDATE delivery SET result_id = 6")


def test_upgrading_twice_is_no_error(empty: Engine) -> None:
    schema.upgrade(empty)
    schema.upgrade(empty)
    assert schema.current(empty) == schema.head()


def test_a_configured_database_without_tables_is_refused_with_the_command(
    empty: Engine, tmp_path: Path
) -> None:
    configured = Settings(data=tmp_path, database_url="postgresql://nobody@nowhere/x")
    with pytest.raises(WrongRevision, match=r"an empty database.*`cxr-worker migrate`"):
        schema.prepare(empty, configured)
    assert schema.current(empty) is None


def test_a_configured_database_at_another_revision_is_refused(empty: Engine, tmp_path: Path) -> None:
    schema.upgrade(empty)
    with empty.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0000'")
    configured = Settings(data=tmp_path, database_url="postgresql://nobody@nowhere/x")
    with pytest.raises(WrongRevision, match=rf"expected revision {schema.head()}, found 0000"):
        schema.prepare(empty, configured)


def test_a_configured_database_at_the_right_revision_is_taken(empty: Engine, tmp_path: Path) -> None:
    schema.upgrade(empty)
    schema.prepare(empty, Settings(data=tmp_path, database_url="postgresql://nobody@nowhere/x"))


def test_an_embedded_database_is_made_by_itself(tmp_path: Path) -> None:
    engine = database.open_engine(f"sqlite:///{tmp_path / 'cxr.sqlite3'}")
    schema.prepare(engine, Settings(data=tmp_path))
    assert schema.current(engine) == schema.head()
    assert not (tmp_path / "backup").exists(), "there was nothing to back up"
    engine.dispose()


def test_a_backup_of_the_embedded_database_is_whole_while_it_is_in_use(tmp_path: Path) -> None:
    """Also what is still in the write-ahead log, as it is while others work."""
    engine = database.open_engine(f"sqlite:///{tmp_path / 'cxr.sqlite3'}")
    schema.prepare(engine, Settings(data=tmp_path))
    receive(engine)

    copy = schema.back_up(Settings(data=tmp_path))

    assert copy.parent == tmp_path / "backup"
    assert copy.parent.stat().st_mode & 0o077 == 0
    with sqlite3.connect(copy) as saved:
        assert saved.execute("SELECT sop_instance_uid, state FROM image").fetchall() == [
            ("1.2.3", "received")
        ]
        assert saved.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    saved.close()
    engine.dispose()


def test_an_embedded_database_of_an_unknown_revision_is_backed_up_and_left_alone(tmp_path: Path) -> None:
    """As after a step back to an older version of cxr-worker: nothing may be lost by the attempt."""
    engine = database.open_engine(f"sqlite:///{tmp_path / 'cxr.sqlite3'}")
    schema.prepare(engine, Settings(data=tmp_path))
    receive(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(WrongRevision, match="9999"):
        schema.prepare(engine, Settings(data=tmp_path))
    assert len(list((tmp_path / "backup").glob("cxr-*.sqlite3"))) == 1
    assert schema.current(engine) == "9999"
    engine.dispose()
