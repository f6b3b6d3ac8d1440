"""What the gate asks of a report: number, answer, reason, references, algorithm, in tree or text."""

import re
from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_io import codes
from dicom_io.comparison import require_equal, require_filled
from dicom_io.errors import InvalidResult
from dicom_io.findings import Presence, Provenance, RefusalContext, ResultContext
from dicom_io.profiles import Profile

_TYPE_1: Final = (
    "ContentDate",
    "ContentTime",
    "CompletionFlag",
    "VerificationFlag",
    "PreliminaryFlag",
    "ValueType",
    "ConceptNameCodeSequence",
    "ContinuityOfContent",
    "ContentSequence",
    "CurrentRequestedProcedureEvidenceSequence",
    "PerformedProcedureCodeSequence",
)
_FINDING: Final = ("121071", "DCM")
_FINDING_SITE: Final = ("363698007", "SCT")
_SOURCES: Final[dict[bool, tuple[tuple[str, str], ...]]] = {
    True: (("121112", "DCM"),),
    False: (("121112", "DCM"), ("260753009", "SCT")),
}
"""Names under which the film must stand, once each: in flat text, and in the tree."""
_EVIDENCE: Final = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")


def check_report(
    report: Dataset, film: Dataset, context: ResultContext | RefusalContext, profile: Profile
) -> None:
    """Raise unless a report says what was found, about the right film.

    Parameters
    ----------
    report : Dataset
        The report, read from its bytes.
    film : Dataset
        Clean headers of the film, as `view_evidence` returns them.
    context : ResultContext | RefusalContext
        What the report was built from.
    profile : Profile
        Form of the report, as its SOP class says.

    Raises
    ------
    InvalidResult
        With the first difference found.
    """
    require_filled(report, _TYPE_1)
    require_equal("CompletionFlag", report.CompletionFlag, "COMPLETE")
    require_equal("VerificationFlag", report.VerificationFlag, "UNVERIFIED")
    require_equal("PreliminaryFlag", report.PreliminaryFlag, "PRELIMINARY")
    items = list(_walk(report))
    if profile is Profile.BASIC_TEXT:
        _check_conclusion(items, context)
    else:
        _check_probability(items, context)
        _check_answers(items, context)
    _check_film(items, film, profile)
    _check_references(report, items, film, context)
    _check_algorithm(items, context, profile)


def _walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or []:
        yield child
        yield from _walk(child)


def _named(items: list[Dataset], name: tuple[str, str]) -> list[Dataset]:
    return [item for item in items if _code(item.ConceptNameCodeSequence) == name]


def _code(sequence: list[Dataset]) -> tuple[str, str]:
    return sequence[0].CodeValue, sequence[0].CodingSchemeDesignator


def _key(code: Code) -> tuple[str, str]:
    return code.value, code.scheme_designator


def _presence(context: ResultContext | RefusalContext) -> Presence:
    return context.finding.presence if isinstance(context, ResultContext) else Presence.UNDETERMINED


def _check_probability(items: list[Dataset], context: ResultContext | RefusalContext) -> None:
    numbers = _named(items, _key(codes.PROBABILITY_OF_COVID_19))
    if isinstance(context, RefusalContext):
        require_equal("number of probabilities", len(numbers), 0)
        return
    require_equal("number of probabilities", len(numbers), 1)
    measured = numbers[0].MeasuredValueSequence[0]
    require_equal(
        "unit of the probability", _code(measured.MeasurementUnitsCodeSequence), _key(codes.PERCENT)
    )
    require_equal("probability", f"{float(measured.NumericValue):.1f}", context.finding.percent)


def _check_answers(items: list[Dataset], context: ResultContext | RefusalContext) -> None:
    presence = _presence(context)
    present = presence is Presence.PRESENT
    reasons = [codes.REFUSAL[context.reason]] if isinstance(context, RefusalContext) else []
    for name, concept, expected in (
        ("qualitative evaluation", _key(codes.COVID_19), [codes.PRESENCE[presence]]),
        ("Quality Assessment", _key(codes.QUALITY_ASSESSMENT), reasons),
        ("Finding rows", _FINDING, [codes.COVID_19] if present else []),
        ("Finding Site rows", _FINDING_SITE, [codes.LUNG] if present else []),
    ):
        answers = [_code(item.ConceptCodeSequence) for item in _named(items, concept)]
        require_equal(name, answers, [_key(code) for code in expected])


def _check_conclusion(items: list[Dataset], context: ResultContext | RefusalContext) -> None:
    """The first conclusion holds the answer and its number or reason; no conclusion holds another answer."""
    conclusions = [item.TextValue for item in _named(items, _key(codes.CONCLUSION))]
    if not conclusions:
        raise InvalidResult("conclusion: expected one, got none")
    words = " ".join(conclusions)
    answer = codes.PRESENCE[_presence(context)].meaning
    if not conclusions[0].startswith(f"COVID-19: {answer}."):
        raise InvalidResult(f"conclusion: expected it to begin with the answer {answer}")
    answers = {code.meaning for code in codes.PRESENCE.values() if re.search(rf"\b{code.meaning}\b", words)}
    require_equal("answers in the conclusions", answers, {answer})
    numbers = re.findall(r"([0-9.]+) %", words)
    if isinstance(context, ResultContext):
        require_equal("numbers in the conclusions", numbers, [context.finding.percent])
        return
    require_equal("numbers in the conclusions", numbers, [])
    if codes.REFUSAL[context.reason].meaning not in conclusions[0]:
        raise InvalidResult("conclusion: expected the reason why the film was not judged")


def _check_references(report: Dataset, items: list[Dataset], film: Dataset, context: Provenance) -> None:
    """The evidence is what the content refers to, and the earlier reports: in the sequence of its study."""
    listed = {
        (keyword, study.StudyInstanceUID, instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID)
        for keyword in _EVIDENCE
        for study in report.get(keyword) or ()
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    current, other = _EVIDENCE
    study = film.StudyInstanceUID
    wanted = {(current, study, *_reference(item)) for item in items if item.ValueType == "IMAGE"}
    for earlier in context.earlier:
        keyword = current if earlier.study_instance_uid == study else other
        wanted.add((keyword, earlier.study_instance_uid, earlier.sop_class_uid, earlier.sop_instance_uid))
        if not any(earlier.sop_instance_uid in text for text in _texts(items)):
            raise InvalidResult("comment: expected the earlier report by its UID, got none")
    require_equal("evidence", listed, wanted)


def _check_film(items: list[Dataset], film: Dataset, profile: Profile) -> None:
    for name in _SOURCES[profile is Profile.BASIC_TEXT]:
        references = [_reference(item) for item in _named(items, name)]
        require_equal(f"references {name}", references, [(film.SOPClassUID, film.SOPInstanceUID)])


def _reference(item: Dataset) -> tuple[str, str]:
    reference = item.ReferencedSOPSequence[0]
    return reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID


def _texts(items: list[Dataset]) -> list[str]:
    return [item.TextValue for item in items if item.ValueType == "TEXT"]


def _check_algorithm(items: list[Dataset], context: Provenance, profile: Profile) -> None:
    texts, algorithm = _texts(items), context.algorithm
    named = [algorithm.name, algorithm.version]
    if profile is Profile.BASIC_TEXT:
        named = [f"Algorithm {algorithm.name}, version {algorithm.version}"]
    for line in (*named, *algorithm.parameters):
        if line not in texts:
            raise InvalidResult(f"algorithm identification: expected the line {line!r}")
    if not any(algorithm.weights_sha256 in text for text in texts):
        raise InvalidResult("algorithm identification: expected the hash of the weights")
