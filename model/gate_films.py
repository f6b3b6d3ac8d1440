"""What a gate is fitted to: films and pictures by kind, family and patient, and the network's word on each.

Shapes: N films, F numbers of a summary.
"""

import io
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from model.checkpoint import Model
from model.evaluation_sets import units_of
from model.exclusions import reason_of
from model.film_reading import read_film
from model.folds import number_sets
from model.gate import CHILD, LATERAL, NOT_CHEST
from model.manifest import Film, read_manifest
from model.near_duplicates import close_pairs, difference_hash, state_of
from model.stages import Stages
from model.transforms import IMAGE, PICTURES, evaluation_transform
from model.whole_files import write_whole

ADULT = "adult"
FAMILY_OF = {"rsna": "nih", "nih14": "nih", "darkcovidnet": "cohen", "radiography:normal": "nih"}
"""Adults of one hospital under several names; a collection may have those of one label from another."""
FEWEST_ADULTS = 100
"""A family with fewer is counted with the other small ones: a single film would set a limit."""
SMALL_FAMILIES = "small families"
ADULTS_PER_FAMILY = 2500
"""More change no limit; a family with fewer weighs as much as one with more."""
CHILD_KINDS = "chest_child"
"""How the names of folders with children's chests begin."""
NEIGHBOURS = 20
"""Pictures that name no patient: so many neighbours in the order of names are held together."""
BATCH = 32

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GateFilm:
    """A film or picture, and what the gate should say of it."""

    path: str
    """Path below the folder of the manifest, or of the pictures to refuse."""
    kind: str
    """`ADULT`, or the part of the gate that should refuse it."""
    family: str
    """Where it comes from: a family of sources, or the kind of picture."""
    unit: str
    """Patient or group; films of one unit are never parted."""
    names_patient: bool
    """Whether the unit is a patient or a group that the manifest names."""
    neighbours: bool = False
    """Whether the unit is a guess, by the order of names: good for folds, and no patient."""
    turns: int = 0
    """Quarter turns: a turned limb is a limb."""


@dataclass(frozen=True)
class GateFilms:
    """N films with their summaries, in columns."""

    films: tuple[GateFilm, ...]
    summary_NF: NDArray[np.float32]
    """What the network saw in each, `model.stages`."""
    kind_N: NDArray[np.str_] = field(init=False)
    family_N: NDArray[np.str_] = field(init=False)
    unit_N: NDArray[np.int64] = field(init=False)
    counted_N: NDArray[np.bool_] = field(init=False)
    """Whether the film is one of those that figures speak of: not a turned copy."""

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "kind_N", np.array([film.kind for film in self.films]))
        put(self, "family_N", np.array([film.family for film in self.films]))
        put(self, "unit_N", np.unique([film.unit for film in self.films], return_inverse=True)[1])
        put(self, "counted_N", np.array([film.turns == 0 for film in self.films]))

    @property
    def families(self) -> list[str]:
        """Families with adult films."""
        return sorted(set(self.family_N[self.kind_N == ADULT].tolist()))


def from_manifest(
    films: Sequence[Film], seed: int, left_out: Mapping[str, str] | None = None
) -> list[GateFilm]:
    """Return children, laterals, and at most `ADULTS_PER_FAMILY` adults of each family, drawn by the seed.

    Films that are left out by name, such as negatives, are neither adults as they should be, nor not.
    """
    sources = {film.source for film in films}
    units = units_of(films)
    found: dict[tuple[str, str], list[GateFilm]] = defaultdict(list)
    for film, unit, named in zip(films, units.number_N, units.named_N, strict=True):
        if film.ambiguous or reason_of(film.path, left_out or {}):
            continue
        kind = LATERAL if film.view == "L" else CHILD if film.age_group == "child" else ADULT
        family = film.source if kind == CHILD else _family(film, sources)
        found[kind, family].append(GateFilm(film.path, kind, family, f"manifest-{unit}", bool(named)))
    for kind, family in sorted(found):
        if kind == ADULT and len(found[kind, family]) < FEWEST_ADULTS:
            few = found.pop((kind, family))
            found[kind, SMALL_FAMILIES] += [replace(film, family=SMALL_FAMILIES) for film in few]
    generator = np.random.default_rng(seed)
    chosen: list[GateFilm] = []
    for (kind, _), members in sorted(found.items()):
        order = generator.permutation(len(members))
        kept = order[:ADULTS_PER_FAMILY] if kind == ADULT else order
        chosen += [members[index] for index in sorted(kept)]
    return chosen


def _family(film: Film, sources: set[str]) -> str:
    # A collection that took films from another gives their patients the other's name.
    origin = film.patient_id.split("-")[0]
    source = origin if origin in sources or origin in FAMILY_OF else film.source
    return adult_family(source, film.label)


def adult_family(source: str, label: str) -> str:
    """Return the family that the adults of a source and label are counted with."""
    return FAMILY_OF.get(f"{source}:{label}") or FAMILY_OF.get(source, source or "unknown")


def from_folder(folder: Path) -> list[GateFilm]:
    """Return the pictures to refuse, a folder per kind; those that are no chests also turned.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = []
    for kind in sorted(path for path in folder.glob("*") if path.is_dir()):
        part = CHILD if kind.name.startswith(CHILD_KINDS) else NOT_CHEST
        paths = sorted(path for path in kind.iterdir() if path.suffix.lower() in PICTURES)
        for number, path in enumerate(paths):
            unit = f"{kind.name}-{number // NEIGHBOURS}"
            film = GateFilm(f"{kind.name}/{path.name}", part, kind.name, unit, False, neighbours=True)
            found += [replace(film, turns=turns) for turns in range(4 if part == NOT_CHEST else 1)]
    if not found:
        raise FileNotFoundError(f"no pictures in {folder}: expected a folder per kind, with PNG or JPEG")
    return found


def gather(model: Model, manifest: Path, folder: Path, cache: Path | None, seed: int) -> GateFilms:
    """Read the films and pass them through the network, or take the summaries from the cache.

    Raises
    ------
    FileNotFoundError, ValueError
        If manifest or folder is missing, or makes no sense.
    dicom_io.errors.UnreadablePixels
        If a film cannot be read.
    """
    listed = read_manifest(manifest, model.config.data.labels)
    chosen = from_manifest(listed, seed, model.config.data.left_out_films)
    films = [(manifest.parent, film) for film in chosen] + [(folder, film) for film in from_folder(folder)]
    films = children_together(films)
    known = _cached(cache, model.weights_sha256)
    keys = [f"{state_of(root / film.path)}#{film.turns}" for root, film in films]
    missing = [number for number, key in enumerate(keys) if key not in known]
    if missing:
        summaries = _summaries(model, [films[number] for number in missing])
        known |= dict(zip((keys[number] for number in missing), summaries, strict=True))
        _keep(cache, model.weights_sha256, known)
    return GateFilms(tuple(film for _, film in films), np.stack([known[key] for key in keys]))


def children_together(films: Sequence[tuple[Path, GateFilm]]) -> list[tuple[Path, GateFilm]]:
    """Return the films with one unit for children's chests that look alike: public collections share them.

    Films and pictures name their patients each in its own way, so that a copy would stand on both sides of a
    fold. Adults and pictures of no chest stay as they are.

    Raises
    ------
    dicom_io.errors.UnreadablePixels
        If a picture cannot be read.
    """
    children = [(root, film) for root, film in films if film.kind == CHILD]
    units = list(dict.fromkeys(film.unit for _, film in children))
    if not units:
        return list(films)
    hashes = [difference_hash(read_film(root, film.path)) for root, film in children]
    alike = close_pairs(np.array(hashes, np.uint64))
    index = {unit: number for number, unit in enumerate(units)}
    of_child = [index[film.unit] for _, film in children]
    numbers = number_sets(len(units), [(of_child[one], of_child[other]) for one, other, _ in alike])
    first: dict[int, str] = {}
    unit_of = {unit: first.setdefault(int(number), unit) for unit, number in zip(units, numbers, strict=True)}
    return [(root, replace(film, unit=unit_of.get(film.unit, film.unit))) for root, film in films]


def _cached(cache: Path | None, weights_sha256: str) -> dict[str, NDArray[np.float32]]:
    if cache is None or not cache.exists():
        return {}
    try:
        with cache.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["network"]) != weights_sha256:
                log.info("%s speaks of another network: made anew", cache.name)
                return {}
            return dict(zip(kept["keys"].tolist(), kept["summaries"], strict=True))
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        log.warning("%s cannot be used and is made anew: %s", cache.name, error)
        return {}


def _keep(cache: Path | None, weights_sha256: str, known: Mapping[str, NDArray[np.float32]]) -> None:
    if cache is None:
        return
    data = io.BytesIO()
    np.savez(data, network=weights_sha256, keys=list(known), summaries=np.stack(list(known.values())))
    write_whole(cache, data.getvalue())


def _summaries(model: Model, films: Sequence[tuple[Path, GateFilm]]) -> NDArray[np.float32]:
    transform, network = evaluation_transform(model.config.transforms), model.network.eval()
    stages, found = Stages(network), []
    with torch.inference_mode():
        for start in tqdm(range(0, len(films), BATCH), desc="looking", unit="batch", disable=None):
            batch_NCHW = torch.stack(
                [
                    transform(
                        {IMAGE: np.ascontiguousarray(np.rot90(read_film(root, film.path), film.turns))}
                    )[IMAGE]
                    for root, film in films[start : start + BATCH]
                ]
            )
            network.features(batch_NCHW.contiguous(memory_format=torch.channels_last))
            found.append(stages.take().numpy())
    return np.concatenate(found)
