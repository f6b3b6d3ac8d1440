"""What is kept of an object that is no film of a modality: its header, and nothing of its pixels."""

import logging
from pathlib import Path

from dicom_io.acceptance import Reason, check_header
from dicom_io.errors import NotDicom, StorageError
from dicom_io.header_only import encode_header
from dicom_io.part10 import read_dataset
from dicom_io.spool import Folder

log = logging.getLogger(__name__)

KEPT_BY_HEADER = frozenset({Reason.OWN_OUTPUT, Reason.SOP_CLASS})
"""Refused for what the object is, not for what it shows: nobody will judge it later."""


def write_header(headers: Folder, path: Path, reason: Reason) -> str | None:
    """Store the header of a refused object; returns its name, None when the whole object is to be kept.

    Before the commit that names it: killed in between, the object is refused again and its header, which has
    the same bytes and so the same name, written again.
    """
    if reason not in KEPT_BY_HEADER:
        return None
    try:
        return headers.write(encode_header(read_dataset(path))).name
    except (NotDicom, StorageError) as error:
        # It costs room alone: the refusal stands, and the object is there to be looked at.
        log.warning("a refused object is kept whole, its header cannot be: %s", type(error).__name__)
        return None


def will_lose_its_pixels(path: Path) -> bool:
    """Whether the worker that takes this object will keep its header alone, as far as the object itself says.

    Raises
    ------
    StorageError
        The file cannot be read.
    """
    try:
        refusal = check_header(read_dataset(path))
    except NotDicom:
        return False
    return refusal is not None and refusal.reason in KEPT_BY_HEADER
