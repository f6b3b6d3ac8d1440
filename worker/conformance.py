"""Write the tables of the DICOM Conformance Statement from the code: `python -m worker.conformance FILE`."""

import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import IntEnum
from io import BytesIO
from pathlib import Path
from textwrap import dedent

from pydantic import BaseModel
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.sr.coding import Code

from dicom_io import codes, diagnosis, dicomweb, rejections, retrieve, scu
from dicom_io.acceptance import JUDGED_SOP_CLASSES
from dicom_io.commitment import FAILURE_TABLE
from dicom_io.commitment_scp import CommitmentStatus, FailureReason
from dicom_io.findings import Device
from dicom_io.negotiation import ACCEPTED_SOP_CLASSES, ACCEPTED_TRANSFER_SYNTAXES
from dicom_io.phantom import build_optional_objects, build_test_objects
from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from dicom_io.scp import ListenerAddress, StoreStatus
from dicom_io.tls import CIPHERS_OF_TLS_1_2
from dicom_io.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from worker.settings import Destination, DestinationTls, Listener, ListenerTls, Sender, Settings

PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
"""Where a table goes in the page; what stands between is written anew."""


def render(page: str) -> str:
    """Return the page with every table as the code has it now.

    Raises
    ------
    KeyError
        The page asks for a table that there is not.
    """
    return PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", page)


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(head), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _members(kind: type[IntEnum]) -> list[tuple[str, str]]:
    """Value of each member, and the text below it in the source."""
    (definition,) = ast.parse(dedent(inspect.getsource(kind))).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    texts: dict[str, str] = {}
    name = ""
    for statement in body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and name:
            texts[name] = " ".join(str(statement.value.value).split())
    return [(f"0x{member.value:04X}", texts[member.name]) for member in kind]


def _span(first: int, last: int) -> str:
    return f"0x{first:04X}" if first == last else f"0x{first:04X} to 0x{last:04X}"


def _identification() -> str:
    listener = Listener()
    return _table(
        ("Parameter", "Value"),
        (
            ("Application Context Name", "1.2.840.10008.3.1.1.1"),
            ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
            ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME),
            ("AE title", f"{listener.aet} (can be set)"),
            ("TCP port", f"{listener.port} (can be set)"),
            ("Longest PDU received", f"{ListenerAddress('', '', 0).max_pdu_bytes} bytes"),
            ("Associations accepted at once", f"{listener.max_associations} (can be set)"),
            ("Asynchronous operations", "none: one operation at a time"),
            (
                "Time-out of each network step",
                f"{Settings.model_fields['network_timeout_s'].default:g} s (can be set)",
            ),
        ),
    )


def _created() -> str:
    rows = ((name, uid, "yes", "no") for uid, name in diagnosis.OFFERED.items())
    return _table(("SOP class", "UID", "Created and sent", "Displayed"), rows)


def _received() -> str:
    rows = (
        (n, u, "judged" if u in JUDGED_SOP_CLASSES else "header kept")
        for u, n in ACCEPTED_SOP_CLASSES.items()
    )
    return _table(("SOP class", "UID", "What becomes of it"), rows)


def _syntaxes() -> str:
    return _table(("Transfer syntax", "UID"), ((n, u) for u, n in ACCEPTED_TRANSFER_SYNTAXES.items()))


def _proposed() -> str:
    services = {"1.2.840.10008.1.1": "Verification", **diagnosis.SERVICES}
    rows = [
        (name, uid, _offered_syntaxes(uid), "SCU", "none")
        for uid, name in {**diagnosis.OFFERED, **services}.items()
    ]
    received = [
        (name, uid, "each of those received, in a context of its own", "SCP", "role selection, for C-GET")
        for uid, name in JUDGED_SOP_CLASSES.items()
    ]
    return _table(
        ("Abstract syntax", "UID", "Transfer syntaxes", "Role", "Extended negotiation"), [*rows, *received]
    )


def _offered_syntaxes(sop_class_uid: str) -> str:
    pictures = [
        (f"{name}{when}", uid)
        for forms, when in ((diagnosis.COMPRESSED, ""), (diagnosis.ON_DEMAND, " where the settings say so"))
        for uid, name in forms.get(sop_class_uid, {}).items()
    ]
    offered = [*pictures, *((name, uid) for uid, name in diagnosis.SYNTAXES.items())]
    return ", ".join(f"{name} ({uid})" for name, uid in offered)


def _profiles() -> str:
    rows = ((n, p.value, REPORT_SOP_CLASS[p]) for n, p in enumerate(CHAIN, start=1))
    return _table(("Order", "Profile", "SOP class UID"), rows)


def _sent_statuses() -> str:
    rows = ((_span(a, b), words, outcome.value) for a, b, outcome, words in scu.STATUS_TABLE)
    return _table(("Status received", "Meaning", "What follows"), rows)


def _web_statuses() -> str:
    rows = (
        (str(a) if a == b else f"{a} to {b}", words, outcome.value)
        for a, b, _, outcome, words in dicomweb.HTTP_TABLE
    )
    return _table(("HTTP status", "Meaning", "What follows"), rows)


def _retrieve_statuses() -> str:
    return _table(
        ("Status received", "Meaning"), ((_span(a, b), words) for a, b, words in retrieve.RETRIEVE_TABLE)
    )


def _rejections() -> str:
    rows = ((s, r, words, advice) for (s, r), (words, advice) in rejections.REJECTIONS.items())
    return _table(("Source", "Reason", "Meaning", "What `cxr-worker doctor` advises"), rows)


def _commitment_failures() -> str:
    rows = ((f"0x{n:04X}", words, follow.value) for n, (follow, words) in FAILURE_TABLE.items())
    return _table(("Failure Reason received", "Meaning", "What follows"), rows)


def _own_codes() -> str:
    own = [code for _, code in _codes() if code.scheme_designator == codes.OWN_SCHEME]
    return _table(("Code Value", "Code Meaning"), ((code.value, code.meaning) for code in own))


def _standard_codes() -> str:
    rows = (
        (code.value, code.scheme_designator, code.meaning)
        for _, code in _codes()
        if code.scheme_designator != codes.OWN_SCHEME
    )
    return _table(("Code Value", "Scheme", "Code Meaning"), rows)


def _codes() -> list[tuple[str, Code]]:
    """Every code in `dicom_io.codes`, each once, in the order of the source."""
    found: dict[tuple[str, str], tuple[str, Code]] = {}
    for name, value in vars(codes).items():
        for code in value.values() if isinstance(value, dict) else [value]:
            if isinstance(code, Code):
                found.setdefault((code.value, code.scheme_designator), (name, code))
    return list(found.values())


def _attributes(kind: str, profile: Profile = CHAIN[0]) -> str:
    who = Device("node", "version"), datetime(2024, 1, 1, tzinfo=UTC)
    objects = (*build_test_objects(*who, profile), *build_optional_objects(*who))
    encoded = next(test.encoded for test in objects if test.kind == kind)
    rows = (
        (f"({e.tag.group:04X},{e.tag.element:04X})", e.keyword, dictionary_VR(e.tag))
        for e in dcmread(BytesIO(encoded))
    )
    return _table(("Tag", "Attribute", "VR"), rows)


def _tls() -> str:
    return _table(
        ("Parameter", "Value"),
        (
            ("Versions", "TLS 1.2 and TLS 1.3"),
            ("Cipher suites of TLS 1.2, as OpenSSL selects them", f"`{CIPHERS_OF_TLS_1_2}`"),
            ("Peer certificate", "always verified by the caller; required of clients where so configured"),
        ),
    )


def _settings() -> str:
    rows = []
    for section, model in (
        ("listener", Listener),
        ("listener.tls", ListenerTls),
        ("sender", Sender),
        ("destination", Destination),
        ("destination.tls", DestinationTls),
    ):
        rows += [(f"`{section}.{key}`", words) for key, words in _fields(model)]
    return _table(("Key", "Meaning"), rows)


def _fields(model: type[BaseModel]) -> list[tuple[str, str]]:
    return [(key, " ".join((f.description or "").split())) for key, f in model.model_fields.items()]


TABLES: dict[str, Callable[[], str]] = {
    "identification": _identification,
    "created": _created,
    "received": _received,
    "syntaxes": _syntaxes,
    "proposed": _proposed,
    "profiles": _profiles,
    "sent-statuses": _sent_statuses,
    "web-statuses": _web_statuses,
    "retrieve-statuses": _retrieve_statuses,
    "rejections": _rejections,
    "store-statuses": lambda: _table(("Status returned", "When"), _members(StoreStatus)),
    "commitment-statuses": lambda: _table(("Status returned", "When"), _members(CommitmentStatus)),
    "commitment-reasons": lambda: _table(("Failure Reason returned", "When"), _members(FailureReason)),
    "commitment-failures": _commitment_failures,
    "own-codes": _own_codes,
    "standard-codes": _standard_codes,
    "report-attributes": lambda: _attributes("sr"),
    "text-attributes": lambda: _attributes("sr", Profile.BASIC_TEXT),
    "capture-attributes": lambda: _attributes("sc"),
    "summary-attributes": lambda: _attributes("summary"),
    "annotation-attributes": lambda: _attributes("annotation"),
    "tls": _tls,
    "settings": _settings,
}
"""Name in the page → the table."""


def main(arguments: list[str]) -> int:
    """Write each page's tables anew."""
    for name in arguments:
        page = Path(name)
        page.write_text(render(page.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
