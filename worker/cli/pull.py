"""Pull the films of a study from a PACS by accession number, and analyse them like any other."""

import argparse
import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from dicom_io.association import Target
from dicom_io.retrieve import DimseSource, Fetched, Instance, Study, StudySource
from dicom_io.scp import Peer, ReceivedInstance, StoreStatus
from dicom_io.wado import WebSource
from dicom_io.webclient import WebTarget
from worker import context, folder, logs, schema
from worker.cli import peer_argument
from worker.cli.terminal import visible
from worker.context import Context
from worker.receiver import Receiver
from worker.settings import SettingsError

MAX_ACCESSION_NUMBER = 16
"""Most characters of a DICOM Short String (PS3.5 table 6.2-1)."""
MATCHED_OTHERWISE = "*?\\"
"""Wild cards and the separator of values: with them the PACS would look for something else."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source, the study, and the way."""
    parser.add_argument("source", metavar="SOURCE", help=f"{peer_argument.METAVAR}: {peer_argument.HELP}")
    parser.add_argument("accession", metavar="ACCESSION", help="accession number of the study")
    parser.add_argument("--study", metavar="UID", help="which one, when several have this accession number")
    parser.add_argument(
        "--by",
        choices=("auto", "get", "move"),
        default="auto",
        help="C-GET, or C-MOVE to our listener, which must run (C-GET where the PACS offers it)",
    )
    peer_argument.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Find the study, fetch its films; exit 1 when there is none, or one did not come."""
    accession = _accession_number(options.accession)
    current = context.get()
    logs.quieten()
    source, peer = _source(options, current)
    study = _chosen(source.studies(accession), options.study)
    if study is None:
        return 1
    instances = source.instances(study.study_instance_uid)
    films = [instance for instance in instances if instance.is_film]
    left = len(instances) - len(films)
    if not films:
        print(f"the study holds {len(instances)} instances, and no CR, DX or SC image among them")
        return 1
    moves = isinstance(source, DimseSource) and source.move_to is not None
    return _fetch(source, films, left, None if moves else _Intake(current, peer))


def _fetch(source: StudySource, films: Sequence[Instance], left: int, intake: "_Intake | None") -> int:
    """Fetch film by film, with a line for each, and count."""
    failed = 0
    outcomes = source.fetch(films, intake.take if intake else lambda _: False)
    for number, (_, trouble) in enumerate(zip(films, outcomes, strict=True), start=1):
        failed += trouble is not None
        words = trouble or (intake.last if intake else "sent to our listener")
        print(f"film {number} of {len(films)}: {visible(words)}", flush=True)
    came = len(films) - failed
    other = f"; {left} other objects of the study left where they are" if left else ""
    print(f"{came} of {len(films)} films pulled, {failed} failed{other}")
    if came:
        print("they are analysed by `cxr-worker up`; `cxr-worker results` lists what came of them")
    return 1 if failed else 0


class _Intake:
    """Gives what came to the receiver, as the listener does: file synced, row committed."""

    def __init__(self, current: Context, peer: Peer) -> None:
        folder.prepare(current.settings.data)
        schema.prepare(current.engine, current.settings)
        self._receiver = Receiver(current.settings, current.engine, self._is_new)
        self._peer = peer
        self.last = ""
        """What became of the last one, in words."""

    def take(self, fetched: Fetched) -> bool:
        """Spool and record it; false when disk or database refuse."""
        self.last = "known already, and not analysed again"
        path = self._receiver.spool.incoming / f"{os.getpid()}-{os.urandom(8).hex()}.pull"
        try:
            path.write_bytes(fetched.encoded)
            instance = ReceivedInstance(
                sop_class_uid=fetched.sop_class_uid,
                sop_instance_uid=fetched.sop_instance_uid,
                transfer_syntax_uid=fetched.transfer_syntax_uid,
                peer=self._peer,
                path=path,
            )
            return self._receiver.store(instance) == StoreStatus.SUCCESS
        except OSError:
            return False
        finally:
            # Left only where it was not taken over.
            path.unlink(missing_ok=True)

    def _is_new(self) -> None:
        self.last = "taken"


def _accession_number(word: str) -> str:
    if not 1 <= len(word.strip()) <= MAX_ACCESSION_NUMBER or not word.isprintable():
        raise SettingsError(f"ACCESSION: expected 1 to {MAX_ACCESSION_NUMBER} printable characters")
    if set(word) & set(MATCHED_OTHERWISE):
        raise SettingsError("ACCESSION: expected one accession number, without wild cards and backslash")
    return word.strip()


def _source(options: argparse.Namespace, current: Context) -> tuple[StudySource, Peer]:
    """The source, and how the rows name it."""
    target = peer_argument.resolve(options, options.source, current.settings)
    if isinstance(target, WebTarget):
        if options.by != "auto":
            raise SettingsError(f"--by {options.by}: expected no --by with a URL")
        return WebSource(target), Peer(aet="WADO-RS", host=urlsplit(target.url).hostname or "")
    return _dimse(target, options.by, current), Peer(aet=target.aet, host=target.host)


def _dimse(target: Target, way: str, current: Context) -> DimseSource:
    source = DimseSource(target)
    if way == "get" or (way == "auto" and source.takes_get()):
        return source
    return DimseSource(target, move_to=current.settings.listener.aet)


def _chosen(studies: Sequence[Study], wanted: str | None) -> Study | None:
    """The one study that is meant; None, with words, when there is none or it is not clear."""
    found = [study for study in studies if wanted in (None, study.study_instance_uid)]
    if len(found) == 1:
        return found[0]
    if not studies:
        print("no study with this accession number there")
    elif not found:
        print("no study with this accession number has that Study Instance UID")
    if not studies or found:
        _list(found)
    return None


def _list(studies: Sequence[Study]) -> None:
    """Show what they can be told apart by, without names."""
    if not studies:
        return
    print(f"{len(studies)} studies have this accession number; name one by --study UID:")
    table = Table("study instance UID", "date", "modalities", "instances")
    for study in studies:
        cells = (study.study_instance_uid, study.date, study.modalities, study.instances)
        table.add_row(*(visible(cell) for cell in cells))
    Console().print(table)
