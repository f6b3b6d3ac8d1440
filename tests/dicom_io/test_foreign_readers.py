"""Reports read back by two readers that share no code with what wrote them: dcmqi and dcmjs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders import build_film
from parts import COMMAND_TIMEOUT_S, IN_CI, ROOT, need
from result_sources import NEGATIVE, POSITIVE, UNDETERMINED, build_results

from dicom_io.acceptance import Reason
from dicom_io.findings import RefusalContext, ResultContext
from dicom_io.profiles import CHAIN, REPORT_SOP_CLASS, Profile
from dicom_io.report import build_refusal, build_report, encode

TREES = tuple(profile for profile in CHAIN if profile is not Profile.BASIC_TEXT)
CONTEXTS = {"present": POSITIVE, "absent": NEGATIVE, "undetermined": UNDETERMINED}
ANSWERS = {
    "present": ["52101004", "SCT", "Present"],
    "absent": ["272519000", "SCT", "Absent"],
    "undetermined": ["373068000", "SCT", "Undetermined"],
}
PERCENT = {"present": 87.3, "absent": 3.2, "undetermined": 50.0}
REFUSED = RefusalContext(
    reason=Reason.LATERAL,
    algorithm=POSITIVE.algorithm,
    device=POSITIVE.device,
    created_at=POSITIVE.created_at,
)
QUALITY = ["111050", "DCM", "Quality Assessment"]
COVID_19 = ["840539006", "SCT", "COVID-19"]
CASES = [(profile, answer) for profile in TREES for answer in CONTEXTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every profile of three films that were judged and of one that was refused."""
    made, film = tmp_path_factory.mktemp("reports"), build_film()
    for answer, context in CONTEXTS.items():
        capture = build_results(film, context)[1]
        for profile in CHAIN:
            report = build_report(film, context, capture, profile)
            (made / f"{profile}_{answer}.dcm").write_bytes(encode(report))
    for profile in CHAIN:
        (made / f"{profile}_refused.dcm").write_bytes(encode(build_refusal(film, REFUSED, profile)))
    return made


def weights_line(context: ResultContext | RefusalContext) -> str:
    return f"weights SHA-256 {context.algorithm.weights_sha256}"


# dcmqi


def by_dcmqi(path: Path) -> dict[str, Any]:
    program = Path(sys.executable).parent / "tid1500reader"
    if not program.exists():
        (pytest.fail if IN_CI else pytest.skip)("tid1500reader is not installed (PyPI package dcmqi)")
    output = path.with_suffix(".json")
    command = [str(program), "--inputDICOM", str(path), "--outputMetadata", str(output)]
    subprocess.run(command, check=True, capture_output=True, timeout=COMMAND_TIMEOUT_S)
    said: dict[str, Any] = json.loads(output.read_text())
    return said


def triple(code: dict[str, str]) -> list[str]:
    return [code["CodeValue"], code["CodingSchemeDesignator"], code["CodeMeaning"]]


def evaluations(group: dict[str, Any]) -> list[tuple[list[str], list[str]]]:
    return [(triple(e["conceptCode"]), triple(e["conceptValue"])) for e in group["qualitativeEvaluations"]]


@pytest.mark.parametrize(("profile", "answer"), CASES)
def test_dcmqi_reads_what_was_written(folder: Path, profile: Profile, answer: str) -> None:
    said = by_dcmqi(folder / f"{profile}_{answer}.dcm")
    (group,) = said["Measurements"]
    (number,) = group["measurementItems"]
    assert triple(number["quantity"]) == ["PROBCOVID", "99CXRW", "Probability of COVID-19"]
    assert triple(number["units"]) == ["%", "UCUM", "Percent"]
    assert float(number["value"]) == PERCENT[answer]
    assert evaluations(group) == [(COVID_19, ANSWERS[answer])]
    algorithm = group["measurementAlgorithmIdentification"]
    assert (algorithm["AlgorithmName"], algorithm["AlgorithmVersion"]) == ("cxr-net", "1.2.0")
    # It keeps the first of the parameters alone.
    assert algorithm["AlgorithmParameters"] == [weights_line(POSITIVE)]
    assert said["observerContext"]["DeviceObserverSerialNumber"] == "node-1"
    assert len(said["imageLibrary"]) == 2
    assert said["imageLibrary"][0] == build_film().SOPInstanceUID
    finding_rows = {"Finding", "FindingSite", "Laterality"}
    assert finding_rows & set(group) == (finding_rows if answer == "present" else set())


@pytest.mark.parametrize("profile", TREES)
def test_dcmqi_reads_why_a_film_was_refused(folder: Path, profile: Profile) -> None:
    (group,) = by_dcmqi(folder / f"{profile}_refused.dcm")["Measurements"]
    assert not group.get("measurementItems")
    assert evaluations(group) == [
        (COVID_19, ANSWERS["undetermined"]),
        (QUALITY, ["REFLATERAL", "99CXRW", "Not judged: not a frontal view"]),
    ]


# dcmjs


@pytest.fixture(scope="module")
def by_dcmjs(folder: Path) -> dict[str, Any]:
    """What dcmjs reads of all of them, by name: one process, since node takes its time to start."""
    node, script = need("node", "nodejs"), ROOT / "tests" / "node" / "read_report.cjs"
    if not (script.parent / "node_modules" / "dcmjs").is_dir():
        (pytest.fail if IN_CI else pytest.skip)("dcmjs is not installed (npm ci --prefix tests/node)")
    paths = sorted(folder.glob("*.dcm"))
    process = subprocess.run(
        [node, str(script), *map(str, paths)], check=True, capture_output=True, timeout=COMMAND_TIMEOUT_S
    )
    return dict(zip((path.stem for path in paths), json.loads(process.stdout), strict=True))


def walk(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in item["items"]:
        yield child
        yield from walk(child)


@pytest.mark.parametrize(("profile", "answer"), CASES)
def test_dcmjs_reads_what_was_written(by_dcmjs: dict[str, Any], profile: Profile, answer: str) -> None:
    said = by_dcmjs[f"{profile}_{answer}"]
    assert (said["sop_class"], said["patient_id"]) == (REPORT_SOP_CLASS[profile], "PID-4711")
    assert said["root"]["name"] == ["126000", "DCM", "Imaging Measurement Report"]
    items = list(walk(said["root"]))
    (number,) = [i for i in items if i["type"] == "NUM" and i["name"][0] == "PROBCOVID"]
    assert (number["number"], number["unit"]) == (PERCENT[answer], ["%", "UCUM", "Percent"])
    (evaluation,) = [i for i in items if i["type"] == "CODE" and i["name"] == COVID_19]
    assert evaluation["code"] == ANSWERS[answer]
    images = {item["image"] for item in items if item["type"] == "IMAGE"}
    assert len(images) == 2
    assert build_film().SOPInstanceUID in images
    texts = [item["text"] for item in items if item["type"] == "TEXT"]
    for line in ("cxr-net", "1.2.0", weights_line(POSITIVE), *POSITIVE.algorithm.parameters):
        assert line in texts
    findings = [item["code"] for item in items if item["name"] == ["121071", "DCM", "Finding"]]
    assert findings == ([COVID_19] if answer == "present" else [])


@pytest.mark.parametrize("answer", CONTEXTS)
def test_dcmjs_reads_the_text_report_as_sentences(by_dcmjs: dict[str, Any], answer: str) -> None:
    said = by_dcmjs[f"{Profile.BASIC_TEXT}_{answer}"]
    assert said["sop_class"] == REPORT_SOP_CLASS[Profile.BASIC_TEXT]
    items = list(walk(said["root"]))
    assert "NUM" not in {item["type"] for item in items}
    conclusions = [item["text"] for item in items if item["name"] == ["121077", "DCM", "Conclusion"]]
    meaning = ANSWERS[answer][2]
    assert conclusions == [
        f"COVID-19: {meaning}. Probability of COVID-19: {PERCENT[answer]} %.",
        "Research software, not for diagnosis.",
    ]


@pytest.mark.parametrize("profile", TREES)
def test_dcmjs_reads_why_a_film_was_refused(by_dcmjs: dict[str, Any], profile: Profile) -> None:
    items = list(walk(by_dcmjs[f"{profile}_refused"]["root"]))
    answers = [item["code"] for item in items if item["name"] in (COVID_19, QUALITY)]
    assert answers == [
        ANSWERS["undetermined"],
        ["REFLATERAL", "99CXRW", "Not judged: not a frontal view"],
    ]
    assert not [item for item in items if item["name"] and item["name"][0] == "PROBCOVID"]
