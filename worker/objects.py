"""The result objects of one film, as the destinations want them: built, checked, and put on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.capture import build_capture
from dicom_io.findings import RefusalContext, ResultContext
from dicom_io.presentation import build_presentation
from dicom_io.profiles import CHAIN, Profile
from dicom_io.report import build_refusal, build_report, encode
from dicom_io.selfcheck import check_result
from dicom_io.softcopy import is_monochrome
from dicom_io.spool import StoredObject
from dicom_io.summary import build_summary
from worker.settings import Destination

if TYPE_CHECKING:
    from worker.context import Context


class ResultKind(StrEnum):
    """What a result object is; the value stands in the database."""

    REPORT = "sr"
    """The structured report, in one of its profiles."""
    HEAT_MAP = "sc"
    """The heat map, a secondary capture."""
    SUMMARY = "summary"
    """The summary page, a secondary capture."""
    ANNOTATION = "annotation"
    """The presentation state."""


@dataclass(frozen=True)
class BuiltObject:
    """One result object, checked and on disk."""

    kind: ResultKind
    profile: str
    """The form of a report; `default` for everything else."""
    dataset: Dataset
    stored: StoredObject


@dataclass(frozen=True)
class Pictures:
    """What the pictures are drawn from."""

    image_HW: NDArray[np.float32]
    """The film at its displayed values."""
    cam_HW: NDArray[np.float32]
    """The heat map on the model's fixed scale."""


def profiles_for(destinations: Sequence[Destination]) -> tuple[Profile, ...]:
    """The forms of the report that any destination may need; the richest when there is none."""
    wanted = {profile for destination in destinations for profile in chain_of(destination)}
    return tuple(profile for profile in CHAIN if profile in wanted) or CHAIN[:1]


def chain_of(destination: Destination) -> tuple[Profile, ...]:
    """The forms that are offered to a destination, in order: one when the settings name it."""
    return CHAIN if destination.profile == "auto" else (Profile(destination.profile),)


def build_all(
    context: Context, source: Dataset, pictures: Pictures, words: ResultContext
) -> tuple[BuiltObject, ...]:
    """Make the result objects of a judged film.

    Raises
    ------
    InvalidResult
        An object failed its check; nothing is sent.
    StorageError
        The results folder cannot be written.
    """
    made = _make(context.settings.destination, source, pictures, words)
    return tuple(_keep(context, source, words, *one) for one in made)


def build_all_of_refusal(context: Context, source: Dataset, words: RefusalContext) -> tuple[BuiltObject, ...]:
    """Make the reports on a refused film; raises as `build_all`."""
    return tuple(
        _keep(context, source, words, ResultKind.REPORT, profile, build_refusal(source, words, profile))
        for profile in profiles_for(context.settings.destination)
    )


def wanted_by(destination: Destination, objects: Sequence[BuiltObject]) -> list[BuiltObject]:
    """The objects that are sent to a destination: the report in its first form, and its pictures."""
    first = chain_of(destination)[0]
    wanted = {
        ResultKind.REPORT: True,
        ResultKind.HEAT_MAP: True,
        ResultKind.SUMMARY: destination.summary,
        ResultKind.ANNOTATION: destination.annotation,
    }
    return [
        built
        for built in objects
        if wanted[built.kind] and (built.kind != ResultKind.REPORT or built.profile == first)
    ]


def _make(
    destinations: Sequence[Destination], source: Dataset, pictures: Pictures, words: ResultContext
) -> Iterator[tuple[ResultKind, str, Dataset]]:
    image_HW, cam_HW = pictures.image_HW, pictures.cam_HW
    capture = build_capture(source, image_HW, cam_HW, words)
    yield ResultKind.HEAT_MAP, "default", capture
    for profile in profiles_for(destinations):
        yield ResultKind.REPORT, profile, build_report(source, words, capture, profile)
    if any(destination.summary for destination in destinations):
        yield ResultKind.SUMMARY, "default", build_summary(source, image_HW, cam_HW, words)
    # A presentation state of this kind is for grey films alone (PS3.3 A.33.1).
    if any(destination.annotation for destination in destinations) and is_monochrome(source):
        yield ResultKind.ANNOTATION, "default", build_presentation(source, cam_HW, words)


def _keep(
    context: Context,
    source: Dataset,
    words: ResultContext | RefusalContext,
    kind: ResultKind,
    profile: str,
    dataset: Dataset,
) -> BuiltObject:
    encoded = encode(dataset)
    check_result(encoded, source, words)
    return BuiltObject(kind, str(profile), dataset, context.results.write(encoded))
