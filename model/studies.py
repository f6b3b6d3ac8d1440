"""The runs behind the release's figures, as tables: films, questions, networks and schedules."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.config import (
    Config,
    HeadConfig,
    NetworkConfig,
    ScheduleConfig,
    TransformConfig,
    one_head,
    teaching,
    three_class,
    to_dict,
    two_heads,
)
from model.evaluation_sets import AGAINST_DISEASE, AGAINST_NORMAL, REST

EVERY_FAMILY = ("cohen", "darkcovidnet", "hannover", "radiography", "rsna")
CLASSES = "classes"
"""The question of a study whose model calls one of several classes."""


@dataclass(frozen=True)
class Study:
    """One question put to some films, with a model of its own for each fold."""

    heads: str
    """``binary``, ``three-class``, ``two-heads``, or ``first-head`` of those two."""
    sources: tuple[str, ...]
    """Sources of the manifest that take part."""
    labels: tuple[str, ...] = ()
    """Labels that take part; empty takes all."""
    folds: int = 0
    """Number of folds; 0 trains once and tests the families that are held out."""
    folded: tuple[str, ...] = ()
    """Sources whose films are dealt to the folds; empty deals all."""
    grouped: bool = True
    """Whether patients and groups stay together; the published protocol knows neither."""
    held_out: tuple[str, ...] = ()
    """Sources that no training film comes from."""

    @property
    def models(self) -> str:
        """Return in words what judged the study's films."""
        heads = {
            "first-head": "the head abnormal alone",
            "two-heads": "both heads",
            "binary": "one head",
            "three-class": "three classes",
        }[self.heads]
        number = "models of their own" if self.folds else "a model of its own"
        return f"{number}, not the released weights: {heads}"


BENCHMARK = ("darkcovidnet",)
TWO = ("covid", "normal")
THREE = ("covid", "normal", "pneumonia")
STUDIES: Mapping[str, Study] = {
    "darkcovidnet-binary": Study("binary", BENCHMARK, TWO, folds=5, grouped=False),
    "darkcovidnet-binary-grouped": Study("binary", BENCHMARK, TWO, folds=5),
    "darkcovidnet-three-class": Study("three-class", BENCHMARK, THREE, folds=5, grouped=False),
    "darkcovidnet-three-class-grouped": Study("three-class", BENCHMARK, THREE, folds=5),
    "within-cohen": Study("two-heads", ("cohen", "rsna"), folds=5, folded=("cohen",)),
    "held-out-cohen": Study(
        "first-head",
        EVERY_FAMILY,
        held_out=("cohen", "hannover", "radiography"),
    ),
    "held-out-radiography": Study("two-heads", EVERY_FAMILY, held_out=("hannover", "radiography")),
}
"""The studies by name. Ozturk 2020 (doi:10.1016/j.compbiomed.2020.103792) deals films, not patients."""


@dataclass(frozen=True)
class Wanted:
    """A figure of the release, and where it is found."""

    study: str
    """Name in `STUDIES`."""
    question: str
    """One of `model.evaluation_sets`, or `CLASSES`."""
    metric: str
    """Name of the figure in that set."""
    source: str = ""
    """The source whose films are scored; empty scores all."""
    head: str = ""
    """The head whose own answer ranks the films; empty takes the probability of COVID-19."""


WANTED: Mapping[str, Wanted] = {
    "darkcovidnet_binary_accuracy": Wanted("darkcovidnet-binary", REST, "accuracy"),
    "darkcovidnet_binary_accuracy_grouped": Wanted("darkcovidnet-binary-grouped", REST, "accuracy"),
    "darkcovidnet_three_class_accuracy": Wanted("darkcovidnet-three-class", CLASSES, "accuracy"),
    "darkcovidnet_three_class_accuracy_grouped": Wanted(
        "darkcovidnet-three-class-grouped", CLASSES, "accuracy"
    ),
    "within_cohen_auc": Wanted("within-cohen", AGAINST_DISEASE, "roc_auc", "cohen"),
    "within_cohen_auc_covid_head": Wanted(
        "within-cohen", AGAINST_DISEASE, "roc_auc", "cohen", "covid_given_abnormal"
    ),
    "held_out_cohen_auc": Wanted("held-out-cohen", REST, "roc_auc", "cohen"),
    "ece_out_of_family": Wanted("held-out-cohen", REST, "ece", "cohen"),
    "held_out_radiography_auc": Wanted("held-out-radiography", AGAINST_NORMAL, "roc_auc", "radiography"),
    "held_out_hannover_sensitivity": Wanted("held-out-radiography", REST, "sensitivity", "hannover"),
}
"""The figures by their names in ``metrics.json``."""


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained."""

    network: NetworkConfig
    transforms: TransformConfig
    benchmark: ScheduleConfig
    """For the studies on darkcovidnet's films, which are few."""
    families: ScheduleConfig
    """For the studies that hold families or parts of cohen out."""
    benchmark_transforms: TransformConfig | None = None
    """How films come in for the former; None takes `transforms`."""


RELEASED = "efficientnet-lite0"
"""The network of the released model; its recipe for families is the preset's."""

_RELEASE = two_heads()
_TEACHING = teaching()
_FINE = ScheduleConfig(
    epochs=12, steps=30, backbone_rate=1e-3, head_rate=1e-3, average=0.97, probe=0.1, patience=4
)
# darkcovidnet's films are larger than rsna's, and there are twenty runs to make on them.
_SMALL = TransformConfig(film_px=160, input_px=160)
_FRESH = ScheduleConfig(epochs=6, steps=50, backbone_rate=1e-3, head_rate=1e-3)
# Ozturk 2020: 100 epochs in batches of 32 at a peak rate of 3e-3; patience ends earlier what no longer gains.
_OZTURK = ScheduleConfig(
    epochs=40, steps=16, backbone_rate=3e-3, head_rate=3e-3, average=0.9, label_smoothing=0.0, patience=8
)
RECIPES: Mapping[str, Recipe] = {
    RELEASED: Recipe(_RELEASE.network, _RELEASE.transforms, _FINE, _RELEASE.schedule, _SMALL),
    "darkcovidnet": Recipe(
        NetworkConfig("darkcovidnet", dropout=0.0, drop_connect=0.0, pretrained=False),
        TransformConfig(film_px=256, input_px=256),
        _OZTURK,
        replace(_OZTURK, epochs=12, steps=50),
    ),
    "efficientnet-lite2": Recipe(
        replace(_RELEASE.network, name="efficientnet-lite2"),
        _RELEASE.transforms,
        _FINE,
        _RELEASE.schedule,
        _SMALL,
    ),
    "teaching-cnn": Recipe(_TEACHING.network, _TEACHING.transforms, _TEACHING.schedule, _TEACHING.schedule),
    "densenet121": Recipe(
        NetworkConfig("densenet121", drop_connect=0.0, pretrained=False),
        # Five times the work of Lite0 on each film.
        replace(_RELEASE.transforms, input_px=160),
        _FRESH,
        _FRESH,
    ),
}
"""Networks by name; the first is released, the second is the baseline."""


def heads_of(study: Study) -> Config:
    """Return a config that has the study's heads, and nothing else that matters."""
    if study.heads == "first-head":
        return replace(_RELEASE, heads=(replace(_RELEASE.heads[0], share=1.0),))
    return {"binary": one_head, "three-class": three_class, "two-heads": two_heads}[study.heads]()


def config_of(study: Study, name: str, quick: bool = False) -> Config:
    """Return the whole config of a study with the network of that name.

    A quick one has two batches in one epoch: it shows that everything runs, and its figures mean nothing.

    Raises
    ------
    ValueError
        If no recipe has that name.
    """
    if name not in RECIPES:
        raise ValueError(f"expected a network with a recipe ({', '.join(RECIPES)}), came {name!r}")
    recipe, base = RECIPES[name], heads_of(study)
    schedule, transforms = recipe.families, recipe.transforms
    if study.sources == BENCHMARK:
        schedule, transforms = recipe.benchmark, recipe.benchmark_transforms or recipe.transforms
    calibrates = tuple(source for source in ("radiography",) if source in study.held_out)
    data = replace(base.data, held_out_sources=study.held_out, calibration_sources=calibrates)
    return replace(
        base,
        name=f"{name}-study",
        heads=tuple(_within(head, study) for head in base.heads),
        data=data,
        network=recipe.network,
        transforms=transforms,
        schedule=replace(schedule, epochs=1, steps=2) if quick else schedule,
    )


def recipe_sha256(config: Config) -> str:
    """Return a hash of a study's configuration, whatever films were left out by name."""
    whole = replace(config, data=replace(config.data, left_out_films={}))
    return hashlib.sha256(json.dumps(to_dict(whole), sort_keys=True).encode()).hexdigest()


def recipe_of_today(study: str, network: str) -> str | None:
    """Return `recipe_sha256` of a study as it would run now; None where study or network is gone."""
    if study not in STUDIES or network not in RECIPES:
        return None
    return recipe_sha256(config_of(STUDIES[study], network))


def _within(head: HeadConfig, study: Study) -> HeadConfig:
    # A label without films here would be an empty class.
    kept = set(study.labels)
    if not kept:
        return head
    positive, negative = (
        tuple(label for label in side if label in kept) for side in (head.positive, head.negative)
    )
    return replace(head, positive=positive, negative=negative)
