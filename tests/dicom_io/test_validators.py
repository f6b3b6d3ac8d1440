"""Every result for every odd film, judged by the validators that others wrote.

PixelMed takes seconds for each report, so it sees one report of each shape; the others see all of them.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders import build_film
from pydicom import dcmread
from pydicom.dataset import Dataset
from result_sources import (
    NEGATIVE,
    ODD_SOURCES,
    POSITIVE,
    SHARED_DATA,
    UNDETERMINED,
    build_results,
    real_films,
)

from dicom_io.report import build_report, encode
from dicom_io.validators import Findings, inspect_folder, main, missing_validators, validate_folder

QUICK = ("dciodvfy", "dcentvfy", "dsrdump")
CONTEXTS = {"present": POSITIVE, "absent": NEGATIVE, "undetermined": UNDETERMINED}


def _need(*tools: str) -> None:
    missing = [name for name in missing_validators() if name.split()[0] in tools]
    if missing and os.environ.get("CI"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def _store(folder: Path, results: dict[str, Dataset]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        (folder / f"{name}.dcm").write_bytes(encode(result))
    return folder


def _own_study(film: Dataset, number: int) -> Dataset:
    """Give the film a study of its own, and a patient when it names one."""
    film.StudyInstanceUID, film.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
    film.SOPInstanceUID = f"1.2.3.{number}.1.1"
    if film.get("PatientID"):
        film.PatientID = f"P-{number}"
    return film


def _explain(findings: Findings) -> str:
    return "\n".join(map(str, [*findings.errors, *findings.warnings]))


def test_no_result_of_any_film_makes_a_validator_complain(tmp_path: Path) -> None:
    _need(*QUICK)
    films = [*((name, build()) for name, build in ODD_SOURCES.items()), *real_films()]
    for number, (name, film) in enumerate(films):
        context = list(CONTEXTS.values())[number % 3]
        report, capture = build_results(_own_study(film, number), context)
        _store(tmp_path, {f"{number:02}_{name}_sr": report, f"{number:02}_{name}_sc": capture})
    findings = inspect_folder(tmp_path, tools=QUICK)
    assert findings.files == 2 * len(films)
    assert not findings.errors, _explain(findings)
    # Two films without a patient id look like one patient, with and without some attributes.
    odd = [
        warning for warning in findings.warnings if "Attribute present in one instance" not in warning.text
    ]
    assert not odd, "\n".join(map(str, odd))


def test_every_decision_on_one_film_is_well_formed(tmp_path: Path) -> None:
    _need(*QUICK)
    for name, context in CONTEXTS.items():
        report, capture = build_results(build_film(), context)
        findings = inspect_folder(_store(tmp_path / name, {"sr": report, "sc": capture}), tools=QUICK)
        assert not findings.errors + findings.warnings, _explain(findings)


def test_pixelmed_recognises_tid_1500_in_each_shape_of_report(tmp_path: Path) -> None:
    _need("pixelmed")
    reports = {
        "present": build_results(build_film(), POSITIVE)[0],
        "absent": build_results(ODD_SOURCES["dx"](), NEGATIVE)[0],
        "bare_without_heat_map": build_report(ODD_SOURCES["nothing_but_type_1"](), UNDETERMINED, None),
    }
    findings = inspect_folder(_store(tmp_path, reports), tools=["pixelmed"])
    assert not findings.errors + findings.warnings, _explain(findings)


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with a secondary capture that does not say how it was captured."""
    capture = build_results(build_film(), POSITIVE)[1]
    del capture.ConversionType
    return _store(tmp_path / "broken", {"sc": capture})


def test_a_report_without_its_title_is_an_error(tmp_path: Path) -> None:
    _need("dciodvfy", "dsrdump")
    report = build_results(build_film(), POSITIVE)[0]
    del report.ConceptNameCodeSequence
    findings = inspect_folder(_store(tmp_path, {"sr": report}), tools=QUICK)
    assert {problem.tool for problem in findings.errors} == {"dciodvfy", "dsrdump"}


def test_a_modality_outside_its_context_group_is_an_error_for_pixelmed(tmp_path: Path) -> None:
    _need("pixelmed")
    report = build_results(build_film(), POSITIVE)[0]
    entry = report.ContentSequence[-3].ContentSequence[0].ContentSequence[0]
    entry.ContentSequence[0].ConceptCodeSequence[0].CodeValue = "OT"
    findings = inspect_folder(_store(tmp_path, {"sr": report}), tools=["pixelmed"])
    assert "not found in context group 29" in _explain(findings)
    assert findings.errors


def test_a_capture_without_its_conversion_type_is_an_error(broken: Path) -> None:
    _need("dciodvfy")
    problems = validate_folder(broken)
    assert {problem.tool for problem in problems} == {"dciodvfy"}
    assert "ConversionType" in str(problems[0])


def test_two_patients_in_one_study_are_an_error_of_the_folder(tmp_path: Path) -> None:
    _need("dcentvfy")
    report = build_results(build_film(), POSITIVE)[0]
    other = build_results(build_film(PatientName="Doe^Jane", SOPInstanceUID="1.2.3"), POSITIVE)[0]
    findings = inspect_folder(_store(tmp_path, {"a": report, "b": other}), tools=["dcentvfy"])
    assert "PatientName" in _explain(findings)
    assert findings.errors


def test_a_file_that_is_no_dicom_is_an_error(tmp_path: Path) -> None:
    _need("dciodvfy")
    (tmp_path / "text.dcm").write_text("no DICOM")
    assert validate_folder(tmp_path)


def test_the_exit_status_tells_good_broken_and_nothing_apart(
    tmp_path: Path, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _need("dciodvfy", "dcentvfy")
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    assert main([str(good)]) == 0
    assert "1 files, 0 errors" in capsys.readouterr().out
    assert main([str(broken)]) == 1
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2


def test_a_missing_validator_is_named_and_may_be_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _need("dciodvfy")
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    arguments = [str(good), "--jars", str(tmp_path / "nowhere")]
    assert main(arguments) == 0
    assert "pixelmed (Debian packages" in capsys.readouterr().err
    assert main([*arguments, "--require-all"]) == 2


def test_the_verdicts_agree_with_the_shared_script(tmp_path: Path, broken: Path) -> None:
    script = SHARED_DATA.parent / "spec" / "check_results.sh"
    if not script.exists():
        pytest.skip(f"not here: {script}")
    _need("dciodvfy", "dcentvfy", "dsrdump")
    report, capture = build_results(build_film(), NEGATIVE)
    good = _store(tmp_path / "good", {"sr": report, "sc": capture})
    bash = shutil.which("bash") or "bash"
    for folder, expected in ((good, 0), (broken, 1), (tmp_path / "nothing", 2)):
        folder.mkdir(exist_ok=True)
        theirs = subprocess.run([bash, str(script), str(folder)], capture_output=True, check=False)
        ours = subprocess.run([sys.executable, "-m", "dicom_io.validators", str(folder)], check=False)
        assert (theirs.returncode, ours.returncode) == (expected, expected), theirs.stdout


def test_the_stored_report_can_be_read_as_a_tree(tmp_path: Path) -> None:
    """The negative report, as `dsrdump` shows it, says Absent and nothing else about the disease."""
    _need("dsrdump")
    folder = _store(tmp_path, {"sr": build_results(build_film(), NEGATIVE)[0]})
    text = subprocess.run(
        ["dsrdump", str(folder / "sr.dcm")], capture_output=True, check=True
    ).stdout.decode()
    assert '"COVID-19")=(272519000,SCT,"Absent")' in text
    assert "Present" not in text
    assert '"Finding' not in text
    assert dcmread(folder / "sr.dcm").ContentQualification == "RESEARCH"
