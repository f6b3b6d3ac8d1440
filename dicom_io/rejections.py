"""Why a peer does not grant an association, and which box to tick then (PS3.8 section 9.3.4)."""

from typing import Any

from dicom_io.errors import Rejected

TRANSIENT = 2
"""Result: rejected for now, and not for good (PS3.8 table 9-21)."""

REJECTIONS: dict[tuple[int, int], tuple[str, str]] = {
    (1, 1): ("no reason given", "look into the peer's log: it has our call, and why it was turned away"),
    (1, 2): (
        "application context name not supported",
        "nothing can be set: the peer is no DICOM application of today; is the port the right one?",
    ),
    (1, 3): (
        "calling AE title not recognised",
        "add our AE title with this machine's address to the peer's list of known nodes",
    ),
    (1, 7): (
        "called AE title not recognised",
        "the peer has another AE title: correct the one that is called here",
    ),
    (2, 1): (
        "no reason given by the protocol layer",
        "look into the peer's log; many peers say this when they know neither AE title nor address",
    ),
    (2, 2): ("protocol version not supported", "nothing can be set: is the port the right one?"),
    (3, 1): ("temporary congestion", "the peer is busy: try again in a minute"),
    (3, 2): (
        "local limit exceeded",
        "the peer has too many associations open: raise its limit for this node, or try again later",
    ),
}
"""Source and reason of a rejection → the words of PS3.8 table 9-21, and what an administrator does."""


def rejected(name: str, association: Any) -> Rejected:
    """Return the error that says why the peer of that name rejected an association.

    Parameters
    ----------
    name : str
        How messages call the peer.
    association : pynetdicom.association.Association
        Rejected.
    """
    answer = association.acceptor.primitive
    numbers = int(answer.result), int(answer.result_source), int(answer.diagnostic)
    words, _ = REJECTIONS.get(numbers[1:], ("for a reason that the standard does not name", ""))
    kept = "for now" if numbers[0] == TRANSIENT else "for good"
    return Rejected(f"{name}: association rejected {kept}: {words}", *numbers)
