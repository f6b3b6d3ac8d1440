"""Environment and one TOML file become one frozen `Settings`; no other module reads either."""

import os
import re
import socket
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from dicom_io.repair import is_long_string
from worker.problems import in_words

ENV_PREFIX = "CXR_"
ENV_OF_OTHERS = frozenset({"CXR_CONFIG", "CXR_SHARED_DATA"})
"""Variables with our prefix that are no setting: where the file is, and where the tests find films."""
SECTIONS = ("listener.tls", "listener")
"""Tables of the file whose keys are reachable as `CXR_SECTION_KEY`, an inner table before its outer one."""
DAY_S = 86_400.0
TEN_YEARS_DAYS = 3650.0
LO_LIMIT = 64
"""Most characters of a DICOM Long String (PS3.5 table 6.2-1)."""
MAX_SOCKET_PATH_BYTES = 107
"""Linux cuts a longer Unix socket path silently (unix(7))."""

AE_TITLE_PATTERN = r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$"
AeTitle = Annotated[str, Field(pattern=AE_TITLE_PATTERN)]
"""PS3.5 section 6.2, VR AE: 16 characters, no backslash, no control characters."""
Host = Annotated[str, Field(min_length=1, max_length=253)]
"""A name or an address; an empty one would be every address of the machine."""
Port = Annotated[int, Field(ge=1, le=65535)]


class SettingsError(Exception):
    """A setting is missing, unknown or of the wrong kind; the message says which, and where it came from."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ListenerTls(_Frozen):
    """`[listener.tls]`: with it the port speaks TLS alone; each file is PEM."""

    certificate: Path
    """The listener's certificate, with its chain."""
    key: Path | None = None
    """Its private key, not encrypted; may stand in the certificate's file."""
    ca: Path | None = None
    """Authorities of the senders' certificates."""
    require_client_certificate: bool = True
    """Whether only senders with a certificate of these authorities may connect."""


class Listener(_Frozen):
    """`[listener]`: the Storage SCP."""

    aet: AeTitle = "CXRWORKER"
    """AE title that senders call."""
    host: Host = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    port: Port = 11112
    """DICOM port."""
    max_associations: int = Field(default=20, ge=1, le=1000)
    """Associations served at once; more are rejected as transient."""
    max_pdu_bytes: int = Field(default=131_072, ge=4096, le=4_194_304)
    """Largest P-DATA-TF PDU that senders are asked to send."""
    max_object_mib: int = Field(default=1024, ge=1, le=1_048_576)
    """Largest object that is received, in MiB; the association of one that goes on beyond it is aborted."""
    accept_any_storage: bool = False
    """Whether every Storage SOP Class of the standard is taken; none but films are judged, and what is no
    film is refused as `sop_class`, its header kept."""
    commitment: bool = False
    """Whether Storage Commitment is given, and that only with `retention = "keep"`."""
    tls: ListenerTls | None = None
    """With it the port speaks TLS."""


class Sender(_Frozen):
    """`[[sender]]`: a modality or PACS that may send films."""

    aet: AeTitle
    """Its calling AE title."""
    host: Host | None = None
    """Its address; any address when absent."""
    port: Port | None = None
    """Where it listens for the answer to its request for Storage Commitment, if not on that association."""
    tls: bool = False
    """Whether it is to be called there over TLS, with the listener's own certificate and authorities; where
    the listener names no `ca`, its certificate must be of an authority of the system and name its host."""


class DestinationTls(_Frozen):
    """`[destination.tls]`: whom we trust there, and who we are; each file is PEM."""

    ca: Path | None = None
    """Authorities of the destination's certificate; those of the system when absent."""
    certificate: Path | None = None
    """Our certificate, for a destination that asks for one."""
    key: Path | None = None
    """Its private key, not encrypted; may stand in the certificate's file."""
    verify_name: bool = True
    """Whether the destination's certificate must name the host that is called."""


class Destination(_Frozen):
    """`[[destination]]`: a PACS that receives the results, by DICOM association or by DICOMweb."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    """How the database and the logs call it."""
    aet: AeTitle | None = None
    """Its AE title."""
    host: Host | None = None
    """Its address."""
    port: Port | None = None
    """Its DICOM port."""
    url: str | None = None
    """Address of its DICOMweb service before `/studies`, in place of `aet`, `host` and `port`."""
    calling_aet: AeTitle | None = None
    """How we call ourselves there; the listener's AE title when absent."""
    proof: Literal["none", "find", "qido", "commitment"] = "none"
    """What makes a delivery `confirmed`: `commitment` asks by Storage Commitment, `find` by C-FIND, `qido` by
    QIDO-RS (the default with `url`); with `none`, `sent` counts."""
    profile: Literal["auto", "comprehensive-3d", "comprehensive", "enhanced", "basic-text"] = "auto"
    """Form of the report; `auto` begins with the richest and falls back to what the destination takes."""
    summary: bool = False
    """Whether it gets a page with film, heat map and finding in words, for a PACS that shows no report."""
    annotation: bool = False
    """Whether it gets a presentation state: the finding as text and outline over the film itself."""
    pictures: Literal["lossless", "jpeg"] = "lossless"
    """How heat map and page go there: RLE Lossless or uncompressed, or `jpeg`, smaller and lossy."""
    tls: DestinationTls | None = None
    """With it the destination is called over TLS."""
    token_file: Path | None = None
    """File with the bearer token for `url`."""
    user: str | None = Field(None, min_length=1, max_length=255, pattern=r"^[!-9;-~]+$")
    """Name for `url`, where the service asks for name and password."""
    password_file: Path | None = None
    """File with the password of `user`."""

    @model_validator(mode="before")
    @classmethod
    def _the_web_is_asked_by_qido(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("url") is not None:
            return {"proof": "qido", **values}
        return values

    @model_validator(mode="after")
    def _one_way_leads_there(self) -> Self:
        association = {"aet": self.aet, "host": self.host, "port": self.port}
        if self.url is None:
            missing = [key for key, value in association.items() if value is None]
            if missing:
                raise ValueError(f"expected aet, host and port, or url alone; missing: {', '.join(missing)}")
        self._require_absent("without url", self.url is None, "token_file", "user", "password_file")
        self._require_absent("beside url", self.url is not None, "aet", "host", "port", "calling_aet")
        if self.proof not in ("none", *(("qido",) if self.url else ("find", "commitment"))):
            possible = "qido or none with url" if self.url else "find, commitment or none without url"
            raise ValueError(f'proof: expected {possible}, came "{self.proof}"')
        if (self.user is None) != (self.password_file is None) or (self.user and self.token_file):
            raise ValueError("expected token_file, or user and password_file, or none of them")
        return self._with_sound_url()

    def _require_absent(self, where: str, applies: bool, *keys: str) -> None:
        given = [key for key in keys if getattr(self, key) is not None]
        if applies and given:
            raise ValueError(f"expected no {', '.join(keys)} {where}, came {', '.join(given)}")

    def _with_sound_url(self) -> Self:
        if self.url is None:
            return self
        if not _is_web(self.url):
            # What came is not repeated: it may hold a password.
            raise ValueError("url: expected http://HOST:PORT/PATH or https://…, no password or query")
        if self.tls is not None and not self.tls.verify_name:
            raise ValueError("tls.verify_name: expected true with url, whose host must be named")
        if self.tls is not None and not self.url.startswith("https:"):
            raise ValueError("tls: expected a url with https://")
        return self


class Settings(_Frozen):
    """Everything that can be set; the defaults run on one machine with nothing installed beside it."""

    data: Path = Path("cxr-data")
    """Folder for all that is ever written."""
    listener: Listener = Listener()
    """The Storage SCP."""
    sender: tuple[Sender, ...] = ()
    """Who may send; nobody by default."""
    destination: tuple[Destination, ...] = ()
    """Where results go; nowhere by default, they are then in the database alone."""
    broker_url: str | None = None
    """A Redis; the embedded server on a Unix socket when absent."""
    database_url: str | None = None
    """SQLAlchemy URL of a PostgreSQL; SQLite in the data folder when absent."""
    node_id: str = Field(default_factory=lambda: socket.gethostname()[:64] or "cxr-worker")
    """Device serial number in every result, and the actor in every event."""
    model: Path | None = None
    """Folder of the model; the one shipped in the package when absent."""
    backend: Literal["auto", "openvino", "pytorch"] = "auto"
    """Who computes: `auto` takes PyTorch where there is a graphics card, else OpenVINO, and PyTorch
    where that cannot serve."""
    threads: int = Field(1, ge=1, le=256)
    """Threads of the network in each worker; more than processors in all, and workers stall each other."""
    min_age_years: int = Field(18, ge=0, le=120)
    """Younger patients are refused: the model is for adults."""
    report_refusals: bool = False
    """Whether a refused film gets a report too, which says why it was not judged; for all destinations."""
    concurrency: int = Field(1, ge=1, le=64)
    """Films analysed at once by `cxr-worker up`."""
    lease_s: float = Field(30.0, gt=0, le=DAY_S)
    """How long a worker may be silent before its film is given to another."""
    sweep_s: float = Field(5.0, gt=0, le=DAY_S)
    """How often what was left behind is looked for."""
    ring_again_s: float = Field(20.0, gt=0, le=DAY_S)
    """After how long a message that led to nothing is taken for lost."""
    max_attempts: int = Field(8, ge=1, le=1000)
    """Analyses that may end without an answer before a film is `dead`."""
    analysis_days: float = Field(7.0, gt=0, le=TEN_YEARS_DAYS)
    """How long trouble of ours, a full disk or a missing model, may last before a film is `dead`."""
    delivery_days: float = Field(7.0, gt=0, le=TEN_YEARS_DAYS)
    """How long a PACS may be away before a delivery is `dead`."""
    network_timeout_s: float = Field(30.0, gt=0, le=DAY_S)
    """How long to wait for a PACS at each step."""
    commitment_wait_s: float = Field(3600.0, gt=0, le=DAY_S)
    """How long to wait for the answer to a Storage Commitment before asking again."""
    retention: Literal["keep"] | int = 30
    """Days for which what was received is kept at least; `keep` for ever, which is what Storage Commitment
    needs. Nothing is removed yet, whatever stands here."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that is logged."""

    @field_validator("destination")
    @classmethod
    def _names_are_unique(cls, destinations: tuple[Destination, ...]) -> tuple[Destination, ...]:
        names = [destination.name for destination in destinations]
        if len(names) != len(set(names)):
            raise ValueError(f"expected a different name for each [[destination]], got {', '.join(names)}")
        return destinations

    @field_validator("retention", mode="before")
    @classmethod
    def _retention_is_days_or_keep(cls, value: Any) -> Any:
        days = value if isinstance(value, str) else str(value)
        if days != "keep" and not (days.isdecimal() and 1 <= int(days) <= TEN_YEARS_DAYS):
            raise ValueError(f'expected "keep", or whole days from 1 to {TEN_YEARS_DAYS:.0f}')
        return days if days == "keep" else int(days)

    @field_validator("node_id")
    @classmethod
    def _results_can_carry_it(cls, node_id: str) -> str:
        if not is_long_string(node_id):
            shown = repr(node_id[: 2 * LO_LIMIT])
            raise ValueError(f"expected 1 to {LO_LIMIT} printable characters without backslash, came {shown}")
        return node_id

    @field_validator("broker_url")
    @classmethod
    def _broker_is_known(cls, url: str | None) -> str | None:
        if url is None or _is_redis(url):
            return url
        # A URL may hold a password: of what came, the scheme alone is repeated.
        raise ValueError(
            "expected redis://HOST:PORT/NUMBER, rediss://HOST:PORT/NUMBER, redis+socket:///FILE or "
            f"unix:///FILE, came {_scheme(url)}"
        )

    @field_validator("database_url")
    @classmethod
    def _database_is_known(cls, url: str | None) -> str | None:
        if url is None or _is_database(url):
            return url
        raise ValueError(f"expected postgresql://USER@HOST/NAME or sqlite:///FILE, came {_scheme(url)}")

    @property
    def effective_database_url(self) -> str:
        """The database in use."""
        return self.database_url or f"sqlite:///{self.data.absolute() / 'cxr.sqlite3'}"

    @property
    def effective_broker_url(self) -> str:
        """The broker in use, as Celery spells it."""
        if self.broker_url is None:
            return f"redis+socket://{self.broker_socket}"
        return re.sub(r"^unix:", "redis+socket:", self.broker_url)

    @property
    def broker_socket(self) -> Path:
        """Socket of the embedded broker: in the data folder, or in a short one where that is too long."""
        path = self.data.absolute() / "broker" / "broker.sock"
        if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
            return path
        digest = sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"cxr-{os.getuid()}-{digest}" / "broker.sock"

    def destination_named(self, name: str) -> Destination | None:
        """The destination of that name, or None when it was taken out of the configuration."""
        return next((d for d in self.destination if d.name == name), None)


def _is_redis(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # asking for the port checks it
    except ValueError:
        return False
    if parts.scheme in ("redis", "rediss"):
        return bool(host) and re.fullmatch(r"/?\d*", parts.path) is not None
    return parts.scheme in ("redis+socket", "unix") and len(parts.path) > 1 and parts.path.startswith("/")


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # asking for the port checks it
    except ValueError:
        return False
    more = (parts.username, parts.password, parts.query or None, parts.fragment or None)
    return parts.scheme in ("http", "https") and bool(host) and more == (None,) * 4


def _is_database(url: str) -> bool:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    if parsed.get_backend_name() == "sqlite":
        # One in memory would be another one for each process.
        return parsed.database not in (None, "", ":memory:")
    return parsed.get_backend_name() == "postgresql"


def _scheme(url: str) -> str:
    scheme = re.match(r"[a-z0-9+.]{1,32}(?=:)", url)
    return f"another URL of scheme {scheme[0]}" if scheme else "something else"


@dataclass(frozen=True)
class Loaded:
    """Settings, and where each one that is no default came from."""

    settings: Settings
    sources: Mapping[str, str]
    """Dotted key → `environment CXR_…` or the file's path."""
    file: Path | None
    """The TOML file that was read, if there is one."""


def load(environ: Mapping[str, str]) -> Loaded:
    """Read the TOML file, put the environment over it, and check all of it.

    Raises
    ------
    SettingsError
        An unknown key or variable, a value of the wrong kind, or a file that is no TOML.
    """
    data = Path(environ.get("CXR_DATA") or "cxr-data")
    named = environ.get("CXR_CONFIG")
    file = Path(named) if named else data / "config.toml"
    if named and not file.is_file():
        raise SettingsError(f"CXR_CONFIG names {file}: expected a TOML file there, found none")
    values = _read_toml(file) if file.is_file() else {}
    sources = dict.fromkeys(_dotted(values), str(file))
    for variable, value in environ.items():
        if not variable.startswith(ENV_PREFIX) or variable in ENV_OF_OTHERS:
            continue
        key = _key_of(variable)
        # An empty variable means "not set", as compose files and systemd units write it.
        if not value:
            continue
        _put(values, key, value)
        sources[key] = f"environment {variable}"
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(in_words(problem, sources) for problem in error.errors())) from error
    return Loaded(settings, sources, file if file.is_file() else None)


def choose(data: str | None, config: str | None) -> None:
    """Let `--data` and `--config` stand over the environment, for this process and its children."""
    for variable, value in (("CXR_DATA", data), ("CXR_CONFIG", config)):
        if value is not None:
            os.environ[variable] = str(Path(value).absolute())
    current.cache_clear()


@cache
def current() -> Settings:
    """The settings of this process, read from its environment once."""
    return load(os.environ).settings


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: expected a TOML file in UTF-8: {error}") from error


def _key_of(variable: str) -> str:
    """`CXR_LISTENER_PORT` → `listener.port`; `CXR_BROKER_URL` → `broker_url`."""
    name = variable.removeprefix(ENV_PREFIX).lower()
    for section in SECTIONS:
        prefix = f"{section.replace('.', '_')}_"
        if name.startswith(prefix):
            return f"{section}.{name.removeprefix(prefix)}"
    if name in ("sender", "destination"):
        raise SettingsError(
            f"{variable}: write [[{name}]] tables into the TOML file, not into the environment"
        )
    return name


def _put(values: dict[str, Any], key: str, value: str) -> None:
    *sections, last = key.split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{section}: expected a table [{section}] in the TOML file, got {table!r}")
    table[last] = value


def _dotted(values: Mapping[str, Any]) -> list[str]:
    keys: list[str] = []
    for key, value in values.items():
        keys += [f"{key}.{inner}" for inner in _dotted(value)] if isinstance(value, dict) else [key]
    return keys
