"""The report is one file that loads nothing, says what it must, and treats a manifest's names as text."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import page_in

from model.checkpoint import Model
from model.evaluate import Request, evaluate
from model.gallery import thumbnail, worst
from model.metrics import Scored, Units
from model.report_html import limits, warnings, write_report_html


@pytest.fixture(scope="module")
def folder(known_model: Model, families: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an evaluation with films in its report."""
    out = tmp_path_factory.mktemp("report")
    evaluate(known_model, Request(families), out)
    return out


def test_the_report_loads_nothing_from_elsewhere(folder: Path) -> None:
    page, text = page_in(folder)

    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert "@import" not in text
    assert "url(" not in text
    pictures = [base64.b64decode(a.split(",")[1]) for a in page.addresses if a.startswith("data:image/svg")]
    assert len(pictures) == 5
    for picture in pictures:
        # Names of the format's own vocabulary are no addresses that anything loads.
        assert not re.search(rb'(?:href|src)="(?!#|data:)', picture)


def test_the_report_says_what_it_must(folder: Path) -> None:
    page, _ = page_in(folder)
    found = json.loads((folder / "metrics.json").read_text())
    words = " ".join(page.text.split())

    for name in ("accuracy", "roc_auc", "pr_auc", "brier", "ece"):
        figure = found[name]
        assert f"{figure['value']:.3f}{figure['low']:.3f} to {figure['high']:.3f}" in words
    assert "n = 84; COVID-19 against the rest percentile bootstrap" in words
    assert "Nothing is guaranteed at a new hospital" in words
    assert "at most 10.0\xa0% of those with COVID-19 are called negative and at most 25.0\xa0%" in page.text
    assert "What these figures do not show" in words
    assert words.count("not for diagnosis") >= 2
    assert "elsewhere: COVID-19 against normal" in words
    assert "ECE by chance" in words
    assert "made up for a test" in words


def test_films_are_shown_in_the_report_unless_it_is_told_not_to(folder: Path, tmp_path: Path) -> None:
    page, _ = page_in(folder)
    films = [address for address in page.addresses if address.startswith("data:image/jpeg")]
    report = json.loads((folder / "metrics.json").read_text())
    write_report_html(tmp_path / "report.html", report, {"confusion_matrix": "data:image/png;base64,"}, None)
    bare = (tmp_path / "report.html").read_text()

    assert 0 < len(films) <= 12
    assert "data:image/jpeg" not in bare
    assert "Worst errors" not in bare
    # The films stand in the page alone.
    assert not list(folder.rglob("*.jp*g"))


def test_a_name_in_a_manifest_is_text_and_no_markup(
    known_model: Model, manifest_of: Any, tmp_path: Path
) -> None:
    name = '<script>alert("x")</script>'
    rows = [
        {"path": f"{n}.png", "label": "covid" if n % 2 else "normal", "source": name if n < 12 else "b"}
        for n in range(24)
    ]

    evaluate(known_model, Request(manifest_of(rows)), tmp_path / "out")

    text = (tmp_path / "out" / "report.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_too_few_films_are_called_too_few(known_model: Model, manifest_of: Any, tmp_path: Path) -> None:
    rows = [
        {
            "path": f"{n}.png",
            "label": "covid" if n in (0, 1, 25, 26, 27) else "normal",
            "source": "ab"[n > 20],
        }
        for n in range(40)
    ]

    evaluate(known_model, Request(manifest_of(rows)), tmp_path / "out")

    page, _ = page_in(tmp_path / "out")
    assert "too few (2)" in page.text
    assert "too few (3)" in page.text
    assert "A class has fewer than 10 films" in page.text


def row(low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    area = {"value": None if low is None else 0.4, "low": low, "high": high, "method": "not defined: x"}
    share = {"value": more.pop("open_share", 0.1), "method": more.pop("method", "")}
    metrics = {"roc_auc": area, "abstain_rate": share}
    return {"metrics": metrics, "classes_from_different_sources": False, "too_few": False, **more}


@pytest.mark.parametrize(
    ("everything", "words"),
    [
        (row(0.3, 0.45), "below chance"),
        (row(0.6, 0.7, classes_from_different_sources=True), "come from different places"),
        (row(0.6, 0.7, open_share=0.31), "31% of the films open"),
        (row(0.6, 0.7, method="per image, too narrow"), "too narrow"),
        (row(0.6, 0.7, too_few=True), "fewer than 10"),
        (row(None, None), "not defined: x"),
    ],
)
def test_what_must_not_be_overlooked_is_a_warning(everything: dict[str, Any], words: str) -> None:
    (found,) = warnings({"COVID-19 against the rest": everything})

    assert words in found


def test_a_sound_evaluation_warns_of_nothing() -> None:
    assert warnings({"COVID-19 against the rest": row(0.6, 0.7)}) == []


def test_the_limits_count_the_films_of_places_never_seen() -> None:
    sets = {"families that neither trained nor calibrated the model": {"films": 12}}

    found = limits({"sets": sets}, {"films": 50, "covid": 20})

    assert any(sentence.startswith("12 of the 50 films") for sentence in found)
    assert any("40% have COVID-19" in sentence for sentence in found)


def test_the_limits_say_where_no_film_is_of_an_unseen_family() -> None:
    found = limits({"sets": {}}, {"films": 50, "covid": 20})

    assert any("None of the 50 films comes from a family" in sentence for sentence in found)


def test_the_worst_errors_are_those_furthest_on_the_wrong_side() -> None:
    p = np.array([0.1, 0.45, 0.9, 0.2, 0.8, 0.55])
    truth = np.array([True, True, True, False, False, False])

    missed, alarmed = worst(Scored(p, truth, Units.alone(6), 0.5))

    assert (missed, alarmed) == ([0, 1], [4, 5])


def test_a_thumbnail_is_the_film_made_small(families: Path) -> None:
    address = thumbnail(families.parent / "nih-normal-0.png")

    assert address.startswith("data:image/jpeg;base64,")
    assert base64.b64decode(address.split(",")[1])[:2] == b"\xff\xd8"
