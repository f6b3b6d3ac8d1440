"""An audit turns red where a known shortcut is, stays quiet where none is, and says by which figure."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from watchers import SIDE_PX, model_that_watches

from model import audit
from model.audit import main
from model.checkpoint import Model, load_model, save_model
from model.evaluate import Request, evaluate
from model.manifest import Film
from model.metrics import Units
from model.phantom import draw
from model.predictions import Predictions, write_predictions
from model.shortcuts import changes
from model.shortcuts.areas import AUC, Against, Effect, Loss, Macro, Within
from model.shortcuts.checks import Ages, age_figures, permutation_figures, source_figures
from model.shortcuts.looks import Looks, Material
from model.shortcuts.probes import permuted, probe_folds, splits
from model.shortcuts.rules import RULES, alarms

FIGURE = {"value", "low", "high", "n", "set", "method"}
PATIENTS = 60


def write_films(folder: Path, lettered: bool, children: int = 0) -> Path:
    """Phantoms of two sources, half of them COVID-19; with letters, each film with COVID-19 has one."""
    rows: list[dict[str, str]] = []
    for number in range(PATIENTS + children):
        label = "covid" if number < PATIENTS and number % 2 else "normal"
        image_HW = draw(label, number, side_px=SIDE_PX)
        if lettered and label == "covid":
            image_HW = changes.letter_added(image_HW)
        path = f"{number}.png"
        Image.fromarray((image_HW * 255).astype(np.uint8)).save(folder / path)
        age, source = "child" if number >= PATIENTS else "", f"hospital {number // 2 % 2}"
        rows.append(
            {
                "path": path,
                "label": label,
                "patient_id": f"p{number:03d}x",
                "source": source,
                "age_group": age,
            }
        )
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "manifest.csv"


Ran = tuple[dict[str, Any], str, Path]


def run(folder: Path, model: Model, *, lettered: bool) -> Ran:
    save_model(folder / "model", model)
    manifest = write_films(folder, lettered, children=20)
    out = folder / "out"
    assert main(["--model", str(folder / "model"), "--data", str(manifest), "--out", str(out)]) == 0
    return json.loads((out / "audit.json").read_text()), (out / "audit.html").read_text(), manifest


@pytest.fixture(scope="module")
def shortcut(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Positives carry a letter, and the model reads the corner where it stands."""
    return run(tmp_path_factory.mktemp("shortcut"), model_that_watches("corner"), lettered=True)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """No film carries a letter, and the model looks at the lungs."""
    model = model_that_watches("left lung", "right lung")
    return run(tmp_path_factory.mktemp("honest"), model, lettered=False)


def red(report: dict[str, Any]) -> set[str]:
    return {rule["figure"] for rule in report["details"]["rules"] if rule["red"]}


def test_a_model_that_reads_a_letter_turns_the_audit_red(shortcut: Ran) -> None:
    report, page, _ = shortcut

    assert report["audit_whole_auc"]["value"] > 0.85
    assert report["audit_corners_masked_auc"]["value"] < 0.6
    assert report["audit_letters_against_auc"]["value"] < 0.2
    assert report["audit_letter_effect_auc"]["value"] > 0.8
    assert {
        "audit_border_only_auc", "audit_border_only_within_sources_auc", "audit_border_only_probe_auc",
        "audit_corners_masked_loss", "audit_letters_against_loss", "audit_letter_effect_auc",
    } <= red(report)  # fmt: skip
    assert any("borders alone" in sentence for sentence in report["details"]["red"])
    assert page.count('class="warning"') == len(report["details"]["red"])
    assert 'class="red"' in page


def test_a_model_that_looks_at_the_lungs_stays_quiet(honest: Ran) -> None:
    report, page, _ = honest

    assert report["audit_whole_auc"]["low"] > 0.6, "a model that knows nothing would be quiet too"
    assert report["details"]["red"] == []
    assert "None of" in page
    assert 'class="red"' not in page


def test_every_figure_says_films_interval_and_method(honest: Ran) -> None:
    report, page, _ = honest

    figures = {name: values for name, values in report.items() if name != "details"}
    assert all(set(figure) == FIGURE for figure in figures.values())
    assert {f"audit_{rule.figure}" for rule in RULES} <= set(figures)
    undefined = {name for name, figure in figures.items() if figure["value"] is None}
    assert undefined == {"audit_held_out_families_auc"}
    assert "no results of families held out" in figures["audit_held_out_families_auc"]["method"]
    assert figures["audit_child_from_score_auc"]["n"] == PATIENTS // 2 + 20
    assert figures["audit_whole_auc"]["n"] == PATIENTS, "children are in no other figure"
    assert "60 patients" in figures["audit_whole_auc"]["method"]
    assert "<script" not in page
    assert "http" not in page.replace("https://", "http")


def test_the_evaluation_takes_the_audit_in(shortcut: Ran, tmp_path: Path) -> None:
    report, _, manifest = shortcut
    model = load_model(manifest.parent / "model")
    audited = manifest.parent / "out" / "audit.json"

    found = evaluate(model, Request(manifest, gallery=False, audit=audited), tmp_path)

    assert found["audit_border_only_auc"] == report["audit_border_only_auc"]
    page = (tmp_path / "report.html").read_text()
    assert '<h2 id="audit">' in page
    headline = page[page.index('id="headline"') : page.index('id="figures"')]
    assert "borders alone" in headline, "red stands at the top, not only in its section"


def test_an_audit_of_other_weights_is_refused(shortcut: Ran, tmp_path: Path) -> None:
    _, _, manifest = shortcut
    model = replace(load_model(manifest.parent / "model"), weights_sha256="another")

    with pytest.raises(ValueError, match=r"run model\.audit for this model"):
        evaluate(model, Request(manifest, audit=manifest.parent / "out" / "audit.json"), tmp_path)


def test_something_else_is_no_audit(shortcut: Ran, tmp_path: Path) -> None:
    _, _, manifest = shortcut
    (tmp_path / "audit.json").write_text("[]")

    with pytest.raises(ValueError, match=r"expected the audit\.json of model\.audit"):
        evaluate(
            load_model(manifest.parent / "model"), Request(manifest, audit=tmp_path / "audit.json"), tmp_path
        )


def test_films_of_one_class_are_refused(
    shortcut: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, manifest = shortcut
    lines = manifest.read_text().splitlines()
    alike = manifest.with_name("alike.csv")
    alike.write_text("\n".join([lines[0], *(line for line in lines if ",normal," in line)]))

    with pytest.raises(SystemExit) as ended:
        main(["--model", str(manifest.parent / "model"), "--data", str(alike), "--out", str(tmp_path)])

    assert ended.value.code == 2
    assert "0 of 30 films show COVID-19, expected both classes" in capsys.readouterr().err


def test_families_held_out_are_averaged_from_their_evaluations(
    shortcut: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, manifest = shortcut
    folders = []
    for number, scores in enumerate(([0.1, 0.2, 0.8, 0.9], [0.1, 0.9, 0.2, 0.8])):
        folder = tmp_path / f"family {number}"
        folder.mkdir()
        units = Units(np.arange(4) + 4 * number, np.ones(4, bool))
        labels, nowhere = ["normal", "normal", "covid", "covid"], [""] * 4
        paths = [f"{number}-{film}" for film in range(4)]
        said = Predictions(
            paths, labels, nowhere, nowhere, units, np.array(scores), 0.5, ["indeterminate"] * 4
        )
        write_predictions(folder / "predictions.csv", said, {})
        (folder / "metrics.json").write_text(json.dumps({"details": {"threshold_chosen_on": "others"}}))
        folders.append(str(folder))

    asked = ["--model", str(manifest.parent / "model"), "--data", str(manifest), "--out", str(tmp_path)]
    main([*asked, "--families", *folders])

    assert "audit_held_out_families_auc: 0.750" in capsys.readouterr().out


# What is done to films


@pytest.fixture
def film() -> NDArray[np.float32]:
    return draw("covid", 1, side_px=100)


def test_nothing_of_what_is_hidden_is_left(film: NDArray[np.float32]) -> None:
    other = film.copy()
    other[20:80, 20:80] = 1 - other[20:80, 20:80]
    np.testing.assert_array_equal(changes.border_only(film), changes.border_only(other))
    np.testing.assert_array_equal(changes.border_only(film)[:10], film[:10])

    other = film.copy()
    other[:10], other[:, -10:] = 0.7, 0.1
    np.testing.assert_array_equal(changes.centre_only(film), changes.centre_only(other))
    np.testing.assert_array_equal(changes.centre_only(film)[10:90, 10:90], film[10:90, 10:90])


def test_a_letter_stands_in_the_upper_right_corner_and_goes_with_it(film: NDArray[np.float32]) -> None:
    lettered = changes.letter_added(film)

    changed = np.argwhere(lettered != film)
    assert len(changed) > 10
    assert lettered.max() == 1
    assert changed[:, 0].max() < 20
    assert changed[:, 1].min() >= 80
    masked, before = changes.corners_masked(lettered), changes.corners_masked(film)
    assert np.abs(masked - before).max() < 0.1, "the median hardly knows the letter"
    assert np.ptp(masked[:20, 80:]) == 0
    np.testing.assert_array_equal(masked[20:80], film[20:80])


# Figures


def area_of_pairs(score: NDArray[Any], yes: NDArray[Any], pairs: Sequence[tuple[int, int]]) -> float:
    wins = [float(score[i] > score[j]) + 0.5 * float(score[i] == score[j]) for i, j in pairs]
    return float(np.mean(wins))


def test_areas_within_and_against_places_are_those_of_their_pairs() -> None:
    generator = np.random.default_rng(3)
    place = np.repeat([0, 1, 2], [20, 30, 25])
    yes = generator.random(75) < np.array([0.2, 0.5, 0.8])[place]
    score = np.round(generator.normal(size=75) + 0.5 * yes + 0.3 * place, 1)
    share = [yes[place == p].mean() for p in range(3)]
    pairs = [(int(i), int(j)) for i in np.flatnonzero(yes) for j in np.flatnonzero(~yes)]
    units, whole = Units.alone(75), np.ones((1, 75))

    within = Within(units, score, yes, place).figures(whole)[AUC][0]
    against = Against(units, score, yes, place).figures(whole)[AUC][0]

    inside = [[(i, j) for i, j in pairs if place[i] == place[j] == p] for p in range(3)]
    assert within == pytest.approx(np.mean([area_of_pairs(score, yes, some) for some in inside]))
    wrong = [(i, j) for i, j in pairs if share[place[i]] < share[place[j]]]
    assert against == pytest.approx(area_of_pairs(score, yes, wrong))


def test_an_area_over_no_pair_is_not_defined() -> None:
    units, yes = Units.alone(4), np.array([False, True, False, True])
    score, place = np.arange(4.0), np.array([0, 0, 1, 1])

    assert np.isnan(Against(units, score, yes, place).figures(np.ones((1, 4)))[AUC]).all()
    assert np.isnan(Within(units, score, yes, np.arange(4)).figures(np.ones((1, 4)))[AUC]).all()


def test_a_loss_is_the_difference_and_classes_are_averaged() -> None:
    units, whole = Units.alone(4), np.ones((1, 4))
    yes = np.array([False, False, True, True])

    loss = Loss(units, np.array([0.0, 1, 2, 3]), np.array([0.0, 2, 1, 3]), yes).figures(whole)[AUC][0]
    assert loss == pytest.approx(0.25)

    scores = np.array([[3.0, 0, 0], [0, 1, 0], [0, 0, 3], [0, 2, 3]])
    macro = Macro(units, scores, np.array([0, 1, 2, 2])).figures(whole)[AUC][0]
    assert macro == pytest.approx((1 + 2 / 3 + 1) / 3)


def test_an_effect_is_half_for_a_change_that_moves_nothing_however_the_halves_differ() -> None:
    units, half = Units.alone(40), np.arange(40) < 20
    before = half * 10.0 + np.random.default_rng(0).normal(size=40)

    def effect(after: NDArray[Any]) -> float:
        return float(Effect(units, before, after, half).figures(np.ones((1, 40)))[AUC][0])

    assert effect(before) == pytest.approx(0.5)
    assert effect(before + 100) == 1
    assert effect(before - 100) == 0


def material_of(odds: NDArray[Any], labels: Sequence[str], sources: Sequence[str]) -> Material:
    films = [
        Film(f"{n}.png", label, source=source)
        for n, (label, source) in enumerate(zip(labels, sources, strict=True))
    ]
    units = Units(np.arange(len(films)), np.ones(len(films), bool))
    apart = np.array([float(source == sources[0]) for source in sources])
    features = np.stack([odds, apart + np.random.default_rng(0).normal(0, 0.05, len(films))], axis=1)
    return Material(films, units, {"whole": Looks(features, odds)}, "covid")


def test_a_score_that_follows_the_source_is_worse_than_chance_against_it() -> None:
    generator = np.random.default_rng(0)
    here = np.arange(200) % 2 == 0
    covid = generator.random(200) < np.where(here, 0.8, 0.2)
    material = material_of(
        here + generator.normal(0, 0.1, 200), np.where(covid, "covid", "normal"), np.where(here, "a", "b")
    )

    found = source_figures(material)

    assert (found["source_probe_auc"].low or 0) > 0.95
    assert (found["source_from_score_auc"].low or 0) > 0.95
    assert found["source_guess_auc"].value == pytest.approx(0.8, abs=0.08)
    against = found["against_predicted_source_auc"]
    assert against.high is not None
    assert against.high < 0.1
    assert found["within_predicted_source_auc"].value == pytest.approx(0.5, abs=0.12)


def test_a_score_that_tells_children_turns_red_and_one_that_does_not_stays_quiet(honest: Ran) -> None:
    report, _, _ = honest
    child = np.arange(120) >= 80
    covid = np.arange(120) < 40
    labels = np.where(covid, "covid", "normal")
    noise = np.random.default_rng(1).normal(0, 1, 120)
    aware = age_figures(Ages(material_of(noise - 3 * child + covid, labels, ["a"] * 120), child))
    unaware = age_figures(Ages(material_of(noise + covid, labels, ["a"] * 120), child))
    quiet = {rule.figure: unaware["child_probe_auc"] for rule in RULES}
    quiet = {name: replace(figure, low=0.5, high=0.5, value=0.5) for name, figure in quiet.items()}
    quiet |= {"border_only_auc": replace(unaware["child_probe_auc"], value=0.5, low=0.45, high=0.55)}

    assert any("children from adults" in said for said in alarms(quiet | aware))
    assert not any("children" in said for said in alarms(quiet | unaware))
    assert (aware["against_children_auc"].value or 0) > (aware["against_adults_auc"].value or 1)
    assert report["audit_against_children_auc"]["n"] == PATIENTS // 2 + 20


def test_without_children_or_sources_figures_say_why_they_are_missing() -> None:
    assert "child" in age_figures(None)["child_probe_auc"].method
    alone = material_of(np.arange(4.0), ["covid", "normal"] * 2, ["a"] * 4)
    assert "fewer than two sources" in source_figures(alone)["source_probe_auc"].method


# Folds and permutations


def test_folds_never_part_a_patient() -> None:
    units = Units(np.repeat(np.arange(30), 3), np.ones(90, bool))
    label = (np.arange(90) // 3 % 2).astype(np.int64)

    found = splits(label, units)

    assert len(found) == 5
    for train, test in found:
        assert not set(units.number_N[train]) & set(units.number_N[test])
        assert 0 < label[test].mean() < 1


def test_a_class_of_one_patient_has_no_folds() -> None:
    units = Units(np.array([0, 1, 2, 2]), np.ones(4, bool))

    assert splits(np.array([0, 0, 1, 1]), units) == []
    assert probe_folds(np.zeros((4, 2)), np.array([0, 0, 1, 1]), units, "") == []


def test_permuted_labels_are_at_chance_although_films_of_a_patient_are_alike() -> None:
    generator = np.random.default_rng(5)
    patients = np.repeat(np.arange(80), 3)
    features = generator.normal(size=(80, 60))[patients] + generator.normal(0, 0.01, (240, 60))
    films = [Film(f"{n}.png", "covid" if patient % 2 else "normal") for n, patient in enumerate(patients)]
    units = Units(patients, np.ones(240, bool))
    material = Material(films, units, {"whole": Looks(features, features[:, 0])}, "covid")

    figure = permutation_figures(material)["permuted_labels_auc"]

    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < 0.5 < figure.high
    assert figure.value == pytest.approx(0.5, abs=0.08)


def test_a_small_source_is_audited_whole_and_no_patient_is_parted() -> None:
    sources = ["small"] * 30 + ["middle"] * 100 + ["large"] * 1000
    units = Units(np.arange(1130) // 2, np.ones(1130, bool))

    chosen_N = audit.draw(units, sources, 400)
    again_N = audit.draw(units, sources, 400, seed=1)

    counts = {name: int(chosen_N[np.array(sources) == name].sum()) for name in ("small", "middle", "large")}
    assert counts == {"small": 30, "middle": 100, "large": 270}
    assert (chosen_N[::2] == chosen_N[1::2]).all()
    assert (chosen_N != again_N).any()
    np.testing.assert_array_equal(chosen_N, audit.draw(units, sources, 400))
    assert audit.draw(units, sources, 1130).all()
    assert 0 < audit.draw(units, sources, 31)[np.array(sources) == "small"].sum() <= 10


def test_a_small_source_whose_films_a_large_one_took_is_drawn_whole() -> None:
    """Copies stand in one unit with their originals, and the large collection comes first."""
    sources = ["large"] * 300 + ["small"] * 20
    number_N = np.arange(320)
    number_N[300:] = number_N[:20]

    chosen_N = audit.draw(Units(number_N, np.ones(320, bool)), sources, 100)

    assert chosen_N[300:].all()
    assert chosen_N[:20].all()
    assert chosen_N.sum() == 100


def test_a_patients_films_keep_one_label_when_labels_are_permuted() -> None:
    units = Units(np.repeat(np.arange(10), 2), np.ones(20, bool))
    yes = units.number_N < 3

    shuffled = permuted(yes, units, 1)

    assert shuffled.sum() == yes.sum()
    assert (shuffled != yes).any()
    assert (shuffled[::2] == shuffled[1::2]).all()
