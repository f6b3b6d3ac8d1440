"""``python -m model.manifests``: a public data set becomes a manifest, and manifests become one.

A data set is a row of `DATASETS` and a small reader. Nothing is copied: the manifest lies beside the films.
"""

import argparse
import csv
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model.checks import CACHE
from model.command_edge import one_line_errors
from model.config import LABELS
from model.dicom_films import ADULT_YEARS
from model.joining import hold_copies_together, join, keep_shares
from model.manifest import Film
from model.near_duplicates import MOST_BITS
from model.radiography import FOLDERS, radiography
from model.sources import check_overwriting, dicom_tree, folder_per_class, pictures_below, write_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """How a data set is laid out."""

    read: Callable[[Path], list[Film]]
    """From the folder of the data set to its films."""
    holds: str
    """What the folder must hold, in words."""
    licence: str
    """Licence of the films, where no column says it."""


def _rows(path: Path, columns: set[str]) -> Iterator[dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path.name} in {path.parent}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = columns - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name} has no column {sorted(missing)}")
        for row in reader:
            yield {key: (value or "").strip() for key, value in row.items() if key}


def _there(root: Path, films: Sequence[Film]) -> list[Film]:
    """Return the films whose files are there; half a download is told, not taken for the whole."""
    found = [film for film in films if (root / film.path).is_file()]
    if missing := len(films) - len(found):
        log.warning("%d of the %d films that the tables name are not in %s", missing, len(films), root)
    return found


COHEN_VIEWS = {
    "PA": "PA",
    "AP": "AP",
    "AP Supine": "AP_supine",
    "AP semi erect": "AP",
    "AP erect": "AP",
    "L": "L",
}


def cohen(root: Path) -> list[Film]:
    """Read covid-chestxray-dataset by its metadata.csv: X-rays alone, with patient, view and licence."""
    columns = {"patientid", "finding", "view", "modality", "folder", "filename", "license", "age"}
    films = [
        Film(
            f"{row['folder']}/{row['filename']}",
            _cohen_label(row["finding"]),
            f"cohen-{row['patientid']}",
            "cohen",
            COHEN_VIEWS[row["view"]],
            "child" if _years(row["age"]) < ADULT_YEARS else "unknown",
            licence=row["license"],
        )
        for row in _rows(root / "metadata.csv", columns)
        if row["modality"] == "X-ray" and row["view"] in COHEN_VIEWS
    ]
    return _there(root, films)


def _cohen_label(finding: str) -> str:
    if "COVID-19" in finding:
        return "covid"
    if finding.startswith("Pneumonia"):
        return "pneumonia"
    known = {"No Finding": "normal", "todo": "unlabelled", "Unknown": "unlabelled", "": "unlabelled"}
    return known.get(finding, "other")


def _years(age: str) -> float:
    try:
        return float(age)
    except ValueError:
        return float("inf")


RSNA = {"Lung Opacity": "pneumonia", "Normal": "normal", "No Lung Opacity / Not Normal": "other"}


def rsna(root: Path) -> list[Film]:
    """Read the RSNA Pneumonia Detection Challenge 2018: DICOM files, each named by an id of its own.

    It calls that id a patient's, but a patient of the NIH's may have several: no patient is known.
    """
    label_of = {
        row["patientId"]: RSNA[row["class"]]
        for row in _rows(root / "stage_2_detailed_class_info.csv", {"patientId", "class"})
    }
    films = [
        Film(f"stage_2_train_images/{name}.dcm", label, f"rsna-{name}", "rsna", "unknown")
        for name, label in sorted(label_of.items())
    ]
    return _there(root, films)


def hannover(root: Path) -> list[Film]:
    """Read the COVID-19 Image Repository of Hannover Medical School by its data.csv: all are COVID-19."""
    films = [
        Film(
            f"png/{row['image_id']}.png",
            "covid",
            f"hannover-{row['patient_id']}",
            "hannover",
            row["projection"].upper() or "unknown",
        )
        for row in _rows(root / "data.csv", {"patient_id", "image_id", "projection"})
    ]
    return _there(root, films)


DARKCOVIDNET = {"Covid-19": "covid", "Pneumonia": "pneumonia", "No_findings": "normal"}


def darkcovidnet(root: Path) -> list[Film]:
    """Read the films of Ozturk 2020; those of NIH ChestX-ray14 are named after patient and film."""
    films = []
    for folder, label in DARKCOVIDNET.items():
        for path in pictures_below(root, f"X-Ray Image DataSet/{folder}"):
            patient = "" if label == "covid" else f"nih14-{Path(path).stem.split('_')[0]}"
            films.append(Film(path, label, patient, "darkcovidnet", "unknown"))
    return films


DATASETS = {
    "radiography": Dataset(radiography, ", ".join(f"{name}/images" for name in FOLDERS), "see the data set"),
    "cohen": Dataset(cohen, "metadata.csv and the folder images", "in the column license, film by film"),
    "rsna": Dataset(rsna, "stage_2_detailed_class_info.csv, stage_2_train_images", "non-commercial research"),
    "hannover": Dataset(hannover, "data.csv and the folder png", "CC BY 3.0"),
    "darkcovidnet": Dataset(darkcovidnet, "the folder X-Ray Image DataSet", "see muhammedtalo/COVID-19"),
    "folders": Dataset(
        lambda root: folder_per_class(root, LABELS), f"a folder per label: {', '.join(LABELS)}", ""
    ),
}
"""Data sets by name; docs/data.md says where they are to be had."""


def read_dataset(name: str, root: Path) -> list[Film]:
    """Return the films of a data set.

    Parameters
    ----------
    name
        A name in `DATASETS`.
    root
        The folder of the data set.

    Raises
    ------
    FileNotFoundError, ValueError
        If the folder does not hold what it should.
    """
    dataset = DATASETS[name]
    films = dataset.read(root)
    if not films:
        raise FileNotFoundError(f"no film of {name} in {root}: expected {dataset.holds}")
    licensed = dataset.licence and "column" not in dataset.licence
    return [replace(film, licence=dataset.licence) for film in films] if licensed else films


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(
        prog="python -m model.manifests",
        description="Write the manifest of a data set, or join manifests, see docs/data.md.",
    )
    commands = made.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    for name in (*DATASETS, "dicom"):
        holds = DATASETS[name].holds if name in DATASETS else "DICOM files, whatever their names"
        command = commands.add_parser(name, help=f"a folder that holds {holds}")
        command.add_argument("folder", type=Path, metavar="DIR", help="the folder")
        command.add_argument(
            "--out",
            type=Path,
            metavar="FILE",
            help="the manifest (DIR/manifest.csv, if none is there)",
        )
        command.set_defaults(labels=None, source="")
        if name == "dicom":
            command.add_argument("--labels", type=Path, metavar="FILE", required=True, help="table of labels")
        if name in ("dicom", "folders"):
            command.add_argument("--source", metavar="NAME", help="where the films come from, in one word")
    joined = commands.add_parser("join", help="several manifests, which become one")
    joined.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="manifests to join")
    joined.add_argument("--out", type=Path, metavar="FILE", required=True, help="the manifest of all films")
    joined.add_argument(
        "--keep", action="append", default=[], metavar="SOURCE:LABEL=SHARE",
        help="keep so large a share, 0 to 1, of a source's films of a label; may be given again",
    )  # fmt: skip
    joined.add_argument(
        "--group", action="store_true", help="give films that look alike one group, over all pairs"
    )
    joined.add_argument(
        "--most-bits", type=int, default=MOST_BITS, metavar="N",
        help=f"films whose 256-bit hashes differ in at most N bits look alike ({MOST_BITS})",
    )  # fmt: skip
    joined.add_argument("--cache", type=Path, default=CACHE, metavar="FILE", help="what was seen before")
    return made


def joined_films(options: argparse.Namespace) -> list[Film]:
    """Return the films of several manifests as the options of ``join`` want them; say what was grouped.

    Raises
    ------
    FileNotFoundError, ValueError
        If a manifest is missing or makes no sense, or two of them contradict each other.
    """
    films = keep_shares(join(options.manifests, options.out), options.keep)
    if options.group:
        films, said = hold_copies_together(films, options.out.parent, options.cache, options.most_bits)
        print(said)
    return films


def films_of(options: argparse.Namespace) -> list[Film]:
    """Return the films of the data set that the options name.

    Raises
    ------
    FileNotFoundError, ValueError, dicom_io.errors.NotDicom
        If the folder does not hold what it should.
    """
    films = (
        dicom_tree(options.folder, options.labels, LABELS)
        if options.labels
        else read_dataset(options.dataset, options.folder)
    )
    return [replace(film, source=options.source) for film in films] if options.source else films


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    joins = options.dataset == "join"
    out = options.out or options.folder / "manifest.csv"
    if not joins and out.parent.resolve() != options.folder.resolve():
        parser.error(f"paths in a manifest are relative to it: it must lie in {options.folder}")
    with one_line_errors(parser):
        if not joins and options.labels and out.resolve() == options.labels.resolve():
            raise ValueError(f"{out} is the table of labels itself: name another file by --out")
        films = joined_films(options) if joins else films_of(options)
        # Who names the file wants it written; the default may meet one that was made by hand.
        if options.out is None:
            check_overwriting(out, films)
        write_manifest(out, films)
    counts = Counter(film.label for film in films)
    children = sum(film.age_group == "child" for film in films)
    print(f"{out}: {len(films)} films, {dict(sorted(counts.items()))}; {children} of children")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
