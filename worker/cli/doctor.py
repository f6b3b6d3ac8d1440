"""Explain what a PACS accepts of what we send and ask, and which box to tick where it does not."""

import argparse
import json
import sys
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dicom_io.diagnosis import Check, Diagnosis, Expectation, Verdict, examine
from dicom_io.phantom import PATIENT_ID
from dicom_io.profiles import Profile
from dicom_io.web_diagnosis import examine_web
from dicom_io.webclient import WebTarget
from worker import context, doctor, logs
from worker.cli import peer_argument
from worker.cli.terminal import visible
from worker.peers import AssociationPeer, WebPeer
from worker.settings import Settings

STYLES = {Verdict.WELL: "green", Verdict.NOTE: "yellow", Verdict.TROUBLE: "bold red"}
WIDTH = 80
NOTHING_STORED = "Nothing was stored there."
HINT = "Whether it stores is known only by storing: --send sends a test report and asks for it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the peer, the test report, and the form."""
    parser.add_argument("peer", metavar="PEER", help=f"{peer_argument.METAVAR}: {peer_argument.HELP}")
    parser.add_argument(
        "--send",
        action="store_true",
        help=f"store a test report and heat map of the patient {PATIENT_ID} there, and ask for them",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of words")
    peer_argument.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Examine the peer; exit 1 when something is in trouble."""
    current = context.get()
    logs.quieten()
    target = peer_argument.resolve(options, options.peer, current.settings)
    expected = _expectation(options.peer, current.settings)
    peer: WebPeer | AssociationPeer
    if isinstance(target, WebTarget):
        peer, diagnosis = WebPeer(target, expected.jpeg), examine_web(target, expected)
    else:
        peer, diagnosis = AssociationPeer(target, expected.jpeg), examine(target, expected)
    sends = options.send and diagnosis.reached
    left = doctor.round_trip(diagnosis, peer, expected, current.device) if sends else []
    advice = doctor.cleaning(diagnosis.peer, left)
    if options.json:
        uids = [test.identity.sop_instance_uid for test in left]
        json.dump({**asdict(diagnosis), "well": diagnosis.well, "to_delete": uids}, sys.stdout, indent=2)
        print()
    else:
        _show(diagnosis)
        # Without wrapping: UIDs are copied from here.
        print("\n".join(["", *(advice or [NOTHING_STORED, *([] if options.send else [HINT])])]))
        troubles = sum(check.verdict is Verdict.TROUBLE for check in diagnosis.checks)
        print("\nAll well." if diagnosis.well else f"\n{troubles} in trouble.")
    return 0 if diagnosis.well else 1


def _expectation(word: str, settings: Settings) -> Expectation:
    destination = settings.destination_named(word)
    if destination is None:
        return Expectation()
    profile = None if destination.profile == "auto" else Profile(destination.profile)
    return Expectation(destination.proof, profile, jpeg=destination.pictures == "jpeg")


def _show(diagnosis: Diagnosis) -> None:
    console = Console(width=min(WIDTH, Console().width), highlight=False)
    console.print(f"[bold]{visible(diagnosis.peer)}[/bold]", soft_wrap=True)
    checks = Table.grid(padding=(0, 2))
    for check in diagnosis.checks:
        checks.add_row(Text(check.verdict.value, STYLES[check.verdict]), Text(check.subject), _words(check))
    console.print(checks)
    if diagnosis.handshake is not None and diagnosis.handshake.subject:
        _show_certificate(diagnosis, console)
    if diagnosis.accepted:
        _show_accepted(diagnosis, console)


def _words(check: Check) -> Text:
    words = Text(visible(check.words))
    if check.advice:
        words.append(f"\n→ {visible(check.advice)}", "bold" if check.verdict is Verdict.TROUBLE else "")
    return words


def _show_certificate(diagnosis: Diagnosis, console: Console) -> None:
    shown = diagnosis.handshake
    if shown is None:
        return
    console.print("\nCertificate")
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("subject", shown.subject),
        ("issuer", shown.issuer),
        ("valid", f"{shown.not_before} to {shown.not_after}"),
        ("names", ", ".join(shown.names) or "none"),
    ):
        table.add_row(f"  {name}", Text(visible(value)))
    console.print(table)


def _show_accepted(diagnosis: Diagnosis, console: Console) -> None:
    syntaxes = list(next(iter(diagnosis.accepted.values())))
    console.print()
    table = Table("Accepted for storage", *syntaxes, box=None, header_style="bold", pad_edge=False)
    for name, accepted in diagnosis.accepted.items():
        table.add_row(name, *("yes" if accepted[syntax] else "no" for syntax in syntaxes))
    console.print(table)
