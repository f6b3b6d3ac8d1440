"""The forms of a report: one tree in three classes, the same answer as text, and the reason of a refusal."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from builders import build_film
from parts import need
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_sources import NEGATIVE, ODD_SOURCES, POSITIVE, UNDETERMINED, build_results

from dicom_io import codes
from dicom_io.acceptance import Reason
from dicom_io.errors import InvalidResult
from dicom_io.evidence import view_evidence
from dicom_io.findings import EarlierReport, RefusalContext, ResultContext
from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from dicom_io.report import build_refusal, build_report, encode
from dicom_io.selfcheck import check_result
from dicom_io.validators import inspect_folder, missing_validators

Change = Callable[[Dataset], None]
CONTEXTS = {"Present": POSITIVE, "Absent": NEGATIVE, "Undetermined": UNDETERMINED}
TREES = tuple(profile for profile in CHAIN if profile is not Profile.BASIC_TEXT)
FILM = build_film()
EARLIER = (
    EarlierReport(FILM.StudyInstanceUID, "1.2.9.1", REPORT_SOP_CLASS[Profile.ENHANCED], "1.2.9.1.1", "1.1.0"),
    EarlierReport("1.2.8", "1.2.8.1", REPORT_SOP_CLASS[Profile.BASIC_TEXT], "1.2.8.1.1", "1.0.0"),
)


def refused(reason: Reason = Reason.LATERAL) -> RefusalContext:
    return RefusalContext(
        reason=reason,
        algorithm=POSITIVE.algorithm,
        device=POSITIVE.device,
        created_at=POSITIVE.created_at,
    )


def walk(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or []:
        yield child
        yield from walk(child)


def named(report: Dataset, meaning: str) -> list[Dataset]:
    return [i for i in walk(report) if i.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def dumped(report: Dataset, folder: Path) -> str:
    path = folder / "report.dcm"
    path.write_bytes(encode(report))
    command = [need("dsrdump", "dcmtk"), "+Pl", str(path)]
    return subprocess.run(command, capture_output=True, check=True).stdout.decode()


# The same thing in other words


@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS)
def test_three_classes_hold_the_same_tree(context: ResultContext) -> None:
    capture = build_results(FILM, context)[1]
    made = [build_report(FILM, context, capture, profile) for profile in TREES]
    reports = [dcmread(BytesIO(encode(report))) for report in made]
    assert [r.SOPClassUID for r in reports] == [REPORT_SOP_CLASS[profile] for profile in TREES]
    first, *others = ([item.to_json() for item in report.ContentSequence] for report in reports)
    assert all(other == first for other in others)


@pytest.mark.parametrize("answer", CONTEXTS)
def test_the_text_report_says_the_answer_first(answer: str) -> None:
    context = CONTEXTS[answer]
    report = build_report(FILM, context, None, Profile.BASIC_TEXT)
    sections = [
        (
            section.ConceptNameCodeSequence[0].CodeMeaning,
            [item.get("TextValue") for item in section.ContentSequence],
        )
        for section in report.ContentSequence
        if section.ValueType == "CONTAINER"
    ]
    assert sections == [
        (
            "Conclusions",
            [
                f"COVID-19: {answer}. Probability of COVID-19: {context.finding.percent} %.",
                "Research software, not for diagnosis.",
            ],
        ),
        (
            "Current Procedure Descriptions",
            [
                "Algorithm cxr-net, version 1.2.0",
                f"weights SHA-256 {'0123456789abcdef' * 4}",
                "decision threshold 0.5000",
                "abstain band 0.4500 to 0.5500",
                *POSITIVE.algorithm.parameters,
            ],
        ),
        ("Key Images", [None]),
    ]


@pytest.mark.parametrize("profile", CHAIN)
@pytest.mark.parametrize("answer", ["Absent", "Undetermined"])
def test_nothing_in_a_dump_reads_as_a_finding_that_is_not_there(
    profile: Profile, answer: str, tmp_path: Path
) -> None:
    context = CONTEXTS[answer]
    capture = build_results(FILM, context)[1]
    text = dumped(build_report(FILM, context, capture, profile), tmp_path)
    assert f'"{answer}"' in text or f"COVID-19: {answer}." in text
    for word in ("Present", "Finding", "Bilateral", "Lung", "ositive", "Illustration of finding"):
        assert word not in text


@pytest.mark.parametrize("profile", CHAIN)
def test_nothing_in_the_dump_of_a_refused_film_reads_as_an_answer(profile: Profile, tmp_path: Path) -> None:
    text = dumped(build_refusal(FILM, refused(), profile), tmp_path)
    assert "Undetermined" in text
    assert "Not judged: not a frontal view" in text
    for word in ("Present", "Absent", "Finding", "Probability", " %", "threshold"):
        assert word not in text


# UIDs


def test_no_two_forms_share_a_uid() -> None:
    contexts = [POSITIVE, replace(POSITIVE, reissue_hash="ff")]
    made = [build_report(FILM, context, None, profile) for context in contexts for profile in CHAIN]
    made += [
        build_refusal(FILM, refused(reason), p) for reason in (Reason.LATERAL, Reason.CHILD) for p in CHAIN
    ]
    uids = [report[keyword].value for report in made for keyword in ("SOPInstanceUID", "SeriesInstanceUID")]
    assert len(set(uids)) == 2 * len(made) == 32


def test_the_default_form_keeps_the_uids_that_reports_always_had() -> None:
    report = build_report(FILM, POSITIVE, None)
    assert report.SOPInstanceUID == "2.25.99401601593666819447654815490565764776"


def test_the_finding_is_tracked_as_one_in_every_form() -> None:
    tracked = {
        named(build_report(FILM, POSITIVE, None, p), "Tracking Unique Identifier")[0].UID for p in TREES
    }
    assert len(tracked) == 1


# Refused


@pytest.mark.parametrize("reason", [reason for reason in codes.REFUSAL if reason not in codes.UNREPORTED])
def test_each_reported_reason_has_a_report_that_the_gate_lets_pass(reason: Reason) -> None:
    for profile in (Profile.ENHANCED, Profile.BASIC_TEXT):
        check_result(encode(build_refusal(FILM, refused(reason), profile)), FILM, refused(reason))


@pytest.mark.parametrize("reason", sorted(codes.UNREPORTED))
def test_a_reason_that_is_told_to_nobody_gives_no_report(reason: Reason) -> None:
    with pytest.raises(InvalidResult, match="expected one that is reported"):
        build_refusal(FILM, refused(reason))


# Earlier reports


@pytest.mark.parametrize("profile", CHAIN)
def test_earlier_reports_are_evidence_of_their_study_and_named(profile: Profile) -> None:
    context = replace(POSITIVE, earlier=EARLIER)
    report = build_report(FILM, context, None, profile)
    check_result(encode(report), FILM, context)
    current, other = report.CurrentRequestedProcedureEvidenceSequence, report.PertinentOtherEvidenceSequence
    assert [series.SeriesInstanceUID for series in current[0].ReferencedSeriesSequence][1] == "1.2.9.1"
    assert other[0].StudyInstanceUID == "1.2.8"
    texts = [item.TextValue for item in walk(report) if item.ValueType == "TEXT"]
    for earlier in EARLIER:
        assert [t for t in texts if earlier.sop_instance_uid in t and earlier.model_version in t]
    assert "PredecessorDocumentsSequence" not in report


# Names


@pytest.mark.parametrize("profile", CHAIN)
@pytest.mark.parametrize("source", ODD_SOURCES)
def test_every_name_passes_unharmed_in_every_form(source: str, profile: Profile) -> None:
    film = ODD_SOURCES[source]()
    encoded = encode(build_report(film, NEGATIVE, None, profile))
    check_result(encoded, film, NEGATIVE)
    headers = view_evidence(film).headers
    read = dcmread(BytesIO(encoded))
    for keyword in ("PatientName", "ReferringPhysicianName", "PatientID"):
        assert str(read[keyword].value or "") == str(headers[keyword].value or "")


@pytest.mark.parametrize(
    "source",
    ["gb18030_with_a_backslash_byte", "iso_2022_with_a_backslash_byte", "shift_jis_with_a_backslash_byte"],
)
def test_half_a_letter_is_never_a_delimiter(source: str) -> None:
    report = dcmread(BytesIO(encode(build_report(ODD_SOURCES[source](), NEGATIVE, None))))
    assert report.SpecificCharacterSet == "ISO_IR 192"
    assert b"\\" not in str(report.PatientName).encode()


# The gate


def _set_text(name: str, text: str) -> Change:
    return lambda report: setattr(named(report, name)[0], "TextValue", text)


def _other_film(report: Dataset) -> None:
    named(report, "Source of Measurement")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _drop_evidence(report: Dataset) -> None:
    del report.PertinentOtherEvidenceSequence


FALSE_TEXTS: dict[str, tuple[Change, str]] = {
    "another answer": (
        _set_text("Conclusion", "COVID-19: Present. Probability of COVID-19: 3.2 %."),
        "answer",
    ),
    "two answers": (
        _set_text("Conclusion", "COVID-19: Absent. Not Present. Probability of COVID-19: 3.2 %."),
        "answers",
    ),
    "another number": (
        _set_text("Conclusion", "COVID-19: Absent. Probability of COVID-19: 32.0 %."),
        "numbers",
    ),
    "no number": (_set_text("Conclusion", "COVID-19: Absent."), "numbers"),
    "another algorithm": (
        _set_text("Procedure Description", "Algorithm cxr-net, version 1.2"),
        "algorithm identification",
    ),
    "another film": (_other_film, "references"),
    "another earlier report": (_drop_evidence, "evidence"),
}


@pytest.mark.parametrize("name", FALSE_TEXTS)
def test_a_false_text_report_is_refused(name: str) -> None:
    change, message = FALSE_TEXTS[name]
    context = replace(NEGATIVE, earlier=EARLIER)
    report = dcmread(BytesIO(encode(build_report(FILM, context, None, Profile.BASIC_TEXT))))
    change(report)
    with pytest.raises(InvalidResult, match=message):
        check_result(encode(report), FILM, context)


def test_a_refusal_for_another_reason_is_refused() -> None:
    for profile, message in ((Profile.ENHANCED, "Quality Assessment"), (Profile.BASIC_TEXT, "reason")):
        report = dcmread(BytesIO(encode(build_refusal(FILM, refused(), profile))))
        for item in walk(report):
            if item.get("ConceptCodeSequence") and item.ConceptCodeSequence[0].CodeValue == "REFLATERAL":
                item.ConceptCodeSequence[0].CodeValue = "REFCHILD"
            if "not a frontal view" in item.get("TextValue", ""):
                item.TextValue = "COVID-19: Undetermined. Not judged."
        with pytest.raises(InvalidResult, match=message):
            check_result(encode(report), FILM, refused())


def test_a_finding_passed_off_as_a_refusal_is_refused() -> None:
    report, capture = build_results(FILM, UNDETERMINED)
    for result in (report, capture):
        with pytest.raises(InvalidResult):
            check_result(encode(result), FILM, refused())


# Validators


def _need(*tools: str) -> None:
    for name in missing_validators():
        if name.split()[0] in tools:
            need(name.split()[0], name)


def test_no_validator_finds_an_error_in_any_form_of_any_film(tmp_path: Path) -> None:
    quick = ("dciodvfy", "dsrdump")
    _need(*quick)
    count = 0
    for number, build in enumerate(ODD_SOURCES.values()):
        film, context = build(), [*CONTEXTS.values(), refused()][number % 4]
        for profile in CHAIN[1:]:
            report = (
                build_refusal(film, context, profile)
                if isinstance(context, RefusalContext)
                else build_report(film, context, None, profile)
            )
            (tmp_path / f"{number}_{profile}.dcm").write_bytes(encode(report))
            count += 1
    findings = inspect_folder(tmp_path, tools=quick)
    assert findings.files == count
    said = "\n".join(map(str, [*findings.errors, *findings.warnings]))
    assert not said, said


def test_pixelmed_completes_over_each_kind_of_tree(tmp_path: Path) -> None:
    _need("pixelmed")
    # The middle class holds the tree of the third; the first is asked about with the validators.
    for profile, found in ((Profile.ENHANCED, POSITIVE), (Profile.BASIC_TEXT, NEGATIVE)):
        context = replace(found, earlier=EARLIER)
        capture = build_results(FILM, context)[1]
        report = build_report(FILM, context, capture, profile)
        (tmp_path / f"{profile}.dcm").write_bytes(encode(report))
    (tmp_path / "refused.dcm").write_bytes(encode(build_refusal(FILM, refused())))
    findings = inspect_folder(tmp_path, tools=["pixelmed"])
    said = "\n".join(map(str, [*findings.errors, *findings.warnings]))
    assert not said, said
