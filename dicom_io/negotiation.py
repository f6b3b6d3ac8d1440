"""What the listener accepts at an association: SOP classes and transfer syntaxes (PS3.8 section 7.1)."""

from typing import Any

from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

ACCEPTED_SOP_CLASSES: dict[str, str] = {
    "1.2.840.10008.5.1.4.1.1.1": "Computed Radiography Image Storage",
    "1.2.840.10008.5.1.4.1.1.1.1": "Digital X-Ray Image Storage - For Presentation",
    "1.2.840.10008.5.1.4.1.1.1.1.1": "Digital X-Ray Image Storage - For Processing",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.1": "Multi-frame Single Bit Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.2": "Multi-frame Grayscale Byte Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.3": "Multi-frame Grayscale Word Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.7.4": "Multi-frame True Color Secondary Capture Image Storage",
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.11.2": "Color Softcopy Presentation State Storage",
    "1.2.840.10008.5.1.4.1.1.88.11": "Basic Text SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR Storage",
    "1.2.840.10008.5.1.4.1.1.88.59": "Key Object Selection Document Storage",
    "1.2.840.10008.5.1.4.1.1.88.67": "X-Ray Radiation Dose SR Storage",
    "1.2.840.10008.5.1.4.1.1.104.1": "Encapsulated PDF Storage",
}
"""What the study of a chest radiograph may hold; anything else is not negotiated."""

ACCEPTED_TRANSFER_SYNTAXES: dict[str, str] = {
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.1.99": "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
}
"""Stored as sent (PS3.5 section 10); of several in one context the sender's first is accepted."""


def supported_contexts(*, any_storage: bool = False) -> list[PresentationContext]:
    """Return what an association may negotiate to send objects here, and to ask whether we are there.

    Parameters
    ----------
    any_storage : bool, optional
        Whether every Storage SOP Class of the standard is taken (PS3.4 table B.5-1), instead of those that
        the study of a chest radiograph may hold.

    Notes
    -----
    No role is selected: a requester that proposes roles for a storage class is answered with the default, it
    the SCU and we the SCP (PS3.7 annex D.3.3.4).
    """
    classes = list(ACCEPTED_SOP_CLASSES)
    if any_storage:
        known = (str(context.abstract_syntax) for context in AllStoragePresentationContexts)
        classes += [uid for uid in known if uid not in ACCEPTED_SOP_CLASSES]
    syntaxes = list(ACCEPTED_TRANSFER_SYNTAXES)
    return [*(build_context(uid, syntaxes) for uid in classes), build_context(Verification)]


def prefer_the_senders_order(association: Any) -> None:
    """Leave of each proposed context the first transfer syntax that we support.

    pynetdicom would choose by the acceptor's order, and a sender that proposes the syntax in which it holds
    an object before others would have to transcode it for us.

    Parameters
    ----------
    association : pynetdicom.association.Association
        Requested and not negotiated yet.
    """
    ours = {str(c.abstract_syntax): c.transfer_syntax for c in association.acceptor.supported_contexts}
    for proposed in association.requestor.primitive.presentation_context_definition_list:
        supported = ours.get(str(proposed.abstract_syntax), ())
        first = next((syntax for syntax in proposed.transfer_syntax if syntax in supported), None)
        if first is not None:
            proposed.transfer_syntax = [first]
