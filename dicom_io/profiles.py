"""The forms in which a report can be written, from the richest to the one that every viewer shows."""

from enum import StrEnum
from typing import Final


class Profile(StrEnum):
    """A form of the structured report; the value stands in the settings and in the database."""

    COMPREHENSIVE_3D = "comprehensive-3d"
    """TID 1500 as IHE AI Results has it."""
    COMPREHENSIVE = "comprehensive"
    """The same tree in an older SOP class: it holds no 3D content."""
    ENHANCED = "enhanced"
    """The same tree again."""
    BASIC_TEXT = "basic-text"
    """Flat text, for a PACS that shows nothing else."""


REPORT_SOP_CLASS: Final[dict[Profile, str]] = {
    Profile.COMPREHENSIVE_3D: "1.2.840.10008.5.1.4.1.1.88.34",
    Profile.COMPREHENSIVE: "1.2.840.10008.5.1.4.1.1.88.33",
    Profile.ENHANCED: "1.2.840.10008.5.1.4.1.1.88.22",
    Profile.BASIC_TEXT: "1.2.840.10008.5.1.4.1.1.88.11",
}
"""SOP class of each profile (PS3.4 table B.5-1)."""

CHAIN: Final = tuple(Profile)
"""In this order a destination is offered the report, until it takes one."""


def following(profile: Profile) -> Profile | None:
    """Return the profile to try after a destination refused this one; None after the last."""
    place = CHAIN.index(profile) + 1
    return CHAIN[place] if place < len(CHAIN) else None
