"""A peer as commands take it: the name of a destination, AET@HOST:PORT, or the URL of a DICOMweb service."""

import argparse
import re
from pathlib import Path

from dicom_io.association import Target
from dicom_io.tls import TlsFiles
from dicom_io.webclient import WebTarget
from worker import peers, problems
from worker.settings import AE_TITLE_PATTERN, Settings, SettingsError

AE_TITLE = re.compile(AE_TITLE_PATTERN)
ADDRESS = re.compile(r"^(?P<aet>[^@]{1,16})@(?P<host>[^:]+|\[[^]]+\]):(?P<port>\d{1,5})$")
METAVAR = "AET@HOST:PORT | URL | NAME"
HELP = "the address of a PACS, the URL of a DICOMweb service, or the name of a [[destination]]"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how to call a peer that is no configured destination."""
    parser.add_argument("--from", dest="calling", metavar="AET", help="our AE title (that of the listener)")
    parser.add_argument("--tls", action="store_true", help="call AET@HOST:PORT over TLS")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="authorities of its certificate (PEM)")
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="our certificate (PEM)")
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key of our certificate (PEM)")


def resolve(options: argparse.Namespace, word: str, settings: Settings) -> Target | WebTarget:
    """Return the peer that is meant.

    Raises
    ------
    SettingsError
        It is no address, no URL, and no destination has that name.
    """
    files = TlsFiles(options.ca, options.certificate, options.key)
    if "://" in word:
        return _web(word, files, settings)
    if "@" in word:
        tls = files if options.tls or files != TlsFiles() else None
        aet, host, port = address(word, "peer")
        calling = ae_title(options.calling, "--from") or settings.listener.aet
        return Target(aet, host, port, calling, settings.network_timeout_s, tls=tls)
    destination = settings.destination_named(word)
    if destination is None:
        known = ", ".join(d.name for d in settings.destination) or "none is configured"
        raise SettingsError(f"{word}: expected {METAVAR}; destinations: {known}")
    if destination.url is not None:
        return peers.web_target_of(destination, settings)
    return peers.target_of(destination, settings)


def _web(url: str, files: TlsFiles, settings: Settings) -> WebTarget:
    try:
        return WebTarget(url, settings.network_timeout_s, tls=files)
    except ValueError as error:
        # Not repeated: it may hold a password.
        raise SettingsError(f"the URL of a DICOMweb service: {error}") from error


def address(word: str, option: str) -> tuple[str, str, int]:
    """Return AE title, host and port.

    Raises
    ------
    SettingsError
        A part is missing or impossible; the message names the option.
    """
    match = ADDRESS.match(word)
    if match is None:
        raise SettingsError(f"{option} {word}: expected AET@HOST:PORT, such as CXRWORKER@127.0.0.1:11112")
    if not AE_TITLE.match(match["aet"]):
        raise SettingsError(f"{option} {word}: expected {problems.AE_TITLE} before the @")
    if not 1 <= int(match["port"]) <= 65535:
        raise SettingsError(f"{option} {word}: expected a port from 1 to 65535")
    return match["aet"], match["host"].strip("[]"), int(match["port"])


def ae_title(word: str | None, option: str) -> str | None:
    """Return the AE title as it came.

    Raises
    ------
    SettingsError
        It is none; the message names the option.
    """
    if word is not None and not AE_TITLE.match(word):
        raise SettingsError(f"{option} {word}: expected {problems.AE_TITLE}")
    return word
