"""Senders that are neither ours nor each other's, in every syntax that each can send."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_film, compress, phantom_HW, put_pixels, to_bytes
from parts import COMMAND_TIMEOUT_S, ROOT, free_port, need, need_file
from pydicom import DataElement, Dataset, FileDataset, dcmread, dcmwrite
from rows import image
from scripted_pacs import end_server
from sqlalchemy import Engine, select

from dicom_io.negotiation import ACCEPTED_TRANSFER_SYNTAXES
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels
from dicom_io.spool import Folder
from worker import database, pipeline
from worker.context import Context
from worker.receiver import Receiver
from worker.settings import Listener, Settings
from worker.settings import Sender as KnownSender
from worker.states import ImageState
from worker.tables import Image

EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_8, JPEG_12, JPEG_LOSSLESS, JPEG_SV1, JPEG_LS, JPEG_LS_NEAR, J2K_LOSSLESS, J2K = (
    f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91)
)
ALL = frozenset(ACCEPTED_TRANSFER_SYNTAXES)
HTJ2K = frozenset(uid for uid in ALL if "HTJ2K" in ACCEPTED_TRANSFER_SYNTAXES[uid])
STORESCU_PROPOSES = {
    **{EXPLICIT: "-xe", IMPLICIT: "-xi", BIG_ENDIAN: "-xb", DEFLATED: "-xd", RLE: "-xr", JPEG_8: "-xy"},
    **{JPEG_12: "-xx", JPEG_SV1: "-xs", JPEG_LS: "-xt", JPEG_LS_NEAR: "-xu", J2K_LOSSLESS: "-xv", J2K: "-xw"},
}
"""Options of dcmtk 3.6.7, which proposes no others."""


@dataclass(frozen=True)
class Sender:
    """A program that sends films, and what is known of it."""

    aet: str
    package: str
    syntaxes: frozenset[str]
    """Of the files that it can send."""
    changes: dict[str, str] = field(default_factory=dict)
    """Transfer syntaxes in which it sends a file that is in another one."""
    exact: bool = False
    """The data set arrives byte by byte as it stands in the file, where the syntax is the file's."""

    def commands(self, port: int, films: dict[str, Path]) -> list[list[str]]:
        """What to run, so that it sends these films."""
        peer = ["127.0.0.1", str(port)]
        files = [str(file) for file in films.values()]
        if self.aet == "STORESCU":
            titles = ["-aet", self.aet, "-aec", "CXRWORKER"]
            program = need("storescu", "dcmtk")
            return [
                [program, STORESCU_PROPOSES[uid], *titles, *peer, str(file)] for uid, file in films.items()
            ]
        if self.aet == "DCMSEND":
            return [[need("dcmsend", "dcmtk"), "-aec", "CXRWORKER", *peer, *files]]
        titles = [self.aet, "CXRWORKER"]
        if self.aet == "DCMJS":
            need_file(str(ROOT / "tests/node/node_modules/dcmjs-dimse"), "run `npm ci` in tests/node")
            return [[need("node", "nodejs"), str(ROOT / "tests/node/store.js"), *peer, *titles, *files]]
        if self.aet == "ODIL-CLI":
            return [[need("odil", "odil"), "store", *peer, *titles, *files]]
        need("odil", "odil")
        # One by one: of several contexts of a class odil uses the last for all.
        script = ["/usr/bin/python3", str(ROOT / "tests/odil_store.py")]
        return [[*script, *peer, *titles, file] for file in files]


SENDERS = {
    sender.aet: sender
    for sender in (
        Sender("STORESCU", "dcmtk", frozenset(STORESCU_PROPOSES), exact=True),
        Sender("DCMSEND", "dcmtk", ALL - HTJ2K, {IMPLICIT: EXPLICIT, BIG_ENDIAN: EXPLICIT}, exact=True),
        # It says deflated and sends what is not: see the test of that.
        Sender("DCMJS", "dcmjs-dimse", ALL - {DEFLATED}, {EXPLICIT: IMPLICIT}),
        Sender("ODIL", "odil", ALL - {DEFLATED}),
        Sender(
            *("ODIL-CLI", "odil", frozenset({EXPLICIT, IMPLICIT, BIG_ENDIAN})),
            {IMPLICIT: EXPLICIT, BIG_ENDIAN: EXPLICIT},
        ),
    )
}
CASES = [
    pytest.param(sender.aet, uid, id=f"{sender.aet}-{ACCEPTED_TRANSFER_SYNTAXES[uid]}")
    for sender in SENDERS.values()
    for uid in sorted(sender.syntaxes)
]


@dataclass
class Site:
    """The listener, and the film of each sender in each syntax."""

    settings: Settings
    engine: Engine
    folder: Path
    films: dict[str, dict[str, Path]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def spool(self) -> Folder:
        return Folder(self.settings.data / "spool")

    def make_films(self, sender: Sender) -> dict[str, Path]:
        made = {}
        for number, uid in enumerate(sorted(sender.syntaxes)):
            file = self.folder / f"{sender.aet}-{uid}.dcm"
            file.write_bytes(encoded(uid, f"1.2.826.0.1.3680043.10.1588.98.{len(self.films)}.{number}"))
            made[uid] = file
        return made

    def send(self, commands: list[list[str]]) -> None:
        for command in commands:
            ran = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT_S
            )
            if ran.returncode != 0:
                self.failures.append(f"{command[:2]}: {ran.stdout} {ran.stderr}")

    def row(self, aet: str, sop_instance_uid: str) -> Image | None:
        with database.read(self.engine) as session:
            chosen = select(Image).where(Image.calling_aet == aet, Image.sop_instance_uid == sop_instance_uid)
            return session.scalars(chosen).one_or_none()


def encoded(uid: str, sop_instance_uid: str) -> bytes:
    """A film as a file in that transfer syntax."""
    film = build_film(SOPInstanceUID=sop_instance_uid)
    if uid == JPEG_8:
        put_pixels(film, np.rint(phantom_HW() * 255).astype(np.uint8), bits_stored=8)
    if uid == BIG_ENDIAN:
        return big_endian(film)
    if uid in (EXPLICIT, IMPLICIT, DEFLATED):
        film.file_meta.TransferSyntaxUID = uid
        return to_bytes(film)
    return to_bytes(compress(film, uid))


def big_endian(film: FileDataset) -> bytes:
    film.PixelData = np.frombuffer(film.PixelData, "<u2").astype(">u2").tobytes()
    film.file_meta.TransferSyntaxUID = BIG_ENDIAN
    buffer = BytesIO()
    dcmwrite(buffer, film, implicit_vr=False, little_endian=False, force_encoding=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("foreign")
    data = folder / "data"
    data.mkdir()
    (data / "cxr.sqlite3").write_bytes(sqlite_template.read_bytes())
    settings = Settings(
        data=data,
        node_id="test",
        listener=Listener(port=free_port()),
        sender=tuple(KnownSender(aet=aet, host="127.0.0.1") for aet in SENDERS),
    )
    engine = database.open_engine(settings.effective_database_url)
    made = Site(settings, engine, folder)
    listener = Receiver(settings, engine, lambda: None).listener()
    listener.start()
    yield made
    end_server(listener.stop, settings.listener.port)
    engine.dispose()


@pytest.fixture(scope="module")
def arrived(site: Site) -> Site:
    """Every sender has sent all its films, each program once."""
    for sender in SENDERS.values():
        films = site.films[sender.aet] = site.make_films(sender)
        site.send(sender.commands(site.settings.listener.port, films))
    return site


@pytest.fixture
def context(site: Site, predictor: Any) -> Context:
    made = Context(site.settings, site.engine)
    made.__dict__["predictor"] = predictor
    return made


def header_of(dataset: Dataset) -> dict[str, str]:
    """Each attribute as text, whatever its encoding; without what says how it is encoded, and the pixels."""
    left_out = {"PixelData", "SpecificCharacterSet"}
    return {element.keyword: value_of(element) for element in dataset if element.keyword not in left_out}


def value_of(element: DataElement) -> str:
    # odil writes 0.2 as .2, and empty and absent mean the same in what we read.
    numbers = element.value if element.VM > 1 else [element.value]
    return str([float(number) for number in numbers]) if element.VR == "DS" else str(element.value or "")


@pytest.mark.parametrize(("aet", "uid"), CASES)
def test_a_film_arrives_intact(arrived: Site, aet: str, uid: str) -> None:
    sender, file = SENDERS[aet], arrived.films[aet][uid]
    sent = dcmread(file)
    row = arrived.row(aet, str(sent.SOPInstanceUID))
    assert row is not None, arrived.failures
    assert row.transfer_syntax_uid == sender.changes.get(uid, uid)
    stored = arrived.spool.path(row.spool_name)
    if sender.exact and row.transfer_syntax_uid == uid:
        assert stored.read_bytes().endswith(data_set_of(file))
    came = dcmread(stored)
    assert header_of(came) == header_of(sent)
    assert np.array_equal(read_pixels(read_dataset(stored)), read_pixels(read_dataset(file)))


def data_set_of(file: Path) -> bytes:
    """The file without preamble and file meta information."""
    content = file.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def test_no_sender_met_an_error(arrived: Site) -> None:
    assert arrived.failures == []


@pytest.mark.parametrize("aet", SENDERS)
def test_a_film_of_each_sender_is_judged(arrived: Site, context: Context, aet: str) -> None:
    sent = dcmread(arrived.films[aet][EXPLICIT])
    row = arrived.row(aet, str(sent.SOPInstanceUID))
    assert row is not None
    pipeline.analyse(context, row.id)
    judged = image(arrived.engine, row.id)
    assert (judged.state, judged.reason) == (ImageState.REPORTED, None), judged.reason_detail
    assert (judged.patient_name, judged.patient_id) == ("Grün^Åsa", "PID-4711")


LIARS = {"DCMJS": (DEFLATED, "not_dicom"), "ODIL-CLI": (RLE, "unreadable")}
"""dcmjs-dimse 0.3.3 sends a deflated file inflated; `odil store` a compressed one as Explicit VR."""


@pytest.mark.parametrize("aet", LIARS)
def test_a_film_that_is_not_in_the_syntax_it_says_is_refused(site: Site, context: Context, aet: str) -> None:
    uid, reason = LIARS[aet]
    file, sop_instance_uid = site.folder / f"{aet}-liar.dcm", f"1.2.826.0.1.3680043.10.1588.97.{len(aet)}"
    file.write_bytes(encoded(uid, sop_instance_uid))
    site.send(SENDERS[aet].commands(site.settings.listener.port, {uid: file}))
    row = site.row(aet, sop_instance_uid)
    assert row is not None, site.failures
    pipeline.analyse(context, row.id)
    judged = image(site.engine, row.id)
    assert (judged.state, judged.reason) == (ImageState.REFUSED, reason)
