"""``python -m model.reproduce``: the runs behind the release's figures, one after the other, resumable."""

import argparse
import csv
import dataclasses
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicom_io.errors import CxrError
from model import folds, study_figures
from model.command_edge import count, one_line_errors
from model.config import Config, DataConfig, from_dict, to_dict
from model.exclusions import EXCLUDE_HELP, read_exclusions
from model.manifest import read_manifest
from model.recorder import STATE
from model.sources import link_films
from model.studies import RECIPES, RELEASED, STUDIES, Study, config_of, recipe_sha256
from model.whole_files import write_whole

log = logging.getLogger(__name__)

NOT_OF_THE_PROTOCOL = ("patient_id", "group")
"""Columns that a study takes away where the published protocol deals films, not patients."""
SEED = 0


class StudyFailed(CxrError):
    """A run ended with an error; its words are on the terminal."""


@dataclass(frozen=True)
class Unit:
    """One training and its evaluation."""

    network: str
    study: str
    fold: int | None
    """The fold that is tested; None where families are held out."""
    folder: Path
    """Where everything goes."""

    @property
    def report(self) -> Path:
        """The folder of the evaluation, named so that a summary can tell it from others."""
        return self.folder / ("report" if self.fold is None else f"fold-{self.fold}")

    @property
    def shared(self) -> Path:
        """The folder of what all runs of the study share."""
        return self.folder if self.fold is None else self.folder.parent

    @property
    def done(self) -> bool:
        """Whether the evaluation is there: it is written last."""
        return (self.report / "report.html").exists()


def units_of(out: Path, networks: Sequence[str], studies: Sequence[str]) -> list[Unit]:
    """Return every run of the studies for the networks."""
    found = []
    for network in networks:
        for name in studies:
            folder = out / network / name
            numbers: Sequence[int | None] = range(STUDIES[name].folds) or [None]
            for fold in numbers:
                place = folder if fold is None else folder / f"run-{fold}"
                found.append(Unit(network, name, fold, place))
    return found


def films_of(study: Study, manifest: Path) -> str:
    """Return the study's own manifest as text: rows of its films, without what its protocol does not know.

    Paths stay what they are in the whole manifest, so that its hash is the same wherever the films are put.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such manifest, or no film of the study in it.
    """
    read_manifest(manifest, DataConfig().labels)
    with manifest.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        names = [name for name in reader.fieldnames or () if study.grouped or name not in NOT_OF_THE_PROTOCOL]
        rows = [row for row in reader if _belongs(study, row)]
    if not rows:
        raise ValueError(f"{manifest.name} has no film of {', '.join(study.sources)}")
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_films(text: str, manifest: Path, folder: Path) -> None:
    """Write a study's own manifest, with links to the folders of its films beside it."""
    link_films((row["path"] for row in csv.DictReader(io.StringIO(text))), manifest.parent, folder)
    write_whole(folder / "films.csv", text.encode("utf-8"))


def _belongs(study: Study, row: Mapping[str, str]) -> bool:
    labelled = not study.labels or row["label"] in study.labels
    return row.get("source", "") in study.sources and labelled


def write_study(config: Config, study: Study, manifest: Path, folder: Path) -> None:
    """Write what all runs of a study share, its films, folds and configuration; it stays what it is.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no manifest or no film for it, or the folder holds runs of another recipe or other films.
    """
    kept, values, films = folder / "config.json", to_dict(config), folder / "films.csv"
    text = films_of(study, manifest)
    if kept.exists():
        if json.loads(kept.read_text()) != values:
            raise ValueError(f"{folder} holds runs of another recipe: move it away, or give another --out")
        if films.read_bytes() != text.encode():
            raise ValueError(
                f"{folder} holds runs on other films than those of {manifest.name}: give the manifest of "
                "those runs by --data, or another --out"
            )
        return
    write_films(text, manifest, folder)
    if study.folds:
        everything = read_manifest(films, config.data.labels)
        dealt = folds.folds(everything, study.folds, SEED, config.data)
        source_of = {film.path: film.source for film in everything}
        taken = study.folded or study.sources
        folds.write_folds(
            folder / "folds.csv",
            {path: fold for path, fold in dealt.items() if source_of[path] in taken},
        )
    # Last, because its presence says that the rest is there.
    kept.write_text(json.dumps(values, indent=1) + "\n")


def command_of(unit: Unit, jobs: int = 1) -> list[str]:
    """Return the training command of one of so many runs side by side; one that was broken off goes on."""
    shared = unit.shared
    command = [
        "-m", "model.train", "--data", str(shared / "films.csv"), "--config", str(shared / "config.json"),
        "--out", str(unit.folder), "--report", str(unit.report), "--no-check",
    ]  # fmt: skip
    if unit.fold is not None:
        command += ["--folds", str(shared / "folds.csv"), "--fold", str(unit.fold)]
    if jobs > 1:
        command += ["--threads", str(max(1, (os.cpu_count() or 1) // jobs))]
    if (unit.folder / STATE).exists():
        command.append("--resume")
    return command


@dataclass(frozen=True)
class Given:
    """What all runs are given."""

    manifest: Path
    """The whole manifest."""
    exclude: Mapping[str, str] = field(default_factory=dict)
    """Films to leave out, with the reason."""
    quick: bool = False
    """Two batches each: figures mean nothing."""
    jobs: int = 1
    """Runs side by side, which share the processor's threads."""

    def config(self, unit: Unit) -> Config:
        """Return the configuration of a unit."""
        config = config_of(STUDIES[unit.study], unit.network, self.quick)
        data = dataclasses.replace(config.data, left_out_films=dict(self.exclude))
        return dataclasses.replace(config, data=data)


def carry_out(units: Sequence[Unit], given: Given) -> None:
    """Run every unit whose evaluation is not there yet.

    Raises
    ------
    StudyFailed
        As soon as a run ends with an error; what was finished stays, and what runs beside it is waited for.
    """
    for unit in {unit.shared: unit for unit in units}.values():
        write_study(given.config(unit), STUDIES[unit.study], given.manifest, unit.shared)
    left = [unit for unit in units if not unit.done]
    log.info("%d of %d runs are there", len(units) - len(left), len(units))
    pool = ThreadPoolExecutor(given.jobs)
    try:
        for ended in as_completed([pool.submit(run_one, unit, given.jobs) for unit in left]):
            ended.result()
    finally:
        pool.shutdown(cancel_futures=True)


def run_one(unit: Unit, jobs: int) -> None:
    """Train and evaluate one unit in a process of its own.

    Raises
    ------
    StudyFailed
        If it ends with an error.
    """
    command = command_of(unit, jobs)
    log.info("%s: python %s", unit.folder, " ".join(command))
    ended = subprocess.run([sys.executable, *command], check=False)
    if ended.returncode:
        raise StudyFailed(
            f"{unit.folder}: training ended with code {ended.returncode}; the same command goes on"
        )


def finished(units: Sequence[Unit]) -> Iterator[tuple[str, str, list[Unit]]]:
    """Yield network, study and the runs of each study of which every run is done."""
    for network in dict.fromkeys(unit.network for unit in units):
        for study in dict.fromkeys(unit.study for unit in units):
            runs = [unit for unit in units if (unit.network, unit.study) == (network, study)]
            if runs and all(unit.done for unit in runs):
                yield network, study, runs


def write_figures(out: Path, units: Sequence[Unit], earlier: Path | None = None) -> dict[str, Any]:
    """Write ``figures.json``: the released network's figures by name, and under ``details`` those of all.

    Parameters
    ----------
    out
        The folder of all runs.
    units
        Runs whose figures are taken, of each study of which all are done.
    earlier
        ``metrics.json`` of a release; its figures stand for studies that are not done here.

    Raises
    ------
    FileNotFoundError, ValueError
        If the earlier release is none.
    """
    table, recipes = study_figures.read_earlier(earlier) if earlier else ({}, {})
    for network, study, runs in finished(units):
        table.setdefault(network, {}).update(study_figures.figures_of(study, [run.report for run in runs]))
        config = from_dict(json.loads((runs[0].shared / "config.json").read_text()))
        recipes.setdefault(network, {})[study] = recipe_sha256(config)
    ordered = {name: table[name] for name in RECIPES if name in table}
    report = {**ordered.get(RELEASED, {}), "details": {"networks": ordered, "recipes": recipes}}
    (out / "figures.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    (out / "table.md").write_text(study_figures.as_table(ordered))
    return report


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.reproduce", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="MANIFEST", help="the whole manifest")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of all runs")
    parser.add_argument(
        "--network", nargs="+", choices=tuple(RECIPES), default=list(RECIPES), help="all by default"
    )
    parser.add_argument(
        "--study", nargs="+", choices=tuple(STUDIES), default=list(STUDIES), help="all by default"
    )
    parser.add_argument("--exclude", type=Path, metavar="FILE", help=EXCLUDE_HELP)
    parser.add_argument("--jobs", type=count, default=1, metavar="N", help="runs side by side (1)")
    parser.add_argument(
        "--earlier", type=Path, metavar="JSON",
        help="metrics.json of a release, whose figures stand for studies that are not done here",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="two batches each, to see that all runs; figures mean nothing"
    )
    parser.add_argument(
        "--gather", action="store_true", help="train nothing, write figures.json of what is there"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    with one_line_errors(parser, if_interrupted="the same command goes on from here"):
        if not options.gather:
            excluded = read_exclusions(options.exclude) if options.exclude else {}
            given = Given(options.data, excluded, options.quick, options.jobs)
            carry_out(units_of(options.out, options.network, options.study), given)
        # Whatever else is finished belongs into the figures too.
        write_figures(options.out, units_of(options.out, list(RECIPES), list(STUDIES)), options.earlier)
    print((options.out / "table.md").read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
