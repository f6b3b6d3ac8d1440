"""Everything that decides what a model is, as frozen dataclasses that refuse nonsense.

Shapes in this package: N films, K heads, C channels, H rows, W columns. ``image_HW`` is one film,
``batch_NCHW`` a batch, ``logits_NK`` one logit per film and head, ``map_NHW`` a heat map per film.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from model.config_values import check_values

LABELS = ("covid", "pneumonia", "normal", "other", "negative", "unlabelled")
"""The labels of a manifest; anything else is an error, not a new class."""

PRECISIONS = ("float32", "bf16", "auto")
LINKS = ("sigmoid", "softmax")

RETIRED = {"decision": ("band_fraction",)}
"""Keys that older config files hold and that nothing reads any more."""

T = TypeVar("T")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


@dataclass(frozen=True)
class HeadConfig:
    """One yes-or-no question, asked only of films that share their origin."""

    name: str
    """Name of the head, as it stands in results."""
    positive: tuple[str, ...]
    """Labels that answer yes."""
    negative: tuple[str, ...]
    """Labels that answer no; a label in neither is not asked."""
    sources: tuple[str, ...] = ()
    """Sources whose films are asked; empty asks all."""
    exclude: tuple[str, ...] = ()
    """``source:label`` pairs that are not asked although source and label would fit."""
    share: float = 1.0
    """Part of each batch that answers this question, relative to the other heads."""
    prevalence: float = 0.5
    """Share of yes that the head's answer assumes when the heads are joined; training draws half of each."""

    def __post_init__(self) -> None:
        _require(bool(self.name), "a head needs a name")
        _require(bool(self.positive) and bool(self.negative), f"head {self.name}: needs both answers")
        _require(not set(self.positive) & set(self.negative), f"head {self.name}: a label answers yes and no")
        _require(self.share > 0, f"head {self.name}: share must be above 0, is {self.share}")
        sensible = 0 < self.prevalence < 1
        _require(sensible, f"head {self.name}: prevalence must lie between 0 and 1, is {self.prevalence}")


@dataclass(frozen=True)
class DataConfig:
    """Which films take part, and in which role."""

    labels: tuple[str, ...] = LABELS
    """Labels that a manifest may hold."""
    covid_label: str = "covid"
    """The label that counts as COVID-19 when the product of the heads is scored."""
    left_out_labels: tuple[str, ...] = ("unlabelled",)
    """Labels that are neither learned nor scored."""
    left_out_views: tuple[str, ...] = ("L",)
    """Views that are neither learned nor scored."""
    left_out_ages: tuple[str, ...] = ("child",)
    """Age groups that are neither learned nor scored."""
    left_out_films: Mapping[str, str] = field(default_factory=dict)
    """Reason of each film that is neither learned nor scored, named as in `model.exclusions`."""
    held_out_sources: tuple[str, ...] = ()
    """Sources that no training film comes from, nor any film that shares a patient or group with them."""
    calibration_sources: tuple[str, ...] = ()
    """Held-out sources of which a part calibrates; without any, the validation films calibrate."""
    calibration_fraction: float = 0.5
    """Part of the calibration sources that calibrates; the rest tests."""
    validation_fraction: float = 0.15
    """Part of the other films that chooses the epoch."""
    test_fraction: float = 0.15
    """Part of the other films that chooses nothing."""

    def __post_init__(self) -> None:
        for name in ("calibration_fraction", "validation_fraction"):
            value = getattr(self, name)
            _require(0 < value < 1, f"{name} must lie between 0 and 1, is {value}")
        _require(0 <= self.test_fraction < 1, f"test_fraction must lie in [0, 1), is {self.test_fraction}")
        _require(self.validation_fraction + self.test_fraction < 1, "no film would be left for training")
        stray = set(self.calibration_sources) - set(self.held_out_sources)
        _require(not stray, f"calibration sources must be held out: {sorted(stray)}")
        _require(self.covid_label in self.labels, f"covid_label {self.covid_label!r} is no label")


@dataclass(frozen=True)
class NetworkConfig:
    """One of the networks in `model.networks`, and how it is sized."""

    name: str = "efficientnet-lite0"
    """Name in the registry of `model.networks`."""
    width: float = 1.0
    """Factor on the number of channels, for networks that can be scaled."""
    depth: float = 1.0
    """Factor on the number of blocks, for networks that can be scaled."""
    dropout: float = 0.2
    """Dropout before the linear heads."""
    drop_connect: float = 0.2
    """Stochastic depth in training."""
    pretrained: bool = True
    """Start from ImageNet (the Lite networks only); needs the ``train`` extra, and only for training."""
    frozen_norm: bool = False
    """Batch normalisation keeps the averages of the start instead of learning those of the films."""

    def __post_init__(self) -> None:
        _require(self.width > 0 and self.depth > 0, "width and depth must be above 0")
        _require(0 <= self.dropout < 1 and 0 <= self.drop_connect < 1, "dropout rates must lie in [0, 1)")
        as_published = (self.width, self.depth) == (1.0, 1.0)
        _require(as_published or not self.pretrained, "there are ImageNet weights for width and depth 1 only")


@dataclass(frozen=True)
class TransformConfig:
    """How a film becomes the network's input."""

    film_px: int = 128
    """Every film is first reduced to this size, so that sharpness does not tell its source."""
    input_px: int = 160
    """Side of the network's square input."""
    rotate_deg: float = 12.0
    """Largest rotation in training."""
    shift: float = 0.08
    """Largest shift in training, as part of the side."""
    zoom: float = 0.15
    """Largest change of scale in training."""
    flip: float = 0.5
    """Probability of a left-right flip in training."""
    photometric: float = 0.5
    """Probability of each change of grey values, sharpness and noise in training."""
    erase: float = 0.5
    """Probability that rectangles are wiped in training: letters and devices must not carry the answer."""

    def __post_init__(self) -> None:
        _require(self.film_px >= 32, f"film_px must be at least 32, is {self.film_px}")
        _require(
            self.input_px >= 32 and self.input_px % 32 == 0, f"input_px must divide by 32, is {self.input_px}"
        )
        for name in ("flip", "photometric", "erase"):
            _require(0 <= getattr(self, name) <= 1, f"{name} is a probability, is {getattr(self, name)}")


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast the network learns."""

    seed: int = 0
    """Seed of the split, the weights, the draws and the augmentation."""
    epochs: int = 14
    """Most epochs; an epoch is ``steps`` batches, not a pass over the data."""
    steps: int = 50
    """Batches in an epoch."""
    batch: int = 32
    """Films in a batch."""
    backbone_rate: float = 3e-4
    """Peak learning rate of the convolutions."""
    head_rate: float = 3e-3
    """Peak learning rate of the linear heads."""
    weight_decay: float = 1e-2
    """AdamW's decay."""
    label_smoothing: float = 0.05
    """Targets are moved by half of this from 0 and 1: the sources' labels are not certain."""
    warmup: float = 0.1
    """Part of all steps in which the rate rises; it falls as a cosine after that."""
    average: float = 0.98
    """Decay per step of the running average of weights, which is what is validated and kept."""
    probe: float = 0.0
    """Ridge of the linear probe that the heads start as (see `model.probing`); 0 starts them at zero."""
    blend: float = 1.0
    """Part of what was learned that is kept; the rest of every weight stays what it was at the start."""
    patience: int = 5
    """Epochs without a better validation figure until training stops."""
    precision: str = "float32"
    """``float32``, ``bf16``, or ``auto``: bf16 where the processor computes in it."""
    balance: tuple[str, ...] = ("view",)
    """Columns of the manifest whose values are places: in each, every answer is drawn equally often."""
    workers: int = 1
    """Processes that prepare batches; their number decides the random draws, so it belongs to the run."""

    def __post_init__(self) -> None:
        for name in ("epochs", "steps", "batch", "patience"):
            _require(getattr(self, name) >= 1, f"{name} must be at least 1, is {getattr(self, name)}")
        _require(self.backbone_rate > 0 and self.head_rate > 0, "learning rates must be above 0")
        _require(0 < self.average < 1, f"average must lie between 0 and 1, is {self.average}")
        _require(self.probe >= 0, f"probe must be 0 or above, is {self.probe}")
        _require(0 <= self.blend <= 1, f"blend must lie in [0, 1], is {self.blend}")
        _require(
            self.precision in PRECISIONS, f"precision must be one of {PRECISIONS}, is {self.precision!r}"
        )
        stray = set(self.balance) - {"source", "view", "age_group"}
        _require(not stray, f"balance may name source, view and age_group, names {sorted(stray)}")
        _require(0 < self.warmup < 1, f"warmup must lie between 0 and 1, is {self.warmup}")


@dataclass(frozen=True)
class DecisionConfig:
    """How a probability becomes a decision."""

    alpha_covid: float = 0.1
    """Largest share of COVID-19 films that may be called negative (class-conditional split conformal)."""
    alpha_rest: float = 0.1
    """Largest share of the other films that may be called positive."""
    most_abstained: float = 0.2
    """Largest share of either class that may be left open; where the alphas ask for more, both are raised."""
    prevalence: float | None = 0.5
    """Share of COVID-19 that the stated probability assumes; None keeps that of the calibration films.

    At 0.5 the probability tells what the film alone says: above 0.5 it speaks for COVID-19. In a
    hospital the share is lower, and the setting should be the share there.
    """
    cam_percentile: float = 99.0
    """Percentile over COVID-19 films of the map's largest value that becomes 1 on the fixed scale."""

    def __post_init__(self) -> None:
        for name in ("alpha_covid", "alpha_rest", "most_abstained"):
            _require(0 < getattr(self, name) < 1, f"{name} must lie in (0, 1), is {getattr(self, name)}")
        _require(self.prevalence is None or 0 < self.prevalence < 1, "prevalence must lie between 0 and 1")
        _require(0 < self.cam_percentile <= 100, "cam_percentile must lie in (0, 100]")


@dataclass(frozen=True)
class Config:
    """A whole model, apart from its weights."""

    heads: tuple[HeadConfig, ...]
    """The questions, or the classes; see `link`."""
    link: str = "sigmoid"
    """``sigmoid``: each head answers yes or no, and P(COVID-19) is the product of the answers, calibrated;
    ``softmax``: the heads are classes that exclude each other, and P(COVID-19) is that of its class."""
    name: str = "cxr-covid"
    """Name of the model, as results give it."""
    version: str = "0.1.0"
    """Version of the model, as results give it."""
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    transforms: TransformConfig = field(default_factory=TransformConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)

    def __post_init__(self) -> None:
        names = [head.name for head in self.heads]
        _require(bool(names), "a model needs at least one head")
        _require(len(set(names)) == len(names), f"two heads share a name: {names}")
        for head in self.heads:
            stray = {*head.positive, *head.negative} - set(self.data.labels)
            _require(not stray, f"head {head.name} uses labels that the data do not have: {sorted(stray)}")
            joined = self.link == "sigmoid" or head.prevalence == 0.5
            _require(joined, f"head {head.name}: classes that exclude each other have no prevalence")
        _require(self.link in LINKS, f"link must be one of {LINKS}, is {self.link!r}")
        if self.link == "softmax":
            self._check_classes()

    def _check_classes(self) -> None:
        positive = [label for head in self.heads for label in head.positive]
        _require(len(self.heads) > 1, "softmax needs at least two classes")
        _require(len(set(positive)) == len(positive), f"softmax: a label is in two classes: {positive}")
        _require(self.data.covid_label in positive, f"softmax: no class holds {self.data.covid_label!r}")
        for head in self.heads:
            rest = set(positive) - set(head.positive)
            _require(set(head.negative) == rest, f"softmax: class {head.name} must deny {sorted(rest)}")

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of the heads in the order of the logits."""
        return tuple(head.name for head in self.heads)

    @property
    def covid_class(self) -> int | None:
        """Number of the class that holds COVID-19; None where the heads are questions."""
        if self.link == "sigmoid":
            return None
        return next(k for k, head in enumerate(self.heads) if self.data.covid_label in head.positive)


def to_dict(config: Config) -> dict[str, Any]:
    """Return the config as plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(values: Mapping[str, Any]) -> Config:
    """Build a config from JSON values; missing keys take their defaults.

    Raises
    ------
    ValueError
        If a key is unknown or missing, or a value is of another type or makes no sense.
    """
    _require(isinstance(values, Mapping), f"config: expected an object, came {type(values).__name__}")
    parts = {
        "data": DataConfig,
        "network": NetworkConfig,
        "transforms": TransformConfig,
        "schedule": ScheduleConfig,
        "decision": DecisionConfig,
    }
    built: dict[str, Any] = dict(values)
    for key, kind in parts.items():
        if key in built:
            built[key] = _build(kind, built[key], key)
    heads = built.get("heads", ())
    _require(isinstance(heads, list | tuple), f"heads: expected a list, came {type(heads).__name__}")
    built["heads"] = tuple(_build(HeadConfig, head, "heads") for head in heads)
    return _build(Config, built, "config")


def _build(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    _require(isinstance(values, Mapping), f"{where}: expected an object, came {type(values).__name__}")
    known = {item.name for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known - set(RETIRED.get(where, ())))
    _require(not unknown, f"{where}: unknown key {unknown}, known: {sorted(known)}")
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    kept = {key: value for key, value in plain.items() if key in known}
    check_values(kind, kept, where)
    return kind(**kept)


def config_sha256(config: Config) -> str:
    """Return the hash of the config's canonical JSON; it names a model together with its weights' hash."""
    return values_sha256(to_dict(config))


def values_sha256(values: Mapping[str, Any]) -> str:
    """Return the hash of JSON values; of a stored config also where newer code knows further keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def load_config(path: Path) -> Config:
    """Read a config from a JSON file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no JSON, or no config (`from_dict`); the message names the file.
    """
    try:
        return from_dict(json.loads(path.read_text()))
    except ValueError as error:
        raise ValueError(f"{path.name}: expected a config as JSON: {error}") from error


def two_heads() -> Config:
    """Return the config of the released model: abnormal within rsna, COVID-19 given disease within cohen.

    darkcovidnet's COVID-19 films are cohen's in another size: they would tell the answer by their source.
    cohen's few normal films are asked neither question. Why these films, this size and so few steps:
    docs/decisions/0018.
    """
    abnormal = HeadConfig(
        name="abnormal",
        positive=("pneumonia", "other"),
        negative=("normal",),
        sources=("rsna",),
        share=0.65,
        prevalence=0.1,
    )
    covid = HeadConfig(
        name="covid_given_abnormal",
        positive=("covid",),
        negative=("pneumonia", "other"),
        sources=("cohen",),
        share=0.35,
    )
    return Config(
        heads=(abnormal, covid),
        version="0.2.0",
        data=DataConfig(held_out_sources=("radiography", "hannover"), calibration_sources=("radiography",)),
        network=NetworkConfig(frozen_norm=True, drop_connect=0.1),
        transforms=TransformConfig(film_px=128, input_px=288),
        schedule=ScheduleConfig(
            epochs=4,
            steps=30,
            backbone_rate=1.5e-4,
            head_rate=1e-4,
            warmup=0.2,
            average=0.95,
            probe=1.0,
            blend=0.5,
        ),
    )


def one_head() -> Config:
    """Return the config for a manifest of one's own: COVID-19 against every other label."""
    rest = ("pneumonia", "normal", "other", "negative")
    return Config(heads=(HeadConfig(name="covid", positive=("covid",), negative=rest),))


def three_class() -> Config:
    """Return the config of COVID-19, pneumonia and no finding as classes that exclude each other."""
    label_of = {"covid": "covid", "pneumonia": "pneumonia", "no_finding": "normal"}
    heads = tuple(
        HeadConfig(name, (label,), tuple(other for other in label_of.values() if other != label))
        for name, label in label_of.items()
    )
    return Config(heads=heads, link="softmax")


def teaching() -> Config:
    """Return the config that shows everything in minutes on two cores: a small network, COVID-19 or not."""
    return dataclasses.replace(
        one_head(),
        name="cxr-teaching",
        network=NetworkConfig(name="teaching-cnn", pretrained=False, drop_connect=0.0),
        transforms=TransformConfig(film_px=96, input_px=96),
        schedule=ScheduleConfig(epochs=8, steps=40, backbone_rate=2e-3, head_rate=2e-3, average=0.9),
    )


PRESETS = {"two-heads": two_heads, "one-head": one_head, "three-class": three_class, "teaching": teaching}
"""Configs by name."""
