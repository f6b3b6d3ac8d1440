"""``python -m model.manifests``: a public data set, as it is downloaded, becomes a manifest.

A data set is a row of `DATASETS` and a small reader. Nothing is copied: the manifest lies beside the films.
"""

import argparse
import csv
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dicom_io.errors import CxrError
from model.config import LABELS
from model.manifest import Film
from model.sources import dicom_tree, folder_per_class, write_manifest
from model.transforms import PICTURES

ADULT_YEARS = 18


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


def _pictures(root: Path, folder: str) -> list[str]:
    paths = (root / folder).rglob("*")
    return sorted(str(path.relative_to(root)) for path in paths if path.suffix.lower() in PICTURES)


RADIOGRAPHY = {
    # Folder: label, age group. The viral pneumonias and 1,341 of the normals are Kermany's children.
    "COVID": ("covid", "unknown"),
    "Normal": ("normal", "unknown"),
    "Lung_Opacity": ("pneumonia", "unknown"),
    "Viral Pneumonia": ("pneumonia", "child"),
}


def radiography(root: Path) -> list[Film]:
    """Read the COVID-19 Radiography Database; its films carry no patient."""
    return [
        Film(path, label, source="radiography", view="unknown", age_group=age)
        for folder, (label, age) in RADIOGRAPHY.items()
        for path in _pictures(root, f"{folder}/images")
    ]


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
    return [
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
        if row["modality"] == "X-ray"
        and row["view"] in COHEN_VIEWS
        and (root / row["folder"] / row["filename"]).is_file()
    ]


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
    """Read the RSNA Pneumonia Detection Challenge 2018: DICOM files, a patient each."""
    label_of = {
        row["patientId"]: RSNA[row["class"]]
        for row in _rows(root / "stage_2_detailed_class_info.csv", {"patientId", "class"})
    }
    paths = ((name, f"stage_2_train_images/{name}.dcm") for name in sorted(label_of))
    return [
        Film(path, label_of[name], f"rsna-{name}", "rsna", "unknown")
        for name, path in paths
        if (root / path).is_file()
    ]


def hannover(root: Path) -> list[Film]:
    """Read the COVID-19 Image Repository of Hannover Medical School by its data.csv: all are COVID-19."""
    return [
        Film(
            f"png/{row['image_id']}.png",
            "covid",
            f"hannover-{row['patient_id']}",
            "hannover",
            row["projection"].upper() or "unknown",
        )
        for row in _rows(root / "data.csv", {"patient_id", "image_id", "projection"})
        if (root / "png" / f"{row['image_id']}.png").is_file()
    ]


DARKCOVIDNET = {"Covid-19": "covid", "Pneumonia": "pneumonia", "No_findings": "normal"}


def darkcovidnet(root: Path) -> list[Film]:
    """Read the films of Ozturk 2020; those of NIH ChestX-ray14 are named after patient and film."""
    films = []
    for folder, label in DARKCOVIDNET.items():
        for path in _pictures(root, f"X-Ray Image DataSet/{folder}"):
            patient = "" if label == "covid" else f"nih14-{Path(path).stem.split('_')[0]}"
            films.append(Film(path, label, patient, "darkcovidnet", "unknown"))
    return films


DATASETS = {
    "radiography": Dataset(
        radiography, ", ".join(f"{name}/images" for name in RADIOGRAPHY), "see the data set"
    ),
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m model.manifests",
        description="Write the manifest of a public data set, see docs/data.md.",
    )
    parser.add_argument(
        "dataset", choices=(*DATASETS, "dicom"), help="the data set, or a tree of DICOM files"
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="its folder")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="table of labels of the DICOM files")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the manifest (DIR/manifest.csv)")
    options = parser.parse_args(arguments)
    if (options.dataset == "dicom") != (options.labels is not None):
        parser.error("--labels belongs to dicom, and dicom needs it")
    out = options.out or options.folder / "manifest.csv"
    if out.parent.resolve() != options.folder.resolve():
        parser.error(f"paths in a manifest are relative to it: it must lie in {options.folder}")
    try:
        films = (
            dicom_tree(options.folder, options.labels)
            if options.labels
            else read_dataset(options.dataset, options.folder)
        )
        write_manifest(out, films)
    except (OSError, ValueError, CxrError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    counts = Counter(film.label for film in films)
    print(f"{out}: {len(films)} films, {dict(sorted(counts.items()))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
