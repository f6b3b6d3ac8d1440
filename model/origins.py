"""Where public films come from and on what terms, for the licence file of weights that learned from them."""

from collections.abc import Mapping, Set
from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """One collection of films."""

    title: str
    """Its name, as its makers give it."""
    cite: str
    """Who is to be cited."""
    terms: str
    """Its licence or terms, as it states them."""
    kin: tuple[str, ...] = ()
    """Other sources that hold films of the same hospitals: one family with this one."""
    composite: bool = False
    """Whether its films with and without COVID-19 were brought together from different places."""


_NIH = "Wang et al. 2017, arXiv:1705.02315"
ORIGINS: Mapping[str, Origin] = {
    "rsna": Origin(
        "RSNA Pneumonia Detection Challenge 2018, over NIH ChestX-ray14",
        f"Shih et al. 2019, doi:10.1148/ryai.2019180041; {_NIH}",
        "RSNA's page: academic, commercial or non-commercial use with attribution to RSNA and the NIH "
        "Clinical Center; copies from Kaggle are under the rules of that competition, taken as research only",
        kin=("darkcovidnet", "nih", "radiography"),
    ),
    "darkcovidnet": Origin(
        "DarkCovidNet collection (muhammedtalo/COVID-19), from covid-chestxray-dataset and NIH ChestX-ray14",
        "Ozturk et al. 2020, doi:10.1016/j.compbiomed.2020.103792",
        "none stated; those of covid-chestxray-dataset and NIH ChestX-ray14 hold",
        kin=("cohen", "rsna", "nih", "radiography"),
        composite=True,
    ),
    "cohen": Origin(
        "covid-chestxray-dataset",
        "Cohen et al. 2020, arXiv:2006.11988",
        "film by film, many non-commercial, share-alike or without derivatives",
        kin=("darkcovidnet", "radiography"),
    ),
    "radiography": Origin(
        "COVID-19 Radiography Database",
        "Chowdhury et al. 2020, doi:10.1109/ACCESS.2020.3010287; "
        "Rahman et al. 2021, doi:10.1016/j.compbiomed.2021.104319",
        "academic and non-commercial use, both to be cited",
        # Its authors: normal films of RSNA's challenge and of Guangzhou, COVID-19 of many places.
        kin=("rsna", "nih", "cohen", "darkcovidnet", "hannover", "chest_child"),
        composite=True,
    ),
    "hannover": Origin(
        "COVID-19 Image Repository, Hannover Medical School",
        "Winther et al. 2020, doi:10.6084/m9.figshare.12275009",
        "CC BY 3.0",
        kin=("radiography",),
    ),
    "nih": Origin(
        "NIH ChestX-ray14, also by way of RSNA's challenge and of DarkCovidNet",
        _NIH,
        "attribution to the NIH Clinical Center; RSNA's challenge: attribution; its copies, Kaggle's rules",
        kin=("rsna", "darkcovidnet", "radiography"),
    ),
    "chest_child": Origin(
        "Chest X-rays of children, Guangzhou Women and Children's Medical Center",
        "Kermany et al. 2018, doi:10.17632/rscbjbr9sj",
        "CC BY 4.0",
        kin=("radiography",),
    ),
}
"""Collections by the name of the source in a manifest, or by how the name of a folder of pictures begins."""

UNKNOWN = Origin("not named here", "not known", "not known here: taken as research only")
IMAGENET = Origin(
    "ImageNet-1k, by way of the weights that training started from",
    "Russakovsky et al. 2015, doi:10.1007/s11263-015-0816-y",
    "non-commercial research and education",
)
UNNAMED = "all"
"""What a model's counts of films call a source that the manifest did not name."""
NAMELESS = "films that name no source"
"""What texts call it."""


def collection_of(name: str) -> str:
    """Return the name in `ORIGINS` of a source's collection; of one not named there, its own."""
    return next((start for start in ORIGINS if name == start or name.startswith(f"{start}_")), name)


def source_and_label(counted: str) -> tuple[str, str]:
    """Return both of a ``source:label`` of a model's counts of films; no source where none was named."""
    source, label = counted.rsplit(":", 1)
    return "" if source == UNNAMED else source, label


def origin_of(name: str) -> Origin:
    """Return the collection that a source, a family of sources or a folder of pictures belongs to."""
    return ORIGINS.get(collection_of(name), UNKNOWN)


def from_different_places(covid: Set[str], rest: Set[str]) -> bool:
    """Return whether the place may tell the class: films of one come from elsewhere than those of the other.

    Parameters
    ----------
    covid, rest
        Sources of the films with COVID-19 and of the others; a source of both may itself have been put
        together from several places. Where either is empty there is nothing to tell.
    """
    composite = any(origin_of(source).composite for source in covid & rest)
    return bool(covid and rest and (covid != rest or composite))


def family_of(name: str) -> set[str]:
    """Return the names of the collections that share hospitals with a source, its own among them."""
    return {collection_of(name), *origin_of(name).kin}
