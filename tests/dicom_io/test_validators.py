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
    need_validators,
    real_films,
)

from dicom_io.report import build_report, encode
from dicom_io.validators import Findings, inspect_folder, main, validate_folder

STAND_IN = """#!/bin/sh
for file; do :; done
echo "Validating DICOM file $file"
echo 'SOP class is "1.2.840.10008.5.1.4.1.1.7" (Secondary Capture Image IOD)'
echo "Module \"$*\":"
echo "Tag (0008,0064) (Conversion Type) is missing"
echo "Tag $1 $2 $3 $4"
exit 1
"""
QUICK = ("dciodvfy", "dcentvfy", "dsrdump")
CONTEXTS = {"present": POSITIVE, "absent": NEGATIVE, "undetermined": UNDETERMINED}


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
    need_validators(*QUICK)
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
    need_validators(*QUICK)
    for name, context in CONTEXTS.items():
        report, capture = build_results(build_film(), context)
        findings = inspect_folder(_store(tmp_path / name, {"sr": report, "sc": capture}), tools=QUICK)
        assert not findings.errors + findings.warnings, _explain(findings)


def test_pixelmed_recognises_tid_1500_in_each_shape_of_report(tmp_path: Path) -> None:
    need_validators("pixelmed")
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
    need_validators("dciodvfy", "dsrdump")
    report = build_results(build_film(), POSITIVE)[0]
    del report.ConceptNameCodeSequence
    findings = inspect_folder(_store(tmp_path, {"sr": report}), tools=QUICK)
    assert {problem.tool for problem in findings.errors} == {"dciodvfy", "dsrdump"}


def test_a_modality_outside_its_context_group_is_an_error_for_pixelmed(tmp_path: Path) -> None:
    need_validators("pixelmed")
    report = build_results(build_film(), POSITIVE)[0]
    entry = report.ContentSequence[-3].ContentSequence[0].ContentSequence[0]
    entry.ContentSequence[0].ConceptCodeSequence[0].CodeValue = "OT"
    findings = inspect_folder(_store(tmp_path, {"sr": report}), tools=["pixelmed"])
    assert "not found in context group 29" in _explain(findings)
    assert findings.errors


def test_a_capture_without_its_conversion_type_is_an_error(broken: Path) -> None:
    need_validators("dciodvfy")
    problems = validate_folder(broken)
    assert {problem.tool for problem in problems} == {"dciodvfy"}
    assert "ConversionType" in str(problems[0])


def test_two_patients_in_one_study_are_an_error_of_the_folder(tmp_path: Path) -> None:
    need_validators("dcentvfy")
    report = build_results(build_film(), POSITIVE)[0]
    other = build_results(build_film(PatientName="Doe^Jane", SOPInstanceUID="1.2.3"), POSITIVE)[0]
    findings = inspect_folder(_store(tmp_path, {"a": report, "b": other}), tools=["dcentvfy"])
    assert "PatientName" in _explain(findings)
    assert findings.errors


def test_a_file_that_is_no_dicom_is_an_error(tmp_path: Path) -> None:
    need_validators("dciodvfy")
    (tmp_path / "text.dcm").write_text("no DICOM")
    assert validate_folder(tmp_path)


def test_the_exit_status_tells_good_broken_and_nothing_apart(
    tmp_path: Path, broken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_validators("dciodvfy", "dcentvfy")
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    assert main([str(good)]) == 0
    assert "1 files, 0 errors" in capsys.readouterr().out
    assert main([str(broken)]) == 1
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2


def test_a_missing_validator_is_named_and_may_be_required(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_validators("dciodvfy")
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    arguments = [str(good), "--jars", str(tmp_path / "nowhere")]
    assert main([*arguments, "--no-require-all"]) == 0
    told = capsys.readouterr()
    assert "pixelmed (Debian packages" in told.err
    assert "asked: dcentvfy, dciodvfy, dsrdump" in told.out
    assert main([*arguments, "--require-all"]) == 2


@pytest.mark.parametrize(("ci", "status"), [("true", 2), ("", 0)])
def test_in_ci_a_missing_validator_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, status: int
) -> None:
    need_validators("dciodvfy")
    monkeypatch.setenv("CI", ci)
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    assert main([str(good), "--jars", str(tmp_path / "nowhere")]) == status


def test_an_error_in_a_file_outweighs_a_missing_validator(tmp_path: Path, broken: Path) -> None:
    need_validators("dciodvfy")
    assert main([str(broken), "--jars", str(tmp_path / "nowhere"), "--require-all"]) == 1


def test_without_any_validator_nothing_is_called_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(good), "--no-require-all"]) == 2
    told = capsys.readouterr()
    assert [line.split()[1] for line in told.err.splitlines()] == [
        "dciodvfy",
        "dcentvfy",
        "dsrdump",
        "pixelmed",
    ]
    assert "asked: no validator" in told.out


def test_dicom_validator_is_asked_only_with_the_files_of_the_standard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stand-in prints what dicom-validator prints; the package itself would download the standard."""
    need_validators("dciodvfy")
    good = _store(tmp_path / "good", {"sc": build_results(build_film(), POSITIVE)[1]})
    main([str(good)])
    assert "not run: dicom-validator (--standard DIR" in capsys.readouterr().out
    standard, programs = tmp_path / "standard", tmp_path / "bin"
    arguments = [str(good), "--no-require-all", "--standard", str(standard)]
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert main(arguments) == 0
    assert "missing: dicom-validator (PyPI package dicom-validator)" in capsys.readouterr().err
    programs.mkdir()
    (programs / "validate_iods").write_text(STAND_IN)
    (programs / "validate_iods").chmod(0o755)
    assert main([*arguments, "--require-all"]) == 2
    assert "missing: dicom-validator (expected editions.json" in capsys.readouterr().err
    (standard / "2026a" / "docbook").mkdir(parents=True)
    for name in ("editions.json", *(f"2026a/docbook/part0{part}.xml" for part in (3, 4, 6))):
        (standard / name).write_text("")
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert f"Warning - {good / 'sc.dcm'}: Tag (0008,0064) (Conversion Type) is missing" in told
    assert f"--standard-path {standard} --edition local" in told
    assert "dicom-validator," in told


def test_text_that_only_bytes_make_too_long_is_tolerated(tmp_path: Path) -> None:
    """64 characters are allowed (PS3.5 section 6.2); dciodvfy counts the bytes."""
    need_validators("dciodvfy")
    for name in ("山" * 64, "=".join(["N" * 64] * 3)):
        film = build_film(StudyDescription="山" * 64, PatientName=name)
        capture = build_results(film, POSITIVE)[1]
        assert capture.PatientName == name
        findings = inspect_folder(_store(tmp_path, {"sc": capture}), tools=["dciodvfy"])
        assert not findings.errors, _explain(findings)
    film = build_results(build_film(), POSITIVE)[1]
    film.StationName, film.ManufacturerModelName = "S" * 17, "M" * 65
    findings = inspect_folder(_store(tmp_path, {"sc": film}), tools=["dciodvfy"])
    assert len(findings.errors) == 2


def test_the_verdicts_agree_with_the_shared_script(tmp_path: Path, broken: Path) -> None:
    script = SHARED_DATA.parent / "spec" / "check_results.sh"
    if not script.exists():
        pytest.skip(f"not here: {script}")
    need_validators("dciodvfy", "dcentvfy", "dsrdump")
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
    need_validators("dsrdump")
    folder = _store(tmp_path, {"sr": build_results(build_film(), NEGATIVE)[0]})
    text = subprocess.run(
        ["dsrdump", str(folder / "sr.dcm")], capture_output=True, check=True
    ).stdout.decode()
    assert '"COVID-19")=(272519000,SCT,"Absent")' in text
    assert "Present" not in text
    assert '"Finding' not in text
    assert dcmread(folder / "sr.dcm").ContentQualification == "RESEARCH"
