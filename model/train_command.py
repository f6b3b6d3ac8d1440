"""The options of ``python -m model.train``, and what the command does around the training itself."""

import argparse
import logging
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import ignite.distributed as idist
import torch

from model import checks, data, own_network, processor
from model.command_edge import count, one_line_errors
from model.config import PRECISIONS, PRESETS, Config, load_config
from model.contact_sheet import contact_sheet
from model.exclusions import EXCLUDE_HELP, read_exclusions
from model.folds import SPLIT
from model.networks import entry, known
from model.resuming import check_resume, check_unused, goes_on
from model.run import Run
from model.sources import dicom_tree, folder_per_class, link_films, write_manifest
from model.subsets import choose_films
from model.train import train

log = logging.getLogger(__name__)

CLASSES = {"binary": "one-head", "three-class": "three-class"}
WITHOUT_DATA = """no --data was given. It is one of
  - a manifest: a CSV file with the columns path,label and, where known, patient_id,source,view,age_group,
    group
  - a folder with a folder of films per label: covid, pneumonia, normal, other, negative
  - a folder of DICOM files, with --labels FILE
docs/data.md names public data sets, and the command that turns each into a manifest. To see everything work
on a machine without any, let phantoms be drawn:
  python -m model.phantom --out phantoms
  python -m model.train --preset teaching --data phantoms/manifest.csv --out run --report run/report
"""
FILMS = "films"
"""Folder, in that of the run, of the manifest of films that have none, and of links to them."""
DRY_FILMS = 24
"""Most films of a label and subset in a dry run."""
COMMON = {
    "schedule": ("epochs", "steps", "batch", "seed", "precision"),
    "transforms": ("input_px", "film_px"),
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    made = argparse.ArgumentParser(
        prog="python -m model.train",
        description="Train a model on films, calibrate it, write its folder. For research and teaching only.",
    )
    films = made.add_argument_group("films")
    films.add_argument("--data", type=Path, metavar="PATH", help=data.EXPECTED + "; or a folder per label")
    films.add_argument("--labels", type=Path, metavar="FILE", help="labels of the DICOM files below --data")
    films.add_argument("--split", type=Path, metavar="FILE", help="split file to keep to (path,subset)")
    films.add_argument("--folds", type=Path, metavar="FILE", help="fold file (path,fold) by model.folds")
    films.add_argument("--fold", type=int, metavar="I", help="fold of --folds that is tested (0)")
    films.add_argument("--exclude", type=Path, metavar="FILE", help=EXCLUDE_HELP)
    films.add_argument("--no-check", action="store_true", help="do not look at every film first")
    films.add_argument(
        "--cache", type=Path, default=checks.CACHE, metavar="FILE", help="what the check has seen"
    )
    what = made.add_argument_group("model")
    what.add_argument("--config", type=Path, metavar="FILE", help="a config as JSON, instead of a preset")
    what.add_argument(
        "--preset", choices=tuple(PRESETS),
        help="one-head: COVID-19 against the rest (default); two-heads: the released model, by families of "
        "films; three-class: COVID-19, pneumonia, no finding; teaching: a small network, in minutes",
    )  # fmt: skip
    what.add_argument("--classes", choices=tuple(CLASSES), help="COVID-19 or not, or three classes")
    what.add_argument("--network", metavar="NAME", help=f"one of {', '.join(known())}, or one's own")
    what.add_argument("--network-file", **own_network.OPTION)
    what.add_argument("--init", type=Path, metavar="DIR", help="model folder whose backbone is the start")
    how = made.add_argument_group("training")
    how.add_argument("--epochs", type=int, help="most epochs")
    how.add_argument("--steps", type=int, help="batches in an epoch")
    how.add_argument("--batch", type=int, help="films in a batch")
    how.add_argument("--seed", type=int, help="seed of everything random")
    how.add_argument("--input-px", type=int, help="side of the network's input")
    how.add_argument("--film-px", type=int, help="side that every film is first reduced to")
    how.add_argument("--precision", choices=PRECISIONS, help="float32, bf16, or bf16 where it is fast")
    how.add_argument("--threads", type=count, help="threads of PyTorch")
    out = made.add_argument_group("results")
    out.add_argument("--out", type=Path, metavar="DIR", help="folder for checkpoints, logs, the model")
    out.add_argument("--resume", action="store_true", help="go on after the last whole epoch in --out")
    out.add_argument("--stop-after", type=int, metavar="N", help="stop after epoch N, to go on with --resume")
    out.add_argument("--report", type=Path, metavar="DIR", help="evaluate the test films into this folder")
    out.add_argument("--mlflow", default="", metavar="URI", help="log to MLflow too, if it is installed")
    out.add_argument("--dry-run", action="store_true", help="two batches of everything, nothing is kept")
    out.add_argument("--contact-sheet", type=Path, metavar="FILE", help="draw augmented films and stop")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    given = parser()
    options = given.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("ignite").setLevel(logging.WARNING)
    if options.data is None:
        given.exit(2, WITHOUT_DATA)
    if options.out is None and not (options.dry_run or options.contact_sheet):
        given.error("--out is needed: the folder for checkpoints, logs and the model")
    if options.fold is not None and options.folds is None:
        given.error("--fold is a fold of --folds FILE, which was not given")
    if options.folds is not None and options.split is not None:
        given.error("give one of --folds and --split: both say which films are tested")
    if options.network_file and not (options.network or options.config):
        given.error("--network-file holds a network of one's own: name it by --network NAME too")
    if options.labels and not options.data.is_dir():
        given.error(f"--labels is for a folder of DICOM files, --data {options.data} is none")
    processor.prepare(options.threads)
    with one_line_errors(given, if_interrupted="--resume goes on after the last whole epoch"):
        own_network.enter(options.network_file)
        with processes(), workplace(options) as out:
            config, run = prepare(options, out, sys.argv[1:] if arguments is None else arguments)
            return carry_out(options, config, run)


@contextmanager
def processes() -> Iterator[None]:
    """Join the processes that torchrun started; without it there is one."""
    if not torch.distributed.is_torchelastic_launched():
        yield
        return
    idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
    if idist.get_rank() != 0:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        yield
    finally:
        idist.finalize()


@contextmanager
def workplace(options: argparse.Namespace) -> Iterator[Path]:
    """Yield the folder to write to; that of a dry run or a contact sheet is thrown away."""
    if options.out is not None and not (options.dry_run or options.contact_sheet):
        options.out.mkdir(parents=True, exist_ok=True)
        yield options.out
        return
    with tempfile.TemporaryDirectory(prefix="cxr-dry-run-") as folder:
        yield Path(folder)


def prepare(options: argparse.Namespace, out: Path, arguments: Sequence[str]) -> tuple[Config, Run]:
    """Return the config and the run that the options name; films in folders get a manifest in `out`.

    Raises
    ------
    FileNotFoundError, ValueError
        If options or films make no sense, or `out` holds a run that is not to be resumed.
    """
    config = configure(options)
    run = Run(
        options.data, out, options.split, options.resume, told(options, arguments), options.folds,
        options.fold or 0, options.stop_after, options.init, options.mlflow,
    )  # fmt: skip
    # Before the manifest of a folder, or a split, is written into a run that is not to be touched.
    check_unused(run)
    if run.manifest.is_dir():
        run = replace(run, manifest=manifest_of_folder(run, options.labels, config))
    return config, run


def told(options: argparse.Namespace, arguments: Sequence[str]) -> str:
    """Return the command line as a model tells it: how it was made, not where its maker keeps the files."""
    names = {str(value): name.upper() for name, value in vars(options).items() if isinstance(value, Path)}
    names |= {str(options.data): "PATH", str(options.out): "DIR"}
    if options.mlflow:
        names[options.mlflow] = "URI"

    def named(value: str) -> str:
        # A path may be written in many ways: ./films, films/.
        return names.get(value) or names.get(str(Path(value)) if value else "", value)

    def plain(argument: str) -> str:
        option, equals, value = argument.partition("=")
        if equals and option.startswith("--"):
            return f"{option}={named(value)}"
        return named(argument)

    return shlex.join(["python", "-m", "model.train", *map(plain, arguments)])


def manifest_of_folder(run: Run, labels: Path | None, config: Config) -> Path:
    """Write the manifest of the films in a folder into `run.out`, with links beside it, and return it.

    So every command works on it as on any manifest, and no path of this machine enters split or model. The
    paths are those of the folder: it is the manifest that `model.manifests folders` writes, and films that
    made a model are known by their paths.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no film, or a run that is to be resumed learned from others: nothing is changed then.
    """
    folder, manifest = run.manifest, run.out / FILMS / "manifest.csv"
    if idist.get_rank() == 0:
        known_labels = config.data.labels
        films = dicom_tree(folder, labels, known_labels) if labels else folder_per_class(folder, known_labels)
        if goes_on(run):
            with tempfile.TemporaryDirectory(prefix="cxr-resume-") as beside:
                write_manifest(Path(beside) / manifest.name, films)
                check_resume(config, replace(run, manifest=Path(beside) / manifest.name))
        if manifest.parent.is_symlink():
            # Earlier versions linked the whole folder: through it the links would land among the films.
            manifest.parent.unlink()
        link_films((film.path for film in films), folder, manifest.parent)
        write_manifest(manifest, films)
    idist.barrier()
    return manifest


def configure(options: argparse.Namespace) -> Config:
    """Return the config that the options name, with single options put in.

    Raises
    ------
    ValueError
        If two options name different configs, or a value makes no sense.
    """
    named = [options.config, options.preset, options.classes]
    if sum(value is not None for value in named) > 1:
        raise ValueError("give one of --config, --preset and --classes")
    if options.config:
        config = load_config(options.config)
    else:
        config = PRESETS[options.preset or CLASSES.get(options.classes, "one-head")]()
    for part, names in COMMON.items():
        given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        config = replace(config, **{part: replace(getattr(config, part), **given)})
    if options.exclude:
        left_out = {**config.data.left_out_films, **read_exclusions(options.exclude)}
        config = replace(config, data=replace(config.data, left_out_films=left_out))
    return with_network(config, options.network, options.init is not None) if options.network else config


def with_network(config: Config, name: str, started: bool) -> Config:
    """Return the config with another network.

    What a preset asks of a published start is asked of no random one: batch norm would stay at its first
    values, and half of the weights would be noise.

    Parameters
    ----------
    config
        What is trained.
    name
        The network.
    started
        Whether it starts from the backbone of another model.
    """
    pretrained = entry(name).load_start is not None
    network = replace(config.network, name=name, pretrained=pretrained)
    if pretrained or started or not (network.frozen_norm or config.schedule.blend < 1):
        return replace(config, network=network)
    log.warning("%s starts from random weights: its batch norm is learned, none of its start is kept", name)
    return replace(
        config, network=replace(network, frozen_norm=False), schedule=replace(config.schedule, blend=1.0)
    )


def carry_out(options: argparse.Namespace, config: Config, run: Run) -> int:
    """Draw the contact sheet, or check, train and evaluate; return the exit code."""
    if options.dry_run:
        config, run = reduced(config, run)
    if options.contact_sheet:
        films = choose_films(config, run)["train"]
        contact_sheet(config, run.manifest.parent, films, options.contact_sheet)
        log.info("contact sheet written to %s", options.contact_sheet)
        return 0
    if not options.no_check and not goes_on(run):
        report_checks(config, run, None if options.dry_run else options.cache)
    folder = train(config, run)
    if idist.get_rank() != 0:
        return 0
    if folder is None:
        log.info("stopped after epoch %s; --resume goes on", run.stop_after)
        return 0
    report = run.out / "report" if options.dry_run else options.report
    if report is not None:
        evaluate(run, report)
    if options.dry_run:
        log.info("dry run passed: two batches, calibration, model folder and report; nothing was kept")
    else:
        log.info("model written to %s. For research and teaching only, not for diagnosis.", folder)
    return 0


def report_checks(config: Config, run: Run, cache: Path | None) -> None:
    """Print what is wrong with the films, and keep it as ``checks.json``.

    Raises
    ------
    ValueError
        If something makes training wrong or impossible.
    """
    chosen = choose_films(config, run)
    if idist.get_rank() != 0:
        return
    films = [film for members in chosen.values() for film in members]
    subset_of = {film.path: subset for subset, members in chosen.items() for film in members}
    report = checks.check(films, run.manifest.parent, subset_of, cache)
    checks.write_report(report, run.out / "checks.json")
    print(report.in_words(), flush=True)
    if report.errors:
        raise ValueError(f"{'; '.join(report.errors)}, see {run.out / 'checks.json'}")


def evaluate(run: Run, out: Path) -> None:
    """Score the test films by `model.evaluate`, as its command would."""
    from model import evaluate as scorer

    # Without test films the others are better than no report; the report says which they are.
    subsets = set(data.read_split(run.out / SPLIT).values())
    subset = "test" if "test" in subsets else "validation"
    scorer.main([
        "--model", str(run.out / "model"), "--data", str(run.manifest), "--split", str(run.out / SPLIT),
        "--subset", subset, "--out", str(out),
    ])  # fmt: skip


def reduced(config: Config, run: Run) -> tuple[Config, Run]:
    """Return config and run with a few films of every subset, for two batches of everything."""
    chosen = choose_films(config, run)
    split: dict[str, str] = {}
    for subset, films in chosen.items():
        times = Counter[tuple[str, str]]()
        for film in films:
            times[film.source, film.label] += 1
            if times[film.source, film.label] <= DRY_FILMS:
                split[film.path] = subset
    few = run.out / "dry-split.csv"
    data.write_split(few, split)
    schedule = replace(config.schedule, epochs=1, steps=2, workers=0)
    return replace(config, schedule=schedule), replace(
        run, split=few, folds=None, resume=False, stop_after=None
    )
