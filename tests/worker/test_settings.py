"""Settings: defaults, file, environment over it, and errors that name the key and where it came from."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from kombu import Connection

from worker import settings
from worker.settings import MAX_SOCKET_PATH_BYTES, Loaded, Settings, SettingsError, load

DESTINATION = '[[destination]]\nname = "{0}"\naet = "PACS"\nhost = "10.0.0.5"\nport = 104\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


def loaded(data: Path, toml: str = "", **environment: str) -> Loaded:
    if toml:
        (data / "config.toml").write_text(toml)
    return load({"CXR_DATA": str(data), **environment})


def error(data: Path, toml: str = "", **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(data, toml, **environment)
    return str(caught.value)


def test_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    made = load({})
    assert made.settings.data == Path("cxr-data")
    assert (made.settings.listener.aet, made.settings.listener.port) == ("CXRWORKER", 11112)
    assert made.settings.listener.host == "127.0.0.1"
    assert (made.settings.sender, made.settings.destination) == ((), ())
    assert made.settings.effective_database_url == f"sqlite:///{tmp_path}/cxr-data/cxr.sqlite3"
    assert made.settings.effective_broker_url == f"redis+socket://{tmp_path}/cxr-data/broker/broker.sock"
    assert (made.sources, made.file) == ({}, None)


def test_the_file_of_the_data_folder_is_read(data: Path) -> None:
    made = loaded(data, 'lease_s = 12\n[listener]\nport = 104\n[[sender]]\naet = "CR1"\nhost = "10.0.0.21"\n')
    assert (made.settings.lease_s, made.settings.listener.port) == (12, 104)
    assert made.settings.sender[0].host == "10.0.0.21"
    assert made.sources["listener.port"] == str(data / "config.toml")


def test_the_environment_stands_over_the_file(data: Path) -> None:
    made = loaded(data, "lease_s = 12\n[listener]\nport = 104", CXR_LISTENER_PORT="105", CXR_LEASE_S="3.5")
    assert (made.settings.listener.port, made.settings.lease_s) == (105, 3.5)
    assert made.sources["listener.port"] == "environment CXR_LISTENER_PORT"
    assert made.sources["lease_s"] == "environment CXR_LEASE_S"


def test_who_computes_is_one_of_three(data: Path) -> None:
    made = loaded(data).settings
    assert (made.backend, made.threads) == ("auto", 1)
    assert loaded(data, CXR_BACKEND="pytorch", CXR_THREADS="4").settings.threads == 4
    words = error(data, 'backend = "onnx"')
    assert "backend" in words
    assert "'openvino'" in words


def test_a_named_file_is_read_instead(data: Path) -> None:
    other = data / "other.toml"
    other.write_text("lease_s = 7")
    made = loaded(data, "lease_s = 12", CXR_CONFIG=str(other))
    assert (made.settings.lease_s, made.file) == (7, other)


def test_an_empty_variable_is_not_set(data: Path) -> None:
    """Compose files and systemd units write it so."""
    made = loaded(data, "lease_s = 12", CXR_LEASE_S="", CXR_DATABASE_URL="")
    assert (made.settings.lease_s, made.settings.database_url) == (12, None)
    assert made.sources["lease_s"] == str(data / "config.toml")
    assert "database_url" not in made.sources


def test_a_variable_of_others_is_left_alone(data: Path) -> None:
    loaded(data, CXR_SHARED_DATA="/somewhere", OTHER="x")


def test_an_unknown_key_is_an_error_that_names_key_and_file(data: Path) -> None:
    words = error(data, "lease_seconds = 3")
    assert "lease_seconds" in words
    assert str(data / "config.toml") in words
    assert "no such setting" in words


def test_an_unknown_key_of_a_table_is_an_error(data: Path) -> None:
    words = error(data, "[listener]\nprot = 104")
    assert "listener.prot" in words
    assert str(data / "config.toml") in words


def test_an_unknown_variable_is_an_error_that_names_it(data: Path) -> None:
    words = error(data, CXR_LISTENER_PROT="104")
    assert "listener.prot" in words
    assert "environment CXR_LISTENER_PROT" in words
    assert "environment CXR_NONSENSE" in error(data, CXR_NONSENSE="1")


def test_a_value_of_the_wrong_kind_is_an_error_that_names_key_and_source(data: Path) -> None:
    assert "listener.port (from environment CXR_LISTENER_PORT)" in error(data, CXR_LISTENER_PORT="dicom")
    words = error(data, 'lease_s = "soon"')
    assert f"lease_s (from {data / 'config.toml'})" in words


@pytest.mark.parametrize(
    ("key", "value"),
    [("LISTENER_PORT", "0"), ("LISTENER_PORT", "65536"), ("LEASE_S", "0"), ("CONCURRENCY", "-1")],
)
def test_a_value_out_of_range_is_an_error(data: Path, key: str, value: str) -> None:
    assert f"environment CXR_{key}" in error(data, **{f"CXR_{key}": value})


@pytest.mark.parametrize("aet", ["", "A" * 17, " LEADING", "TRAILING ", "BACK\\SLASH", "TAB\tTAB", "ÄTITLE"])
def test_a_bad_ae_title_is_an_error(data: Path, aet: str) -> None:
    words = error(data, f"[[sender]]\naet = {json.dumps(aet)}")
    assert "sender.0.aet" in words
    assert str(data / "config.toml") in words


@pytest.mark.parametrize("aet", ["A", "A" * 16, "CR ROOM 1", "a-b_c.d"])
def test_an_ordinary_ae_title_is_taken(data: Path, aet: str) -> None:
    assert loaded(data, f"[[sender]]\naet = {json.dumps(aet)}").settings.sender[0].aet == aet


def test_two_destinations_of_one_name_are_an_error_that_names_key_and_file(data: Path) -> None:
    words = error(data, DESTINATION.format("main") * 2)
    assert "destination" in words
    assert "main" in words
    assert str(data / "config.toml") in words


def test_a_table_in_the_environment_is_an_error_that_says_where_it_belongs(data: Path) -> None:
    assert "[[sender]]" in error(data, CXR_SENDER="CR1")


def test_a_key_where_a_table_belongs_is_an_error(data: Path) -> None:
    assert "listener" in error(data, "listener = 104", CXR_LISTENER_PORT="104")


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:hunter2@host/db", "postgresql+nothing"])
def test_a_database_that_cannot_be_used_is_an_error_without_the_url(data: Path, url: str) -> None:
    words = error(data, CXR_DATABASE_URL=url)
    assert "database_url (from environment CXR_DATABASE_URL)" in words
    assert "hunter2" not in words


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('lease_s = "soon"', "lease_s ({file}): expected a number, came 'soon'"),
        ("lease_s = nan", "lease_s ({file}): expected a finite number, came nan"),
        ("lease_s = 0", "lease_s ({file}): expected more than 0.0, came 0"),
        ("lease_s = 1e300", "lease_s ({file}): expected at most 86400.0, came 1e+300"),
        ("max_attempts = 1.5", "max_attempts ({file}): expected a whole number, came 1.5"),
        ("model = 3", "model ({file}): expected a path in quotes, came 3"),
        ('log_level = "LOUD"', "'INFO', 'WARNING' or 'ERROR', came 'LOUD'"),
        ("listener = 104", "listener ({file}): expected a table written [listener], came 104"),
        ("[listener]\nport = 65536", "({file}): expected a whole number from 1 to 65535, came 65536"),
        ('[listener]\nhost = ""', "listener.host ({file}): expected at least 1 character, came ''"),
        (
            '[listener]\naet = "A\\\\B"',
            "listener.aet ({file}): expected 1 to 16 printable characters without backslash, no space at the "
            "ends, came 'A\\\\B'",
        ),
        ('[sender]\naet = "CR1"', "sender ({file}): expected tables written [[sender]], came a table"),
        ("sender = 4", "sender ({file}): expected tables written [[sender]], came 4"),
        ('sender = ["CR1"]', "sender.0 ({file}): expected a table written [[sender]], came 'CR1'"),
        (
            '[[destination]]\nname = "x"\nhost = "h"\nport = 1',
            "destination.0 ({file}): expected aet, host and port, or url alone; missing: aet",
        ),
        (
            DESTINATION.format("a b"),
            "destination.0.name ({file}): expected letters, digits, dots, hyphens and underscores, "
            "at most 64, came 'a b'",
        ),
        ('log_level = "' + "x" * 300 + '"', "came '" + "x" * 40),
    ],
)
def test_a_bad_value_is_told_with_key_source_expectation_and_value(data: Path, toml: str, words: str) -> None:
    told = error(data, toml)
    assert words.format(file=f"from {data / 'config.toml'}") in told
    assert "Input should" not in told
    assert len(told.splitlines()) == 1
    assert len(told) < len(str(data)) + 250


@pytest.mark.parametrize("node_id", ["a\\b", "x" * 65, "a\nb", "a\x1b[2Jb", ""])
def test_a_node_id_that_no_result_could_carry_is_an_error(data: Path, node_id: str) -> None:
    words = error(data, f"node_id = {json.dumps(node_id)}")
    assert "node_id" in words
    assert "expected 1 to 64 printable characters without backslash" in words
    assert words.isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "amqp://u:hunter2@host//",
        "redis+sentinel://:hunter2@host",
        "redis://:hunter2@host:port/0",
        "redis://:hunter2@host:99999/0",
        "redis://:hunter2@host/hunter2",
        "redis://",
        "unix://",
        "redis+socket:broker.sock",
        "hunter2",
    ],
)
def test_a_broker_that_cannot_be_used_is_an_error_without_the_url(data: Path, url: str) -> None:
    words = error(data, CXR_BROKER_URL=url)
    assert "broker_url (from environment CXR_BROKER_URL): expected redis://HOST:PORT/NUMBER" in words
    assert "hunter2" not in words


@pytest.mark.parametrize(
    ("url", "effective"),
    [
        ("redis://:pw@host:6379/0", "redis://:pw@host:6379/0"),
        ("redis://host", "redis://host"),
        ("rediss://host:6380/1?ssl_cert_reqs=required", "rediss://host:6380/1?ssl_cert_reqs=required"),
        ("redis+socket:///run/b.sock", "redis+socket:///run/b.sock"),
        ("unix:///run/b.sock", "redis+socket:///run/b.sock"),
    ],
)
def test_a_broker_is_given_to_celery_in_its_spelling(data: Path, url: str, effective: str) -> None:
    made = loaded(data, CXR_BROKER_URL=url).settings.effective_broker_url
    assert made == effective
    assert Connection(made).transport.driver_type == "redis"


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "postgres://u:hunter2@h/d", "postgresql://h:x/d"]
)
def test_a_database_that_would_fail_later_is_an_error_now(data: Path, url: str) -> None:
    words = error(data, CXR_DATABASE_URL=url)
    assert "expected postgresql://USER@HOST/NAME or sqlite:///FILE, came" in words
    assert "hunter2" not in words


def test_a_file_that_is_no_toml_is_an_error_with_its_place(data: Path) -> None:
    words = error(data, "lease_s = = 3")
    assert str(data / "config.toml") in words
    assert "line 1" in words


def test_a_named_file_that_is_absent_is_an_error(data: Path) -> None:
    assert "nowhere.toml" in error(data, CXR_CONFIG=str(data / "nowhere.toml"))


def test_all_errors_are_told_at_once(data: Path) -> None:
    words = error(data, "lease_s = 0\nnonsense = 1", CXR_LISTENER_PORT="x")
    assert all(key in words for key in ("lease_s", "nonsense", "listener.port"))


def test_settings_are_frozen(data: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        loaded(data).settings.lease_s = 5  # type: ignore[misc]


def test_a_socket_path_within_the_limit_stays_in_the_data_folder(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    room = MAX_SOCKET_PATH_BYTES - len(os.fsencode(tmp_path / "broker" / "broker.sock")) - 1
    folder = tmp_path / ("d" * room)
    socket_path = Settings(data=folder).broker_socket
    assert len(os.fsencode(socket_path)) == MAX_SOCKET_PATH_BYTES
    assert socket_path.is_relative_to(folder)


def test_a_socket_path_beyond_107_bytes_moves_to_a_short_folder(tmp_path: Path) -> None:
    """Counted in bytes: ü takes two."""
    room = MAX_SOCKET_PATH_BYTES - len(str(tmp_path / "broker" / "broker.sock")) - 1
    folder, other = tmp_path / ("ü" * room), tmp_path / ("ö" * room)
    assert len(str(folder / "broker" / "broker.sock")) == MAX_SOCKET_PATH_BYTES, "in characters it would fit"
    first, second = Settings(data=folder).broker_socket, Settings(data=other).broker_socket
    assert len(os.fsencode(first)) <= MAX_SOCKET_PATH_BYTES
    assert first.is_relative_to(tempfile.gettempdir())
    assert not first.is_relative_to(folder)
    assert first != second
    assert first == Settings(data=folder).broker_socket


def test_a_destination_is_found_by_its_name(data: Path) -> None:
    made = loaded(data, DESTINATION.format("one") + DESTINATION.format("two")).settings
    found = made.destination_named("two")
    assert found is not None
    assert found.name == "two"
    assert made.destination_named("three") is None


def test_the_command_line_stands_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "environment"))
    monkeypatch.delenv("CXR_CONFIG", raising=False)
    settings.choose(str(tmp_path / "option"), None)
    try:
        assert settings.current().data == tmp_path / "option"
    finally:
        settings.current.cache_clear()


WEB = '[[destination]]\nname = "web"\nurl = "https://pacs.example:8443/dicom-web"\n'


def test_a_web_destination_is_proved_by_qido_unless_told_otherwise(data: Path) -> None:
    (web,) = loaded(data, WEB).settings.destination
    assert (web.url, web.proof, web.aet) == ("https://pacs.example:8443/dicom-web", "qido", None)
    assert loaded(data, f'{WEB}proof = "none"').settings.destination[0].proof == "none"


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (f'{WEB}aet = "PACS"', "expected no aet, host, port, calling_aet beside url, came aet"),
        (f'{WEB}proof = "find"', 'proof: expected qido or none with url, came "find"'),
        (f'{WEB}user = "u"', "expected token_file, or user and password_file, or none of them"),
        (
            f'{WEB}user = "u"\npassword_file = "p"\ntoken_file = "t"',
            "expected token_file, or user and password_file, or none of them",
        ),
        (f"{WEB}[destination.tls]\nverify_name = false", "tls.verify_name: expected true with url"),
        (f"{WEB.replace('https', 'http')}[destination.tls]\nca = 'a.pem'", "expected a url with https://"),
        (f"{WEB.replace('pacs.example', 'u:secret@pacs.example')}", "no password or query"),
        ('[[destination]]\nname = "web"\nurl = "pacs.example/dicom-web"', "expected http://HOST:PORT/PATH"),
        (f'{DESTINATION.format("x")}proof = "qido"', "expected find, commitment or none without url"),
        (f'{DESTINATION.format("x")}token_file = "t"', "password_file without url, came token_file"),
        ('[[destination]]\nname = "x"', "missing: aet, host, port"),
    ],
)
def test_a_destination_that_cannot_be_reached_so_is_told(data: Path, toml: str, words: str) -> None:
    told = error(data, toml)
    assert words in told
    assert "destination.0" in told
    assert "secret" not in told


def test_a_destination_is_called_over_tls_where_files_are_named(data: Path) -> None:
    toml = f"{DESTINATION.format('x')}proof = 'commitment'\n[destination.tls]\nca = '/etc/ca.pem'\n"
    (found,) = loaded(data, toml).settings.destination
    assert found.tls is not None
    assert (found.tls.ca, found.tls.verify_name) == (Path("/etc/ca.pem"), True)
