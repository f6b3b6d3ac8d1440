"""The four objects of many odd films, judged by the validators of others; 40 headers, 200 in the long run.

PixelMed takes seconds for each report: it sees all of them in the long run, and a few of them otherwise.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from odd_headers import draw_films
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from result_sources import NEGATIVE, POSITIVE, UNDETERMINED, need_validators, spot_HW

from dicom_io.capture import build_capture
from dicom_io.errors import CxrError, InvalidResult
from dicom_io.evidence import view_evidence
from dicom_io.findings import ResultContext
from dicom_io.part10 import read_dataset
from dicom_io.pixels import read_pixels
from dicom_io.presentation import build_presentation
from dicom_io.report import build_report, encode
from dicom_io.softcopy import is_monochrome
from dicom_io.summary import build_summary
from dicom_io.validators import inspect_folder

CONTEXTS = (POSITIVE, NEGATIVE, UNDETERMINED)
PER_FILE = ("dciodvfy", "dsrdump")


def _objects(film: Dataset, context: ResultContext) -> dict[str, Dataset]:
    image_HW = read_pixels(film)
    capture = build_capture(film, image_HW, spot_HW(), context)
    objects = {"sr": build_report(film, context, capture), "sc": capture}
    objects["page"] = build_summary(film, image_HW, spot_HW(), context)
    if is_monochrome(film):
        objects["state"] = build_presentation(film, spot_HW(), context)
    return objects


def _has_identity(film: Dataset) -> bool:
    try:
        view_evidence(film)
    except InvalidResult:
        return False
    return True


def _store(root: Path, films: Iterable[Dataset]) -> int:
    """Write the objects of each film into a folder of its own; return how many."""
    written = 0
    for number, film in enumerate(films):
        folder = root / f"{number:03}"
        folder.mkdir()
        for name, result in _objects(film, CONTEXTS[number % 3]).items():
            (folder / f"{name}.dcm").write_bytes(encode(result))
            written += 1
    return written


def _judge(root: Path, tools: Iterable[str]) -> None:
    """Ask about each file, then whether the files of one film agree: films without an id look alike."""
    findings = inspect_folder(root, tools=list(tools))
    errors, warnings = list(findings.errors), list(findings.warnings)
    for folder in sorted(root.iterdir()):
        alike = inspect_folder(folder, tools=["dcentvfy"])
        errors, warnings = errors + alike.errors, warnings + alike.warnings
    assert not errors, "\n".join(map(str, errors[:20]))
    odd = [each for each in warnings if "Unrecognized defined term" not in each.text]
    assert not odd, "\n".join(map(str, odd[:20]))


def _check_by_script(root: Path, shared: Path, *, most: int | None = None) -> None:
    """Run the shared script per film, as it asks dcentvfy about all files of a folder at once.

    Without Java: it starts one for each report, and the reports have been to PixelMed elsewhere.
    """
    script = shared.parent / "spec" / "check_results.sh"
    if not script.exists():
        pytest.skip(f"not here: {script}")
    path = str(_without_java(root.parent / "bin"))
    for folder in sorted(root.iterdir())[:most]:
        ran = subprocess.run(
            [shutil.which("bash") or "bash", str(script), str(folder)],
            capture_output=True,
            env={**os.environ, "PATH": path},
            check=False,
        )
        assert ran.returncode == 0, ran.stdout.decode("utf-8", "replace")


def _without_java(folder: Path) -> Path:
    """Return a folder with the programs that the script asks for, except the slow one."""
    folder.mkdir(exist_ok=True)
    names = ("bash", "find", "sort", "grep", "dcmdump", "dciodvfy", "dsrdump", "dcentvfy", "rm", "awk")
    for name in names:
        program = shutil.which(name)
        if program is not None and not (folder / name).exists():
            (folder / name).symlink_to(program)
    return folder


def _sweep(root: Path, count: int) -> int:
    films = draw_films(count)
    assert len(films) == count
    told_apart = [film for film in films if _has_identity(film)]
    # An id that its character set cannot spell gives no result at all.
    assert len(told_apart) > 0.9 * count
    return _store(root, told_apart)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("swept") / "films"
    root.mkdir()
    assert _sweep(root, 40) > 4 * 36
    return root


def test_no_validator_finds_an_error_in_the_objects_of_odd_films(swept: Path) -> None:
    need_validators(*PER_FILE, "dcentvfy")
    _judge(swept, PER_FILE)


def test_the_shared_script_finds_no_error_either(swept: Path, shared: Path) -> None:
    need_validators(*PER_FILE, "dcentvfy")
    _check_by_script(swept, shared, most=10)


def test_pixelmed_reads_the_reports_of_odd_films(swept: Path, tmp_path: Path) -> None:
    need_validators("pixelmed")
    for folder in sorted(swept.iterdir())[:2]:
        shutil.copy(folder / "sr.dcm", tmp_path / f"{folder.name}.dcm")
    findings = inspect_folder(tmp_path, tools=["pixelmed"])
    assert findings.files == 2
    assert not findings.errors + findings.warnings, "\n".join(map(str, findings.errors + findings.warnings))


@pytest.mark.slow
def test_200_odd_headers_give_objects_without_an_error(tmp_path: Path, shared: Path) -> None:
    need_validators(*PER_FILE, "dcentvfy", "pixelmed")
    root = tmp_path / "films"
    root.mkdir()
    assert _sweep(root, 220) >= 4 * 200
    _judge(root, (*PER_FILE, "pixelmed"))
    _check_by_script(root, shared)


def _readable(folder: Path) -> dict[str, Dataset]:
    """Return the films of a folder that can be judged: with pixels, and with UIDs that are UIDs."""
    films = {}
    for path in sorted(folder.glob("*.dcm")):
        film = read_dataset(path)
        try:
            read_pixels(film)
        except CxrError:
            continue
        if all(_is_uid(str(film[name].value)) for name in ("StudyInstanceUID", "SOPInstanceUID")):
            films[path.stem] = film
    return films


def _is_uid(text: str) -> bool:
    # ISO/IEC 8824-1: the first component is 0, 1 or 2, and none has a leading zero.
    return re.fullmatch(r"[012](\.(0|[1-9]\d*))+", text) is not None


def test_the_objects_of_every_readable_film_are_without_an_error(tmp_path: Path, shared: Path) -> None:
    need_validators(*PER_FILE, "dcentvfy")
    films = _readable(shared / "dicom")
    assert len(films) >= 8
    root = tmp_path / "films"
    root.mkdir()
    _store(root, films.values())
    _judge(root, PER_FILE)
    _check_by_script(root, shared)


def test_the_objects_of_the_free_film_are_without_an_error(tmp_path: Path) -> None:
    need_validators(*PER_FILE, "dcentvfy")
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("not installed: pydicom-data")
    root = tmp_path / "films"
    root.mkdir()
    assert _store(root, [read_dataset(Path(path))]) == 4
    _judge(root, PER_FILE)
