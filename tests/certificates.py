"""Certificates for the tests, made by `openssl` in a folder of the test."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from parts import need

from dicom_io.tls import TlsFiles


@dataclass(frozen=True)
class Authority:
    """An authority of its own, and whom it vouches for."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @classmethod
    def made_in(cls, folder: Path) -> "Authority":
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder)
        made.openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={folder.name}", "-days", "2"),
        )
        return made

    def certify(self, name: str, *, days: int = 2, names: str = "IP:127.0.0.1,DNS:localhost") -> TlsFiles:
        """A certificate for 127.0.0.1 and localhost, or other names; with negative days it has expired."""
        self.openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName={names}"),
        )
        self.openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-out", f"{name}.pem", "-copy_extensions", "copy", "-days", str(days)),
        )
        return TlsFiles(self.ca, self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def openssl(self, *arguments: str) -> None:
        program = need("openssl", "openssl")
        subprocess.run([program, *arguments], cwd=self.folder, check=True, capture_output=True)
