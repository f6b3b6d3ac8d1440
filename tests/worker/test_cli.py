"""The commands: what they print, what they return, and what they say when something is wrong."""

import csv
import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, compress, phantom_HW
from parts import ROOT, SOCKETS_LEFT, PostgreSQL, RedisServer, end, free_port, wait_until
from PIL import Image as Picture
from pydicom.uid import JPEGLSLossless
from rows import analyse, change, put_report_in_forms, receive
from scripted_pacs import EXPLICIT_LE, ScriptedPacs
from sqlalchemy import Engine

from dicom_io.scp import Peer
from dicom_io.spool import Folder
from worker import cli, context, database, settings
from worker.cli import COMMANDS, main
from worker.cli.results import COLUMNS
from worker.queries import deliveries, images, ledger
from worker.tables import Analysis, Delivery, Image, Rejection

NAMES = list(COMMANDS)
pytestmark = SOCKETS_LEFT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder of the commands; nothing of one test is left for the next."""
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("CXR_DATA", str(folder))
    monkeypatch.setenv("CXR_CONFIG", "")
    monkeypatch.setenv("CXR_NODE_ID", "test")
    monkeypatch.setenv("COLUMNS", "220")
    yield folder
    # A context that a command made keeps its connections open.
    if context.get.cache_info().currsize:
        context.get().engine.dispose()
    context.get.cache_clear()
    settings.current.cache_clear()


@pytest.fixture(autouse=True)
def fresh(home: Path) -> None:
    context.get.cache_clear()
    settings.current.cache_clear()


@pytest.fixture
def stored(home: Path, sqlite_engine: Engine) -> Engine:
    """The migrated database that the commands find."""
    return sqlite_engine


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return command


# All commands


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help(run: Run, name: str) -> None:
    code, output, _ = run(name, "--help")
    assert code == 0
    assert COMMANDS[name][:40] in output


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_of_a_command_is_that_of_its_module(name: str) -> None:
    module = import_module(f"worker.cli.{name}")
    assert str(module.__doc__).splitlines()[0] == COMMANDS[name]


def test_the_help_lists_every_command_and_what_it_is_not_for(run: Run) -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert all(f"    {name}" in output for name in NAMES)
    assert "Not for diagnosis" in output


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_mentions_every_command(name: str) -> None:
    assert f"cxr-worker {name}" in (ROOT / "README.md").read_text("utf-8")


def test_a_command_that_does_not_exist_is_an_error(run: Run) -> None:
    assert run("diagnose")[0] == 2


def test_a_bad_setting_ends_every_command_with_words(run: Run, home: Path) -> None:
    (home / "config.toml").write_text("nonsense = 1")
    for words in (["status"], ["results"], ["audit"], ["config"], ["migrate"], ["up"], ["listen"]):
        code, output, error = run(*words)
        assert (code, output) == (2, "")
        assert "nonsense" in error
        assert "Traceback" not in error


@pytest.mark.parametrize("words", [["status"], ["results"], ["audit"], ["retry", "1"]])
def test_a_database_without_tables_is_told_with_the_command_that_makes_them(
    run: Run, home: Path, words: list[str]
) -> None:
    (home / "cxr.sqlite3").touch()
    code, _, error = run(*words)
    assert code == 2
    assert "cxr-worker migrate" in error
    assert "Traceback" not in error


READING = [["status"], ["results"], ["results", "--csv"], ["audit"], ["retry", "1"]]


@pytest.mark.parametrize("words", READING)
def test_a_reading_command_makes_no_database_where_none_is(run: Run, home: Path, words: list[str]) -> None:
    code, output, error = run(*words)
    assert (code, output) == (2, "")
    assert error == (
        f"cxr-worker: expected an installation in {home}: no cxr.sqlite3 there; is --data right?\n"
    )
    assert list(home.iterdir()) == []


def test_a_check_makes_no_database_where_none_is(run: Run, tmp_path: Path) -> None:
    code, output, _ = run("--data", str(tmp_path / "other"), "migrate", "--check")
    assert (code, output) == (1, "database at no revision, needed 0002\n")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("words", [["status"], ["results"], ["audit"], ["retry", "1"]])
def test_a_postgresql_without_tables_is_told_with_the_command_that_makes_them(
    run: Run, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    url = postgresql.new_database(f"empty_{os.getpid()}_{words[0]}")
    monkeypatch.setenv("CXR_DATABASE_URL", url)
    code, _, error = run(*words)
    assert code == 2
    assert "run `cxr-worker migrate`" in error
    assert "SELECT" not in error
    assert len(error.splitlines()) <= 2


def alone(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own, with no setting of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *words],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("words", [["listen"], ["up"], ["status"], ["predict", "x"], ["config"]])
def test_a_bad_variable_ends_every_command_with_words(home: Path, words: list[str]) -> None:
    ended = alone("--data", str(home), *words, CXR_LISTENER_PORT="dicom")
    assert ended.returncode == 2
    assert ended.stderr == (
        "cxr-worker: listener.port (from environment CXR_LISTENER_PORT): "
        "expected a whole number from 1 to 65535, came 'dicom'\n"
    )


def test_help_and_version_do_not_depend_on_the_settings() -> None:
    for words in (["--help"], ["--version"]):
        ended = alone(*words, CXR_LISTENER_PORT="dicom")
        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "nowhere.invalid"])
def test_a_listen_address_that_cannot_be_had_is_told_in_words(home: Path, host: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        (home / "config.toml").write_text(f'[listener]\nhost = "{host}"\nport = {port}\n')
        ended = alone("--data", str(home), "listen")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    expected = {
        "127.0.0.1": "it is taken by another program; stop it or set [listener] port",
        "192.0.2.1": "this machine has no such address; set [listener] host",
        "nowhere.invalid": "the name has no address; set [listener] host",
    }[host]
    assert f"cxr-worker: expected to listen on {host}:{port}: {expected}\n" in ended.stderr


@pytest.mark.parametrize("words", [["up"], ["listen"], ["migrate"]])
def test_a_data_folder_that_cannot_be_made_is_told_in_words(words: list[str]) -> None:
    ended = alone(*words, CXR_DATA="/proc/x")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "expected to read and write /proc/x: No such file or directory; is --data right?" in ended.stderr


def test_the_relay_rings_the_broker_of_the_named_folder(tmp_path: Path, redis_server: RedisServer) -> None:
    """As an administrator starts it, with no variable set: the folder's file names the broker."""
    redis_server.flush()
    data, port, work = tmp_path / "site", free_port(), tmp_path / "elsewhere"
    data.mkdir()
    work.mkdir()
    (data / "config.toml").write_text(
        f'broker_url = "{redis_server.url}"\nsweep_s = 0.5\n'
        f'[listener]\nport = {port}\n[[sender]]\naet = "CXRSEND"\n'
    )
    build_film().save_as(work / "film.dcm", enforce_file_format=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    listener = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "--data", str(data), "listen"],
        env=kept,
        cwd=work,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        target = ["--to", f"CXRWORKER@127.0.0.1:{port}", str(work / "film.dcm")]
        wait_until(lambda: alone("--data", str(data), "send", *target).returncode == 0, "the listener")
        with redis_server.client as client:
            wait_until(lambda: client.llen("analyse") == 1, "the message of the film", timeout_s=20)
    finally:
        end(listener)
        redis_server.flush()
    assert [path.name for path in work.iterdir()] == ["film.dcm"], "nothing of ./cxr-data was made"


# predict


@pytest.fixture
def network(home: Path, predictor: Any) -> None:
    context.get().__dict__["predictor"] = predictor


def files(folder: Path) -> dict[str, Path]:
    """One file of each kind that a user may name."""
    folder.mkdir(exist_ok=True)
    film, child, png = folder / "film.dcm", folder / "child.dcm", folder / "film.png"
    build_film().save_as(film, enforce_file_format=True)
    build_film(PatientAge="003Y").save_as(child, enforce_file_format=True)
    Picture.fromarray(np.rint(phantom_HW() * 255).astype(np.uint8)).save(png)
    garbage, tiny = folder / "garbage.dcm", folder / "tiny.png"
    garbage.write_bytes(b"neither DICOM nor picture")
    Picture.fromarray(np.zeros((8, 8), np.uint8)).save(tiny)
    return {"film": film, "child": child, "png": png, "garbage": garbage, "tiny": tiny}


@pytest.mark.usefixtures("network")
def test_predict_says_one_json_line_for_each_file(run: Run, tmp_path: Path, predictor: Any) -> None:
    paths = files(tmp_path / "films")
    missing = tmp_path / "missing.dcm"
    code, output, _ = run("predict", "--json", *map(str, paths.values()), str(missing), str(tmp_path))
    lines = [json.loads(line) for line in output.splitlines()]
    assert code == 1, "one could be neither judged nor refused"
    assert [line["path"] for line in lines] == [*map(str, paths.values()), str(missing), str(tmp_path)]
    documented = {"path", "state", "probability", "decision", "reason", "model_version"}
    assert all(documented <= set(line) for line in lines)
    film, child, png, garbage, tiny, absent, folder = lines

    assert (film["state"], film["reason"]) == (png["state"], png["reason"]) == ("analysed", None)
    assert film["probability"] == pytest.approx(
        predictor((phantom_HW() * 4095).round() / 4095).probability, abs=1e-4
    )
    assert film["decision"] in ("positive", "negative", "indeterminate")
    assert (child["state"], child["reason"], child["probability"]) == ("refused", "child", None)
    assert {line["state"] for line in (garbage, absent, folder)} == {"failed"}
    assert (tiny["state"], tiny["reason"]) == ("refused", "too_small")
    assert {line["model_version"] for line in lines} == {predictor.info.version}


@pytest.mark.usefixtures("network")
def test_predict_returns_success_when_all_were_judged_or_refused(run: Run, tmp_path: Path) -> None:
    paths = files(tmp_path / "films")
    code, output, _ = run("predict", str(paths["film"]), str(paths["child"]))
    assert code == 0
    film, child = output.splitlines()
    assert "P = " in film
    assert "research only, not for diagnosis" in film
    assert "refused: child" in child


@pytest.mark.usefixtures("network")
def test_predict_goes_on_after_a_name_that_a_terminal_cannot_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = files(tmp_path / "films")
    odd = os.fsdecode(os.fsencode(tmp_path / "films") + b"/k\xf6ln.png")
    os.link(paths["png"], odd)
    # The output of a test is captured as text, which takes what no terminal does.
    with (tmp_path / "said.txt").open("w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        code = main(["predict", odd, str(paths["child"])])

    assert code == 0
    odd_line, child = (tmp_path / "said.txt").read_text(encoding="utf-8").splitlines()
    assert "k\\udcf6ln.png: COVID-19 " in odd_line
    assert "refused: child" in child


def test_predict_without_a_model_says_so(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_MODEL", str(tmp_path / "no model"))
    code, _, error = run("predict", str(files(tmp_path / "films")["film"]))
    assert code == 2
    assert "the model cannot be used" in error
    assert "Traceback" not in error


# results


@pytest.fixture
def judged(stored: Engine) -> Engine:
    """Three films: a judged one, a refused one with hostile text, a waiting one."""
    analysed = analyse(stored, uid="1.1").image_id
    change(stored, Image, analysed, patient_id="P1", received_at=datetime(2024, 1, 1, 12, tzinfo=UTC))
    refused = receive(stored, uid="1.2")
    assert refused is not None
    with database.write(stored) as session:
        claim = images.claim(session, refused, lease_s=60, actor="a")
        assert claim is not None
        images.refuse(session, claim, "child", "3 years", actor="a")
    change(
        stored,
        Image,
        refused,
        patient_id='P2", "x',
        modality="[/red]",
        study_date="[bold]2024",
        received_at=datetime(2024, 1, 2, 12, tzinfo=UTC),
    )
    waiting = receive(stored, uid="1.3")
    assert waiting is not None
    change(stored, Image, waiting, received_at=datetime(2024, 1, 3, 12, tzinfo=UTC))
    return stored


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["1.3", "1.2", "1.1"]),
        (["--limit", "1"], ["1.3"]),
        (["--state", "refused"], ["1.2"]),
        (["--decision", "negative"], ["1.1"]),
        (["--patient", "P1"], ["1.1"]),
        (["--patient", "nobody"], []),
        (["--since", "2024-01-02"], ["1.3", "1.2"]),
        (["--until", "2024-01-02T12:00:00"], ["1.1"]),
        (["--since", "2024-01-02T12:00:00", "--until", "2024-01-03"], ["1.2"]),
        (["--since", "2024-01-02T13:00:00+01:00"], ["1.3", "1.2"]),
        (["--since", "2024-01-02T13:00:01+01:00"], ["1.3"]),
    ],
)
def test_results_are_filtered(run: Run, judged: Engine, filters: list[str], expected: list[str]) -> None:
    code, output, _ = run("results", "--json", *filters)
    assert code == 0
    assert [row["sop_instance_uid"] for row in json.loads(output)] == expected


def test_results_as_json_hold_the_view_and_the_delivery_in_words(run: Run, judged: Engine) -> None:
    _, output, _ = run("results", "--json")
    waiting, refused, analysed = json.loads(output)
    assert analysed["received_at"] == "2024-01-01T12:00:00.000+00:00"
    assert (analysed["probability"], analysed["delivered"]) == (0.25, "0 of 1 sent")
    assert (refused["reason"], refused["decision"], refused["delivered"]) == ("child", None, None)
    assert waiting["state"] == "received"


def test_results_as_csv_are_read_back_the_same(run: Run, judged: Engine) -> None:
    _, output, _ = run("results", "--csv")
    _, as_json, _ = run("results", "--json")
    rows, expected = list(csv.DictReader(io.StringIO(output))), json.loads(as_json)
    assert [row["patient_id"] for row in rows] == ["", 'P2", "x', "P1"]
    assert list(rows[0]) == list(expected[0])


def test_results_as_a_table_show_hostile_text_as_text(run: Run, judged: Engine) -> None:
    code, output, _ = run("results")
    assert code == 0
    assert "[/red]" in output
    assert "[bold]2024" in output
    assert "25.0 %" in output
    assert "Not for diagnosis" in output


def test_results_as_csv_have_their_header_also_without_rows(run: Run, stored: Engine) -> None:
    code, output, _ = run("results", "--csv")
    assert (code, output.splitlines()) == (0, [",".join((*COLUMNS, "delivered"))])
    with stored.connect() as connection:
        view = connection.exec_driver_sql("SELECT * FROM results").keys()
    assert tuple(view) == COLUMNS


def test_the_readme_describes_every_column_of_the_view() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"`{column}`" in readme for column in COLUMNS)


def test_results_can_be_read_at_80_columns(run: Run, stored: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    judged_id = analyse(stored, uid="1.1").image_id
    change(stored, Analysis, 1, decision="indeterminate")
    change(stored, Image, judged_id, received_at=datetime(2024, 1, 1, 12, 34, 56, 789000, tzinfo=UTC))
    refused = receive(stored, uid="1.2")
    assert refused is not None
    change(stored, Image, refused, state="refused", reason="out_of_distribution", modality="DX")
    code, output, _ = run("results")
    assert code == 0
    assert max(len(line) for line in output.splitlines()) <= 80
    words = output.split()
    assert {"analysed", "indeterminate", "refused", "out_of_distribution", "25.0"} <= set(words)
    assert {"2024-01-01", "12:34:56", str(judged_id), str(refused)} <= set(words)


def test_hostile_text_of_headers_does_not_reach_the_terminal(run: Run, stored: Engine, home: Path) -> None:
    hostile = "\x1b[2J\nDX\x9b\u202e"
    image_id = dead(stored, "1.1")
    change(stored, Image, image_id, modality=hostile, reason_detail=hostile)
    change_rejection = Rejection(
        calling_aet=hostile,
        calling_host=hostile,
        reason="unknown_sender",
        detail=hostile,
        count=1,
        first_at=datetime.now(UTC),
        last_at=datetime.now(UTC),
    )
    with database.write(stored) as session:
        session.add(change_rejection)
    (home / "config.toml").write_text(f"[listener]\nport = {free_port()}\n")
    for words in (["results"], ["status"]):
        code, output, _ = run(*words)
        assert code == 0
        assert output.replace("\n", "").isprintable()
        assert "\\x1b[2J\\nDX\\x9b\\u202e" in output


def test_delivered_says_proved_only_when_each_was_asked_for(run: Run, stored: Engine) -> None:
    proved = analyse(stored, [("pacs", "find")], uid="1.1").delivery_ids
    unproved = analyse(stored, [("pacs", "none")], uid="1.2").delivery_ids
    for delivery_id in (*proved, *unproved):
        with database.write(stored) as session:
            claim = deliveries.claim(session, delivery_id, lease_s=60)
            assert claim is not None
            if deliveries.sent(session, claim, 0, "success", actor="a"):
                deliveries.confirmed(session, claim, "found", actor="a")
    _, output, _ = run("results", "--json")
    assert [row["delivered"] for row in json.loads(output)] == ["not proved", "proved"]


def test_what_is_sent_and_not_yet_proved_is_told_apart_from_what_never_will_be(
    run: Run, stored: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for number, proof in enumerate(("commitment", "none")):
        (delivery_id,) = analyse(stored, [(f"to-{proof}", proof)], uid=f"1.{number}").delivery_ids
        with database.write(stored) as session:
            claim = deliveries.claim(session, delivery_id, lease_s=60)
            assert claim is not None
            deliveries.sent(session, claim, 0, "success", actor="a")
    _, output, _ = run("results", "--json")
    assert [row["delivered"] for row in json.loads(output)] == ["not proved", "proof awaited"]
    _, output, _ = run("status")
    assert "sent, not proved" in output
    assert "sent, commitment awaited" in output


def test_a_report_that_was_taken_in_another_form_says_which(run: Run, stored: Engine, tmp_path: Path) -> None:
    made = analyse(stored, [("pacs", "none")], folder=Folder(tmp_path / "results"))
    put_report_in_forms(stored, made, Folder(tmp_path / "results"))
    with database.write(stored) as session:
        claim = deliveries.claim(session, made.delivery_ids[0], lease_s=60)
        assert claim is not None
        following = deliveries.fall_back(session, claim, "0x0122", actor="a")
        assert following is not None
        deliveries.sent(session, following, 0, "success", actor="a")
    _, output, _ = run("results", "--json")
    (row,) = json.loads(output)
    assert (row["delivered"], row["fell_back_to"]) == ("not proved, as comprehensive", "comprehensive")


def test_a_date_that_is_none_is_an_error_in_words(run: Run, stored: Engine) -> None:
    code, _, error = run("results", "--since", "yesterday")
    assert code == 2
    assert (
        "argument --since: expected a date or a moment in ISO 8601, such as 2024-01-31 or "
        "2024-01-31T08:00+01:00, came 'yesterday'"
    ) in error


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_is_a_number_above_zero(run: Run, stored: Engine, limit: str) -> None:
    code, _, error = run("results", "--limit", limit)
    assert code == 2
    assert f"argument --limit: expected a whole number of at least 1, came '{limit}'" in error


# status, audit, retry


def test_status_tells_where_everything_stands(run: Run, judged: Engine, home: Path) -> None:
    port = free_port()
    (home / "config.toml").write_text(f"[listener]\nport = {port}\n")
    with database.write(judged) as session:
        ledger.record_rejection(session, Peer('X"\ny\\z', "10.0.0.9"), "unknown_sender", "not in [[sender]]")
    code, output, _ = run("status", "--json")
    state = json.loads(output)
    assert code == 0
    assert state["listener"] == {"address": f"CXRWORKER@127.0.0.1:{port}", "answers": False}
    assert state["queues"] is None, "no broker runs here"
    assert state["received"] == sum(state["images"].values()) == 3
    assert state["images"]["refused"] == 1
    assert state["deliveries"] == [{"destination": "pacs", "state": "due", "proof": "find", "count": 1}]
    (rejection,) = state["rejections"]
    admitted = tomllib.loads(rejection["to_admit"])["sender"]
    assert admitted == [{"aet": 'X" y\\z', "host": "10.0.0.9"}]
    assert run("status")[0] == 0


def test_status_shows_an_ae_title_of_brackets_as_text(run: Run, stored: Engine, home: Path) -> None:
    (home / "config.toml").write_text(f'[listener]\naet = "[/x]"\nport = {free_port()}\n')
    code, output, _ = run("status")
    assert code == 0
    assert "[/x]@127.0.0.1" in output


def test_audit_balances_and_says_when_it_does_not(run: Run, judged: Engine, home: Path) -> None:
    code, output, _ = run("audit")
    assert (code, output) == (0, "3 received = 0 reported + 1 refused + 0 dead + 2 waiting: balanced\n")
    with sqlite3.connect(home / "cxr.sqlite3") as other:
        other.execute("DELETE FROM image WHERE id = 3")
    other.close()
    code, output, _ = run("audit")
    assert code == 1
    assert "DOES NOT BALANCE" in output
    assert "image 3 was received and has no row any more" in output
    code, output, _ = run("audit", "--json")
    assert (code, json.loads(output)["lost_image_ids"]) == (1, [3])


def dead(engine: Engine, uid: str) -> int:
    image_id = receive(engine, uid=uid)
    assert image_id is not None
    change(engine, Image, image_id, state="dead", reason="attempts")
    return image_id


def test_retry_takes_up_the_named_films(run: Run, stored: Engine) -> None:
    first, second = dead(stored, "1.1"), dead(stored, "1.2")
    assert run("retry", str(first)) == (0, f"image {first}: queued\n", "")
    _, output, _ = run("results", "--json", "--state", "dead")
    assert [row["image_id"] for row in json.loads(output)] == [second]


def test_retry_takes_up_all_dead_films_alone(run: Run, stored: Engine) -> None:
    ids = [dead(stored, "1.1"), dead(stored, "1.2")]
    receive(stored, uid="1.3")
    assert run("retry", "--all-dead") == (0, "".join(f"image {i}: queued\n" for i in ids), "")
    assert run("retry", "--all-dead") == (0, "", "")


def test_a_report_that_died_of_a_refused_film_is_shown_and_taken_up(run: Run, stored: Engine) -> None:
    made = analyse(stored, uid="1.2.9")
    change(stored, Image, made.image_id, state="refused", reason="lateral")
    change(stored, Delivery, made.delivery_ids[0], state="dead", reason="0x0122 refused")
    _, output, _ = run("status")
    assert f"undelivered: image {made.image_id}: 1 deliveries given up: 0x0122 refused" in output
    assert run("retry", "--all-dead") == (0, f"image {made.image_id}: refused\n", "")
    assert json.loads(run("status", "--json")[1])["undelivered"] == []


def test_a_retry_with_a_mistake_does_nothing_and_says_nothing_else(run: Run, stored: Engine) -> None:
    """The films before the mistake are rolled back with it: they must not be told as done."""
    first = dead(stored, "1.1")
    alive = receive(stored, uid="1.2")
    code, output, error = run("retry", str(first), str(alive))
    assert (code, output) == (2, "")
    assert f"image {alive}: expected state dead or a delivery that was given up, it is received" in error
    code, output, error = run("retry", str(first), "4711")
    assert (code, output) == (2, "")
    assert "image 4711: no such row" in error
    _, output, _ = run("results", "--json", "--state", "dead")
    assert len(json.loads(output)) == 1


@pytest.mark.parametrize("words", [[], ["1", "--all-dead"], ["one"]])
def test_a_retry_of_nothing_or_of_both_is_a_usage_error(run: Run, stored: Engine, words: list[str]) -> None:
    assert run("retry", *words)[0] == 2


# send


def test_send_pushes_files_and_tells_each_answer(run: Run, tmp_path: Path) -> None:
    paths = files(tmp_path / "films")
    with ScriptedPacs.running() as pacs:
        target = f"PACS@127.0.0.1:{pacs.port}"
        code, output, _ = run("send", "--to", target, "--from", "MODALITY", str(paths["film"]))
        assert (code, output) == (0, f"{paths['film']}: 0x0000 success\n")
        assert pacs.callers == ["MODALITY"]
        pacs.answers.append(0xA700)
        code, output, _ = run(
            "send",
            "--to",
            target,
            *[str(paths[k]) for k in ("film", "garbage", "child")],
            str(tmp_path / "no"),
        )
    film, garbage, child, missing = output.splitlines()
    assert code == 1
    assert "0xA700" in film
    assert "expected a DICOM file" in garbage
    assert "0x0000" in child, "a failure does not stop the others"
    assert "No such file" in missing


def test_send_to_nobody_says_who_did_not_answer(run: Run, tmp_path: Path) -> None:
    film = files(tmp_path / "films")["film"]
    port = free_port()
    code, output, _ = run("send", "--to", f"PACS@127.0.0.1:{port}", str(film))
    assert code == 1
    assert f"PACS@127.0.0.1:{port}: no association, nobody answers" in output


def test_send_converts_what_the_peer_takes_uncompressed_alone_and_says_what_it_cannot(
    run: Run, tmp_path: Path
) -> None:
    whole, cut = (compress(build_film(), JPEGLSLossless) for _ in range(2))
    cut.PixelData = cut.PixelData[:200] + bytes(len(cut.PixelData) - 200)
    for name, film in (("whole", whole), ("cut", cut)):
        film.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
    with ScriptedPacs.running() as pacs:
        paths = [str(tmp_path / "cut.dcm"), str(tmp_path / "whole.dcm")]
        code, output, _ = run("send", "--to", f"PACS@127.0.0.1:{pacs.port}", *paths)
    assert code == 1
    assert "cut.dcm: expected pixels that can be decoded" in output
    assert "whole.dcm: 0x0000 success" in output
    assert pacs.stores == [(whole.SOPInstanceUID, EXPLICIT_LE)]


def test_send_to_a_name_without_address_names_it(run: Run, tmp_path: Path) -> None:
    film = files(tmp_path / "films")["film"]
    code, output, _ = run("send", "--to", "A@nonexist.invalid:104", str(film))
    assert code == 1
    assert "A@nonexist.invalid:104" in output


@pytest.mark.parametrize(
    "words", [["--to", "A\\B@h:104"], ["--to", "A@h:65536"], ["--to", "A@h:0"], ["--from", "A\\B"]]
)
def test_send_with_a_bad_title_or_port_is_an_error(run: Run, tmp_path: Path, words: list[str]) -> None:
    code, output, error = run("send", *words, str(files(tmp_path / "films")["film"]))
    assert (code, output) == (2, "")
    assert f"{words[0]} {words[1]}: expected " in error


@pytest.mark.parametrize("to", ["PACS", "PACS@host", "@host:104", "PACS@host:port", "A" * 17 + "@host:104"])
def test_send_to_a_bad_address_says_how_one_is_written(run: Run, tmp_path: Path, to: str) -> None:
    code, _, error = run("send", "--to", to, str(tmp_path / "film.dcm"))
    assert code == 2
    assert "expected AET@HOST:PORT" in error


# config, migrate


def test_config_prints_each_value_with_its_source(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "config.toml").write_text("lease_s = 12\n[listener]\nport = 104\n")
    monkeypatch.setenv("CXR_LISTENER_AET", "OTHER")
    code, output, _ = run("config", "--json")
    told = json.loads(output)
    assert code == 0
    assert told["lease_s"] == {"value": 12.0, "source": str(home / "config.toml")}
    assert told["listener.port"] == {"value": 104, "source": str(home / "config.toml")}
    assert told["listener.aet"] == {"value": "OTHER", "source": "environment CXR_LISTENER_AET"}
    assert told["sweep_s"]["source"] == "default"
    _, output, _ = run("config")
    assert f"lease_s                  12.0  # {home / 'config.toml'}".split() == next(
        line.split() for line in output.splitlines() if line.startswith("lease_s")
    )


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_config_hides_passwords(run: Run, monkeypatch: pytest.MonkeyPatch, form: list[str]) -> None:
    monkeypatch.setenv("CXR_DATABASE_URL", "postgresql://cxr:hunter2@db/cxr")
    monkeypatch.setenv("CXR_BROKER_URL", "redis://:hunter3@broker:6379/0")
    code, output, _ = run("config", *form)
    assert code == 0
    assert "hunter" not in output
    assert "postgresql://cxr:***@db/cxr" in output
    assert "broker:6379/0" in output


@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize(
    ("variable", "url", "shown"),
    [
        (
            "CXR_DATABASE_URL",
            "postgresql://cxr@db/cxr?password=hunter2&sslmode=require&sslpassword=hunter3&passwd=hunter4",
            "postgresql://cxr@db/cxr?passwd=***&password=***&sslmode=require&sslpassword=***",
        ),
        ("CXR_BROKER_URL", "redis://u:hunter2@b:1/0?PASSWORD=hunter3", "redis://u:***@b:1/0?PASSWORD=***"),
        ("CXR_BROKER_URL", "redis+socket:///b.sock?password=hunter", "redis+socket:///b.sock?password=***"),
        ("CXR_BROKER_URL", "rediss://b/0?ssl_password=a&ssl_password=b", "rediss://b/0?ssl_password=***"),
    ],
)
def test_config_hides_passwords_in_the_query_of_a_url(
    run: Run, monkeypatch: pytest.MonkeyPatch, form: list[str], variable: str, url: str, shown: str
) -> None:
    monkeypatch.setenv(variable, url)
    code, output, _ = run("config", *form)
    assert code == 0
    assert "hunter" not in output
    assert f'"{shown}"' in output


def test_config_of_an_option_stands_over_the_environment(run: Run, tmp_path: Path) -> None:
    _, output, _ = run("--data", str(tmp_path / "other"), "config", "--json")
    assert json.loads(output)["data"]["value"] == str(tmp_path / "other")


def test_migrate_makes_the_tables_and_check_says_whether_they_are_there(run: Run, home: Path) -> None:
    code, output, _ = run("migrate", "--check")
    assert (code, output) == (1, "database at no revision, needed 0002\n")
    code, output, _ = run("migrate")
    assert (code, output) == (0, "database brought from nothing to 0002\n")
    assert run("migrate", "--check") == (0, "database at 0002, needed 0002\n", "")
    assert run("migrate") == (0, "database is at 0002 already\n", "")
    assert run("audit")[0] == 0


def test_migrating_a_database_of_a_later_version_says_so(run: Run, stored: Engine, home: Path) -> None:
    with stored.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    code, output, error = run("migrate")
    assert code == 2
    assert "backed up to" in output
    assert "9999" in error
    assert "Traceback" not in error


def test_the_version_says_what_it_is_not_for(run: Run) -> None:
    code, output, _ = run("--version")
    assert code == 0
    assert output.startswith(f"cxr-worker {cli.__version__}. Research software. Not for diagnosis.")


def test_a_reader_that_has_what_it_wants_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker.cli", "--data", str(tmp_path), "config", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    complaints = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), complaints) == (0, b"")
