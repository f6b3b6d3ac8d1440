"""What a peer accepts of what we send and ask, and in words what an administrator does where it does not."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from socket import create_connection, gaierror
from typing import Any

from pydicom.uid import JPEGBaseline8Bit, RLELossless, generate_uid
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from dicom_io.association import EXPLICIT_LE, IMPLICIT_LE, Target, associate
from dicom_io.certificate import Handshake, inspect, shake_hands
from dicom_io.commitment_scp import PUSH_MODEL
from dicom_io.errors import CxrError, Rejected
from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from dicom_io.rejections import REJECTIONS
from dicom_io.retrieve import FIND, GET, MOVE, DimseSource
from dicom_io.tls import TlsFiles, failure_words

RENEW_DAYS = 30
PROBE = b"HEAD / HTTP/1.0\r\n\r\n"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
OFFERED: dict[str, str] = {
    REPORT_SOP_CLASS[Profile.COMPREHENSIVE_3D]: "Comprehensive 3D SR",
    REPORT_SOP_CLASS[Profile.COMPREHENSIVE]: "Comprehensive SR",
    REPORT_SOP_CLASS[Profile.ENHANCED]: "Enhanced SR",
    REPORT_SOP_CLASS[Profile.BASIC_TEXT]: "Basic Text SR",
    SECONDARY_CAPTURE: "Secondary Capture",
    PRESENTATION_STATE: "Grayscale Presentation State",
}
"""SOP classes of what we send."""
SYNTAXES = {EXPLICIT_LE: "Explicit VR LE", IMPLICIT_LE: "Implicit VR LE"}
"""Transfer syntaxes in which we send it, each in a context of its own (PS3.5 section 10.1)."""
COMPRESSED = {SECONDARY_CAPTURE: {str(RLELossless): "RLE Lossless"}}
"""What else pictures are offered in, first of all: that is how they are stored."""
ON_DEMAND = {SECONDARY_CAPTURE: {str(JPEGBaseline8Bit): "JPEG Baseline"}}
"""What they are offered in instead, where the destination's settings say so."""
SERVICES = {FIND: "C-FIND", GET: "C-GET", MOVE: "C-MOVE", PUSH_MODEL: "Storage Commitment"}
"""What else we may ask for; Query/Retrieve in the Study Root model."""


class Verdict(StrEnum):
    """How a check ended."""

    WELL = "ok"
    NOTE = "note"
    """Worth knowing; nothing that is configured depends on it."""
    TROUBLE = "trouble"


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    subject: str
    verdict: Verdict
    words: str
    advice: str = ""
    """What an administrator does about it, and where."""


@dataclass(frozen=True)
class Expectation:
    """What the settings want of this peer."""

    proof: str = ""
    """`find`, `qido` or `commitment`; empty when none is wanted."""
    profile: Profile | None = None
    """The only form of the report that is sent; None lets the peer choose."""
    jpeg: bool = False
    """Whether pictures are sent in JPEG Baseline."""

    @property
    def pictures(self) -> dict[str, dict[str, str]]:
        """What pictures are offered in, besides uncompressed: by SOP class, syntax and its name."""
        return ON_DEMAND if self.jpeg else COMPRESSED


@dataclass
class Diagnosis:
    """All that was found out about a peer."""

    peer: str
    checks: list[Check] = field(default_factory=list)
    accepted: dict[str, dict[str, bool]] = field(default_factory=dict)
    """SOP class → transfer syntax → whether the peer accepts it, all by name."""
    profile: Profile | None = None
    """The form in which a report would be delivered; None when the peer takes none, or was not asked."""
    handshake: Handshake | None = None
    reached: bool = False
    """Whether the peer let us in, so that something could be stored there."""

    @property
    def well(self) -> bool:
        """Whether nothing is in trouble."""
        return all(check.verdict is not Verdict.TROUBLE for check in self.checks)

    def add(self, subject: str, verdict: Verdict, words: str, advice: str = "") -> bool:
        """Record a check; returns whether what comes after it can be tried."""
        self.checks.append(Check(subject, verdict, words, advice))
        return verdict is not Verdict.TROUBLE


def examine(target: Target, expected: Expectation) -> Diagnosis:
    """Ask a DICOM peer for everything that a delivery, a proof or a pull would; nothing is stored there.

    Parameters
    ----------
    target : Target
        The peer, and how we call ourselves there.
    expected : Expectation
        What is in trouble when it is not there, instead of a note.
    """
    diagnosis = Diagnosis(target.name)
    connected = connect(diagnosis, target.host, target.port, target.timeout_s)
    if not connected or not (target.tls is None or _secure(diagnosis, target, target.tls)):
        return diagnosis
    accepted = _associate(diagnosis, target, expected)
    if accepted is not None:
        diagnosis.reached = True
        _judge_storage(diagnosis, accepted, expected)
        _judge_services(diagnosis, accepted, target, expected)
    return diagnosis


def connect(diagnosis: Diagnosis, host: str, port: int, timeout_s: float) -> bool:
    """Try whether anybody listens there."""
    try:
        create_connection((host, port), timeout=timeout_s).close()
    except gaierror:
        advice = "correct the host, or enter it into DNS or the hosts file of this machine"
        return diagnosis.add("connection", Verdict.TROUBLE, f"the name {host} has no address", advice)
    except TimeoutError:
        advice = f"a firewall drops it, or the host is off: let this machine through to port {port}"
        return diagnosis.add("connection", Verdict.TROUBLE, f"no answer in {timeout_s:g} s", advice)
    except OSError as error:
        advice = f"is the service of the peer running there, and is {port} its port?"
        words = f"nobody listens on port {port}: {error.strerror}"
        return diagnosis.add("connection", Verdict.TROUBLE, words, advice)
    return diagnosis.add("connection", Verdict.WELL, f"{host} accepts connections on port {port}")


def _secure(diagnosis: Diagnosis, target: Target, files: TlsFiles) -> bool:
    where = target.host, target.port
    return secure(
        diagnosis,
        lambda: inspect(*where, files, timeout_s=target.timeout_s),
        lambda: shake_hands(*where, files, check_hostname=target.check_hostname, timeout_s=target.timeout_s),
    )


def secure(diagnosis: Diagnosis, look: Callable[[], Handshake], verify: Callable[[], None]) -> bool:
    """Try TLS twice: to see what the peer shows, then whether we believe it."""
    try:
        diagnosis.handshake = shown = look()
    except OSError as error:
        advice = "switch TLS on there, or off here; both sides need TLS 1.2 or 1.3"
        return diagnosis.add("TLS", Verdict.TROUBLE, failure_words(error), advice)
    words = f"{shown.version}, {shown.cipher}"
    try:
        verify()
    except OSError as error:
        advice = (
            "the certificate must be valid, name the host that is called (else verify_name = false), and be "
            "signed by an authority in `ca`: put the peer's authority, or its own certificate, there"
        )
        return diagnosis.add("TLS", Verdict.TROUBLE, f"{words}: {failure_words(error)}", advice)
    if shown.days_left is not None and shown.days_left < RENEW_DAYS:
        words += f"; the certificate expires in {shown.days_left} days"
        return diagnosis.add("TLS", Verdict.NOTE, words, "have the peer's certificate renewed")
    return diagnosis.add("TLS", Verdict.WELL, f"{words}; the certificate is believed")


def _associate(diagnosis: Diagnosis, target: Target, expected: Expectation) -> set[tuple[str, str]] | None:
    """Echo, and offer everything at once; what was accepted, or None when there is no association."""
    classes = (str(Verification), *OFFERED, *SERVICES)
    contexts = [(uid, form) for uid in classes for form in (*expected.pictures.get(uid, ()), *SYNTAXES)]
    try:
        with associate(target, contexts) as association:
            accepted = {
                (str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts
            }
            if accepted:
                ours = f"called {target.aet}, as {target.calling_aet}"
                diagnosis.add("association", Verdict.WELL, f"accepted: {ours}")
                _echo(diagnosis, association, accepted)
                return accepted
        words, advice = "accepted, but nothing that we offer", "allow our AE title to store there"
    except Rejected as error:
        words, advice = _rejection(error)
        advice = f"{advice} (we call {target.aet}, as {target.calling_aet})"
    except CxrError as error:
        words, advice = _silence(target, str(error))
    diagnosis.add("association", Verdict.TROUBLE, words, advice)
    return None


def _rejection(error: Rejected) -> tuple[str, str]:
    words, advice = REJECTIONS.get((error.source, error.reason), ("", "look into the peer's log"))
    named = words or f"source {error.source}, reason {error.reason}, which the standard does not name"
    return f"rejected: {named}", advice


def _silence(target: Target, words: str) -> tuple[str, str]:
    """Find out what speaks there, if it is no DICOM."""
    if target.tls is None and _speaks_tls(target):
        return "the port speaks TLS", "call it with --tls, or give the [[destination]] a [destination.tls]"
    if target.tls is None and _speaks_http(target):
        advice = "name the DICOM port (104 or 11112, often), or the URL of its DICOMweb service"
        return "the port speaks HTTP, not DICOM", advice
    if "TLS failed" in words:
        return words.partition(": ")[2], "give our certificate and key, of an authority that the peer trusts"
    advice = "is it the DICOM port? Some peers hang up on AE titles and addresses that they do not know"
    return "connected, but no answer to the association request", advice


def _speaks_tls(target: Target) -> bool:
    try:
        inspect(target.host, target.port, TlsFiles(), timeout_s=target.timeout_s)
    except OSError as error:
        # Whoever answers with an alert speaks TLS too: it wants a certificate of ours, say.
        return "ALERT" in str(getattr(error, "reason", ""))
    return True


def _speaks_http(target: Target) -> bool:
    try:
        with create_connection((target.host, target.port), timeout=target.timeout_s) as plain:
            plain.sendall(PROBE)
            return plain.recv(5) == b"HTTP/"
    except OSError:
        return False


def _echo(diagnosis: Diagnosis, association: Any, accepted: set[tuple[str, str]]) -> None:
    if not any(uid == str(Verification) for uid, _ in accepted):
        diagnosis.add("C-ECHO", Verdict.NOTE, "Verification is not accepted")
        return
    answer = association.send_c_echo()
    if answer.get("Status") == 0:
        diagnosis.add("C-ECHO", Verdict.WELL, "answered")
    else:
        diagnosis.add("C-ECHO", Verdict.TROUBLE, "not answered with success", "look into the peer's log")


def _judge_storage(diagnosis: Diagnosis, accepted: set[tuple[str, str]], expected: Expectation) -> None:
    diagnosis.accepted = {
        name: {words: (uid, syntax) in accepted for syntax, words in SYNTAXES.items()}
        for uid, name in OFFERED.items()
    }
    taken = {uid for uid, _ in accepted}
    wanted = CHAIN if expected.profile is None else (expected.profile,)
    diagnosis.profile = next((p for p in wanted if REPORT_SOP_CLASS[p] in taken), None)
    if diagnosis.profile is None:
        names = " or ".join(OFFERED[REPORT_SOP_CLASS[profile]] for profile in wanted)
        advice = f"tick {names} among the SOP classes that the peer accepts from our AE title"
        diagnosis.add("report", Verdict.TROUBLE, "no form of the structured report is accepted", advice)
    else:
        diagnosis.add("report", Verdict.WELL, f'would be sent as profile "{diagnosis.profile.value}"')
    if SECONDARY_CAPTURE in taken:
        compressed = expected.pictures[SECONDARY_CAPTURE].items()
        forms = [name for syntax, name in compressed if (SECONDARY_CAPTURE, syntax) in accepted]
        form = forms[0] if forms else "uncompressed"
        diagnosis.add("heat map", Verdict.WELL, f"would be sent as Secondary Capture, {form}")
    else:
        advice = "tick Secondary Capture Image Storage among the SOP classes that the peer accepts"
        diagnosis.add("heat map", Verdict.TROUBLE, "Secondary Capture is not accepted", advice)


def _judge_services(
    diagnosis: Diagnosis, accepted: set[tuple[str, str]], target: Target, expected: Expectation
) -> None:
    taken = {uid for uid, _ in accepted}
    for subject, uids, proof, use, advice in (
        ("query", (FIND,), "find", 'proof = "find" and `cxr-worker pull`', "let our AE title query there"),
        (
            "commitment",
            (PUSH_MODEL,),
            "commitment",
            'proof = "commitment"',
            "switch Storage Commitment on there",
        ),
        (
            "retrieve",
            (GET, MOVE),
            "",
            "`cxr-worker pull`",
            "let our AE title retrieve there, by C-GET or C-MOVE",
        ),
    ):
        offered = [SERVICES[uid] for uid in uids if uid in taken]
        if not offered:
            verdict = Verdict.TROUBLE if proof and proof == expected.proof else Verdict.NOTE
            diagnosis.add(subject, verdict, f"not accepted; {use} needs it", advice)
        elif subject != "query" or _finds(diagnosis, target, expected, advice):
            diagnosis.add(subject, Verdict.WELL, f"{' and '.join(offered)} accepted: {use} can use it")


def _finds(diagnosis: Diagnosis, target: Target, expected: Expectation, advice: str) -> bool:
    """Ask for a study that nobody has: no patient's data is wanted here."""
    try:
        DimseSource(target).instances(generate_uid())
    except CxrError as error:
        verdict = Verdict.TROUBLE if expected.proof == "find" else Verdict.NOTE
        diagnosis.add("query", verdict, str(error).partition(": ")[2], advice)
        return False
    return True
