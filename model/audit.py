"""``python -m model.audit``: look for answers by where a film was taken rather than by what it shows."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model import own_network, processor
from model.audit_html import write_audit_page
from model.bootstrap import Figure, to_json
from model.checkpoint import RELEASE, Model, load_model
from model.command_edge import count, one_line_errors
from model.evaluate import Request, choose, request_of, scored_by
from model.evaluation_sets import REST, units_of
from model.fold_files import summarise
from model.manifest import EXPECTED, Film, read_manifest
from model.metrics import Bool, Units
from model.plots import NOTE
from model.shortcuts.changes import BORDER, CHANGES, CORNER
from model.shortcuts.checks import (
    Ages,
    age_figures,
    border_figures,
    by_source,
    family_figures,
    letter_figures,
    permutation_figures,
    source_figures,
)  # fmt: skip
from model.shortcuts.looks import Looks, Material, look
from model.shortcuts.rules import RULES, alarms, described

log = logging.getLogger(__name__)

FILMS = 2000
CHILD = "child"


def draw(units: Units, sources: Sequence[str], most: int, seed: int = 0) -> Bool:
    """Return a seeded choice of whole patients with at most so many films, from all sources alike.

    What a small source cannot give is shared by the others. Of films drawn without regard to their source a
    large collection would leave too few of a small one, which may be the only one with both classes.

    Parameters
    ----------
    units
        The patients or groups of the films.
    sources
        The source of each film; a patient of several is drawn with the smallest of them, or a collection
        that took the films of a small one would leave nothing of it.
    most
        Most films.
    seed
        Of the draw.
    """
    _, source_N, films_S = np.unique(sources, return_inverse=True, return_counts=True)
    smallest_first = np.argsort(films_S[source_N], kind="stable")
    numbers, first, times = np.unique(units.number_N[smallest_first], return_index=True, return_counts=True)
    source_U = np.array(sources)[smallest_first][first]
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    left = most
    names, sizes = np.unique(np.repeat(source_U, times), return_counts=True)
    for turn, row in enumerate(np.argsort(sizes, kind="stable")):
        (its_own,) = np.nonzero(source_U == names[row])
        order = generator.permutation(its_own)
        upto = np.cumsum(times[order])
        fits = upto <= left // (len(names) - turn)
        chosen += numbers[order[fits]].tolist()
        left -= int(times[order[fits]].sum())
    inside: Bool = np.isin(units.number_N, chosen)
    return inside


def material_of(model: Model, request: Request, most: int, seed: int = 0) -> Material:
    """Return the films of an audit and what the model makes of each under every change.

    Raises
    ------
    ValueError
        If no film is left, or all are of one class.
    dicom_io.errors.UnreadablePixels
        If a film cannot be read or is too small.
    """
    films, units, _ = choose(model, request)
    covid_label = model.config.data.covid_label
    chosen_N = draw(units, [film.source for film in films], most, seed)
    films = [film for film, inside in zip(films, chosen_N, strict=True) if inside]
    covid = sum(film.label == covid_label for film in films)
    if not 0 < covid < len(films):
        raise ValueError(
            f"{request.manifest.name}: {covid} of {len(films)} films show COVID-19, expected both classes"
        )
    looks = look(model, request.manifest.parent, films, tuple(CHANGES))
    return Material(films, units.subset(chosen_N), looks, covid_label)


def ages_of(model: Model, request: Request, material: Material, most: int, seed: int = 0) -> Ages | None:
    """Return children without COVID-19 beside the adults of their sources; None where there are none.

    Children are left out of every other figure; in a split they are in no subset, so all are taken.
    """
    everything = read_manifest(request.manifest, model.config.data.labels)
    data = model.config.data
    adults = set(material.source.tolist())
    children = [
        film
        for film in everything
        if film.age_group == CHILD
        and film.source in adults
        and film.label not in (data.covid_label, *data.left_out_labels)
        and film.view not in data.left_out_views
        and not film.ambiguous
    ]
    if not children:
        return None
    row = {film.path: number for number, film in enumerate(everything)}
    all_units = units_of(everything)
    rows = [row[film.path] for film in children]
    child_units = Units(all_units.number_N[rows], all_units.named_N[rows])
    taken_N = draw(child_units, [film.source for film in children], most, seed)
    children = [film for film, taken in zip(children, taken_N, strict=True) if taken]
    part = material.subset(np.isin(material.source, [film.source for film in children]))
    seen = look(model, request.manifest.parent, children, ("whole",))["whole"]
    return _joined(part, children, child_units.subset(taken_N), seen)


def _joined(adults: Material, children: Sequence[Film], units: Units, seen: Looks) -> Ages:
    whole = adults.looks["whole"]
    looks = Looks(
        np.concatenate([whole.features_NC, seen.features_NC]), np.concatenate([whole.odds_N, seen.odds_N])
    )
    both = Units(
        np.concatenate([adults.units.number_N, units.number_N]),
        np.concatenate([adults.units.named_N, units.named_N]),
    )
    material = Material([*adults.films, *children], both, {"whole": looks}, adults.covid_label)
    return Ages(material, np.repeat([False, True], [len(adults.films), len(children)]))


def audit(material: Material, ages: Ages | None, families: Sequence[Path] = ()) -> dict[str, Figure]:
    """Return every figure of an audit by its name.

    Parameters
    ----------
    material
        The films.
    ages
        Children and adults, where the manifest knows them.
    families
        Folders that ``model.evaluate`` wrote for the model of each family held out.
    """
    held_out = [summarise(families)[REST].mean["roc_auc"]] if families else []
    return (
        border_figures(material)
        | letter_figures(material)
        | permutation_figures(material)
        | source_figures(material)
        | age_figures(ages)
        | family_figures(held_out)
    )


def report_of(
    figures: dict[str, Figure], model: Model, request: Request, material: Material
) -> dict[str, Any]:
    """Return what ``audit.json`` holds: each figure by its name, and under ``details`` the rules."""
    details = {
        **scored_by(model, request),
        "films": len(material.films),
        "border": BORDER,
        "corner": CORNER,
        "rules": described(figures),
        "red": alarms(figures),
        "by_source": {source: to_json(found) for source, found in by_source(material).items()},
    }
    return {**to_json({f"audit_{name}": figure for name, figure in figures.items()}), "details": details}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(prog="python -m model.audit", description=__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=RELEASE, metavar="DIR", help="model folder; the shipped one by default")
    add("--network-file", **own_network.OPTION)
    add("--data", type=Path, required=True, metavar="MANIFEST", help=EXPECTED)
    add(
        "--split", type=Path, metavar="FILE",
        help="split file, of which the test films are taken; on the manifest it was trained on, a model "
        "keeps to its own",
    )  # fmt: skip
    add("--out", type=Path, required=True, metavar="DIR", help="folder for audit.json and audit.html")
    add("--films", type=int, default=FILMS, metavar="N", help=f"most films, whole patients ({FILMS})")
    add(
        "--families", type=Path, nargs="+", default=[], metavar="DIR",
        help="folders that model.evaluate wrote for the model of each family held out",
    )  # fmt: skip
    add("--seed", type=int, default=0, help="seed of the choice of films (0)")
    add("--threads", type=count, help="threads of PyTorch")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    processor.prepare(options.threads)
    with one_line_errors(parser):
        own_network.enter(options.network_file)
        model = load_model(options.model)
        request = request_of(model, options.model, options.data, options.split)
        material = material_of(model, request, options.films, options.seed)
        ages = ages_of(model, request, material, options.films, options.seed)
        figures = audit(material, ages, options.families)
        report = report_of(figures, model, request, material)
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "audit.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        write_audit_page(options.out / "audit.html", report)
    for name, figure in figures.items():
        print(f"audit_{name}: {figure}")
    for sentence in report["details"]["red"]:
        print(f"RED: {sentence}")
    if not report["details"]["red"]:
        print(f"no rule of {len(RULES)} is broken")
    print(NOTE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
