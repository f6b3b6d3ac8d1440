"""dcmtk's archive and storage servers, on free loopback ports, for tests that ask or pull."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

from parts import answers, end, free_port, need, wait_until
from pydicom import dcmread

from dicom_io import scu
from dicom_io.association import Target
from dicom_io.scu import Outcome


@dataclass
class Dcmqrscp:
    """An archive that stores, finds, and sends by C-GET and C-MOVE."""

    port: int

    aet = "ARCHIVE"

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *, known: tuple[str, int] = ("NOBODY", 1)) -> Iterator[Self]:
        """Start it; it knows one node, AE title and port, to which it would move."""
        program, port = need("dcmqrscp", "dcmtk"), free_port()
        (folder / "archive").mkdir()
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
            f"HostTable BEGIN\nknown = ({known[0]}, 127.0.0.1, {known[1]})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{cls.aet} {folder / 'archive'} RW (99, 1024mb) ANY\nAETable END\n"
        )
        with _running([program, "-c", str(configuration)], port):
            yield cls(port)

    def target(self, calling_aet: str = "CXRWORKER") -> Target:
        return Target(self.aet, "127.0.0.1", self.port, calling_aet, timeout_s=20)

    def put(self, *encoded: bytes) -> None:
        for film in encoded:
            assert scu.store(self.target(), film).outcome == Outcome.SENT, dcmread(BytesIO(film)).SOPClassUID


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """dcmtk's storage server; its port."""
    program, port = need("storescp", "dcmtk"), free_port()
    with _running([program, "-od", str(folder), *options, str(port)], port):
        yield port


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: answers(port), f"{Path(command[0]).name} to answer")
        yield
    finally:
        end(process)
