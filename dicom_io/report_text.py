"""The report as flat text (TID 2000, Basic Diagnostic Imaging Report), for a PACS that shows nothing else.

A Basic Text SR may hold no numbers (PS3.3 A.35.1.3.1), so the probability stands in a sentence. What a reader
wants to know comes first: the conclusion.
"""

from highdicom.sr import (
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.findings import Presence, RefusalContext, ResultContext
from dicom_io.report_library import build_container
from dicom_io.report_tree import RESEARCH_COMMENT, build_observer, name_earlier, parameters_of


def build_text(
    film: Dataset, context: ResultContext | RefusalContext, capture: Dataset | None
) -> ContentSequence:
    """Return the content of a report as sections of text.

    Parameters
    ----------
    film : Dataset
        Clean headers of the film, as `view_evidence` returns them.
    context : ResultContext | RefusalContext
        The finding, or why there is none.
    capture : Dataset | None
        The heat map; None without one.

    Returns
    -------
    ContentSequence
        The root container.

    References
    ----------
    PS3.3 A.35.1.3.1; PS3.16 TID 2000, 2002, CID 7000, 7001, 7002.
    """
    root = ContainerContentItem(codes.DIAGNOSTIC_IMAGING_REPORT, template_id="2000")
    language = LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.ENGLISH))
    root.ContentSequence = ContentSequence(
        [
            *language,
            *build_observer(context),
            *(build_container(heading, items) for heading, items in _sections(film, context, capture)),
        ]
    )
    return ContentSequence([root], is_root=True)


def conclude(context: ResultContext | RefusalContext) -> str:
    """Return the conclusion in words: the answer first, then its number or the reason for having none.

    Parameters
    ----------
    context : ResultContext | RefusalContext
        The finding, or why there is none.
    """
    if isinstance(context, ResultContext):
        answer = codes.PRESENCE[context.finding.presence].meaning
        return f"COVID-19: {answer}. Probability of COVID-19: {context.finding.percent} %."
    answer = codes.PRESENCE[Presence.UNDETERMINED].meaning
    return f"COVID-19: {answer}. {codes.REFUSAL[context.reason].meaning}."


def _sections(
    film: Dataset, context: ResultContext | RefusalContext, capture: Dataset | None
) -> list[tuple[Code, list[ContentItem]]]:
    """Each heading with its items; TID 2002 takes no comments, so they stand beside what they are about."""
    algorithm = f"Algorithm {context.algorithm.name}, version {context.algorithm.version}"
    sections = [
        (codes.CONCLUSIONS, _texts(codes.CONCLUSION, [conclude(context), RESEARCH_COMMENT])),
        (
            codes.CURRENT_PROCEDURE,
            _texts(codes.PROCEDURE_DESCRIPTION, [algorithm, *parameters_of(context)]),
        ),
        (codes.KEY_IMAGES, _images(film, capture)),
    ]
    if context.earlier:
        earlier = _texts(codes.PROCEDURE_DESCRIPTION, name_earlier(context))
        sections.insert(2, (codes.PRIOR_PROCEDURES, earlier))
    return sections


def _images(film: Dataset, capture: Dataset | None) -> list[ContentItem]:
    named = [(codes.SOURCE_OF_MEASUREMENT, film)]
    if capture is not None:
        named.append((codes.ILLUSTRATION_OF_ROI, capture))
    return [
        ImageContentItem(
            name, image.SOPClassUID, image.SOPInstanceUID, relationship_type=RelationshipTypeValues.CONTAINS
        )
        for name, image in named
    ]


def _texts(name: Code, lines: list[str]) -> list[ContentItem]:
    return [TextContentItem(name, line, RelationshipTypeValues.CONTAINS) for line in lines]
