"""A release is put together from a run's own files, speaks of these weights alone, and says what it lacks."""

import csv
import dataclasses
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parts import ROOT
from PIL import Image

from model import audit, evaluate, gate, phantom, ship
from model.checkpoint import CONFIG, RELEASE, WEIGHTS, Model, load_model
from model.config import Config, DataConfig, HeadConfig, to_dict
from model.folds import SPLIT
from model.gate import GATE, GATE_WEIGHTS, load_gate
from model.release_figures import EVALUATE, REPRODUCE, REQUIRED
from model.sheets import (
    BESIDE_RULES,
    SHEETS,
    aimed,
    among,
    cell,
    data_sources,
    kinds_of_files,
    networks,
    unasked,
)
from model.ship import METRICS
from model.studies import STUDIES, WANTED, config_of, recipe_sha256
from model.train import main as train
from model.train_command import parser as train_parser

HEADS = (
    HeadConfig(name="opacity", positive=("pneumonia",), negative=("normal",), sources=("rsna",)),
    HeadConfig(name="covid_given_abnormal", positive=("covid",), negative=("pneumonia",), sources=("cohen",)),
)
KINDS = (
    ("rsna", "pneumonia"), ("rsna", "normal"), ("cohen", "covid"), ("cohen", "pneumonia"),
    ("radiography", "covid"), ("radiography", "normal"), ("hannover", "covid"),
    ("elsewhere", "covid"),
)  # fmt: skip
STUDIED = [name for name, command in REQUIRED.items() if command == REPRODUCE]


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that the commands before left."""

    folder: Path

    def words(self, to: Path, *more: str, **instead: Path) -> list[str]:
        places = {
            "model": self.folder / "run" / "model",
            "evaluation": self.folder / "run" / "report" / "metrics.json",
            "gate": self.folder / "gate-of-it",
            "audit": self.folder / "audit" / "audit.json",
            "figures": self.folder / "figures.json",
            "to": to,
        }
        return [word for name, path in (places | instead).items() for word in (f"--{name}", str(path))] + [
            *more
        ]


def phantoms(folder: Path) -> Path:
    """Films of four sources, with some laterals and children."""
    rows = [
        {"path": f"{source}-{label}-{n}.png", "label": label, "source": source, "view": "PA"}
        | {"patient_id": f"{source}{label}{n}", "licence": "CC BY 3.0" if n % 2 else "mine | yours"}
        for source, label in KINDS
        for n in range(20)
    ]
    for n in range(24):
        for kind, column, value in (("side", "view", "L"), ("child", "age_group", "child")):
            row = {"path": f"{kind}-{n}.png", "label": "normal", "source": "radiography"}
            rows.append({**row, "patient_id": f"{kind}{n}", column: value})
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        names = ["path", "label", "patient_id", "source", "view", "age_group", "licence"]
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    generator, slope = np.random.default_rng(0), np.mgrid[0:64, 0:64][1] / 64

    def draw(name: str, film_HW: np.ndarray[Any, Any]) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((film_HW.clip(0, 1) * 255).astype(np.uint8)).save(folder / name)

    for n, row in enumerate(rows[: 20 * len(KINDS)]):
        draw(row["path"], phantom.draw(row["label"], n, side_px=64))
    for n in range(24):
        draw(f"side-{n}.png", slope + 0.05 * generator.standard_normal((64, 64)))
        draw(f"child-{n}.png", slope.T + 0.05 * generator.standard_normal((64, 64)))
        draw(f"pictures/chest_child_{n % 12}/{n}.png", slope.T + 0.05 * generator.standard_normal((64, 64)))
        draw(f"pictures/noise_{n % 12}/{n}.png", generator.random((64, 64)))
    return manifest


@pytest.fixture(scope="module")
def run(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small model, trained, evaluated, gated and audited by the commands themselves."""
    folder = tmp_path_factory.mktemp("released")
    manifest = str(phantoms(folder))
    held = DataConfig(
        held_out_sources=("radiography", "hannover", "elsewhere"), calibration_sources=("radiography",),
        validation_fraction=0.3, test_fraction=0.3,
    )  # fmt: skip
    schedule = dataclasses.replace(tiny_config.schedule, epochs=1)
    config = dataclasses.replace(tiny_config, heads=HEADS, data=held, schedule=schedule)
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    out, model = folder / "run", str(folder / "run" / "model")
    words = ["--data", manifest, "--config", str(folder / "config.json"), "--out", str(out), "--no-check"]
    assert train(words) == 0
    here = ["--model", model, "--data", manifest]
    assert evaluate.main([*here, "--out", str(out / "report"), "--no-gallery"]) == 0
    pictures = str(folder / "pictures")
    assert gate.main([*here, "--gate", pictures, "--out", str(folder / "gate-of-it")]) == 0
    assert audit.main([*here, "--out", str(folder / "audit")]) == 0
    (folder / "figures.json").write_text(json.dumps(studies()))
    return Run(folder)


def studies() -> dict[str, Any]:
    """Figures as `model.reproduce` writes them; its own tests train for them."""
    found = {
        name: {"value": 0.81 + n / 100, "low": 0.7, "high": 0.95, "n": 40 + n, "set": name, "method": "folds"}
        for n, name in enumerate(STUDIED)
    }
    return {**found, "details": {"networks": {"efficientnet-lite0": found, "darkcovidnet": {}}}}


@pytest.fixture(scope="module")
def shipped(run: Run) -> Path:
    """A whole release; no test may alter it."""
    to = run.folder / "shipped"
    assert ship.main(run.words(to)) == 0
    return to


@pytest.fixture(scope="module")
def figures(shipped: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shipped / METRICS).read_text())
    return found


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command says when it ships nothing."""
    to = Path(words[words.index("--to") + 1])
    with pytest.raises(SystemExit) as ended:
        ship.main(words)
    assert ended.value.code == 2
    assert not to.exists()
    return capsys.readouterr().err


def rewritten(path: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a JSON file with a change into a folder of its own."""
    values = json.loads(path.read_text())
    change(values)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(values))
    return target


# What is shipped


def test_the_files_are_those_of_the_run_and_load_as_a_model_with_its_gate(run: Run, shipped: Path) -> None:
    files = {WEIGHTS, CONFIG, SPLIT, GATE, GATE_WEIGHTS, METRICS, *SHEETS}

    assert {path.name for path in shipped.iterdir()} == files
    for name, origin in (
        (WEIGHTS, "run/model"),
        (CONFIG, "run/model"),
        (SPLIT, "run/model"),
        (GATE, "gate-of-it"),
    ):
        assert (shipped / name).read_bytes() == (run.folder / origin / name).read_bytes()
    assert load_gate(shipped, load_model(shipped).weights_sha256) is not None


def test_every_required_figure_is_there_with_its_interval(figures: dict[str, Any]) -> None:
    assert figures["details"]["missing"] == {}
    for name in REQUIRED:
        assert set(figures[name]) == {"value", "low", "high", "n", "set", "method"}
        assert 0 <= figures[name]["value"] <= 1


def told(name: str, figure: dict[str, Any]) -> dict[str, Any]:
    """Return a study's figure as a release tells it: whose it is comes first."""
    models = STUDIES[WANTED[name].study].models
    return {**figure, "method": f"{models}; {figure['method']}"}


def test_figures_are_joined_from_all_files(run: Run, figures: dict[str, Any]) -> None:
    evaluation = json.loads((run.folder / "run" / "report" / "metrics.json").read_text())
    gated = json.loads((run.folder / "gate-of-it" / GATE).read_text())
    audited = json.loads((run.folder / "audit" / "audit.json").read_text())

    assert figures["roc_auc"] == evaluation["roc_auc"]
    assert figures["ece"] == evaluation["ece_in_source"] != evaluation["ece"]
    assert figures["gate_child_sensitivity"] == gated["figures"]["gate_child_sensitivity"]
    assert figures["audit_border_only_auc"] == audited["audit_border_only_auc"]
    assert figures["within_cohen_auc"] == told("within_cohen_auc", studies()["within_cohen_auc"])
    # The evaluation could not define it.
    assert evaluation["ece_out_of_family"]["value"] is None, "a family of one class"
    assert figures["ece_out_of_family"] == told("ece_out_of_family", studies()["ece_out_of_family"])
    assert figures["ece_out_of_family"]["method"].startswith("a model of its own, not the released weights")
    assert "the head abnormal alone" in figures["ece_out_of_family"]["method"]
    assert figures["details"]["weights_sha256"] == load_model(run.folder / "run" / "model").weights_sha256
    assert figures["details"]["audit"] == audited["details"]
    assert figures["details"]["gate"]["notes"] == gated["notes"]


def test_families_held_out_are_scored_by_the_evaluation_on_films_that_did_not_calibrate(
    run: Run, figures: dict[str, Any]
) -> None:
    sets = figures["details"]["sets"]
    area, caught = figures["held_out_radiography_auc"], figures["held_out_hannover_sensitivity"]

    assert area["value"] == sets["radiography: COVID-19 against normal"]["metrics"]["roc_auc"]["value"]
    assert area["n"] == sets["radiography: COVID-19 against normal"]["films"] < 40
    assert "did not calibrate" in area["method"]
    assert caught["value"] == sets["hannover: COVID-19 against the rest"]["metrics"]["sensitivity"]["value"]
    assert caught["n"] == 20
    assert "the model's own threshold" in caught["method"]


OTHER_PLACES = {**studies()["within_cohen_auc"], "set": "other places"}


@pytest.fixture
def evaluation(run: Run, tmp_path: Path) -> Path:
    """The run's evaluation, with films of other places."""
    return rewritten(
        run.folder / "run" / "report" / "metrics.json", tmp_path / "metrics.json",
        lambda values: values.update(ece_out_of_family=OTHER_PLACES),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["held_out_radiography_auc", "ece_out_of_family"])
def test_figures_of_the_studies_stand_before_those_of_the_evaluation(
    name: str, run: Run, evaluation: Path, tmp_path: Path
) -> None:
    own = {**studies()["within_cohen_auc"], "set": "a study"}
    figures = rewritten(
        run.folder / "figures.json", tmp_path / "figures.json", lambda values: values.update({name: own})
    )

    assert ship.main(run.words(tmp_path / "to", figures=figures, evaluation=evaluation)) == 0

    assert json.loads((tmp_path / "to" / METRICS).read_text())[name] == told(name, own)


def test_an_evaluation_of_other_places_stands_where_no_study_was_run(
    run: Run, evaluation: Path, tmp_path: Path
) -> None:
    figures = rewritten(
        run.folder / "figures.json", tmp_path / "figures.json",
        lambda values: values.pop("ece_out_of_family"),
    )  # fmt: skip

    assert ship.main(run.words(tmp_path / "to", figures=figures, evaluation=evaluation)) == 0

    assert json.loads((tmp_path / "to" / METRICS).read_text())["ece_out_of_family"] == OTHER_PLACES


# The sheets


def test_every_figure_of_the_sheets_is_in_the_metrics(shipped: Path, figures: dict[str, Any]) -> None:
    def stated(values: object) -> set[str]:
        if isinstance(values, dict) and "low" in values:
            if values["value"] is None or values["low"] is None:
                return set()
            to = " to " if values["low"] < 0 else "-"
            return {f"{values['value']:.3f} ({values['low']:.3f}{to}{values['high']:.3f})"}
        inner = values.values() if isinstance(values, dict) else ()
        return set().union(*map(stated, inner))

    for name in SHEETS:
        found = set(
            re.findall(r"-?\d\.\d{3} \(-?\d\.\d{3}(?:-| to )-?\d\.\d{3}\)", (shipped / name).read_text())
        )
        assert found <= stated(figures), name
        assert len(found) >= {"MODEL_CARD.md": 25, "CLAIM.md": 2, "TRIPOD-AI.md": 1}.get(name, 0)


def test_the_card_states_every_required_figure_with_its_number_of_films(
    shipped: Path, figures: dict[str, Any]
) -> None:
    card = (shipped / "MODEL_CARD.md").read_text()

    for name in REQUIRED:
        row = next(line for line in card.splitlines() if line.startswith(f"| `{name}` |"))
        value = figures[name]
        assert row.split(" | ")[1:3] == [
            f"{value['value']:.3f} ({value['low']:.3f}-{value['high']:.3f})", f"{value['n']:,}",
        ]  # fmt: skip


def test_the_sheets_repeat_how_the_design_was_chosen(run: Run, shipped: Path, tmp_path: Path) -> None:
    design = tmp_path / "design.md"
    design.write_text("By the films of cohen,\nwhich | are scored too.\n")
    assert ship.main(run.words(tmp_path / "to", design=design)) == 0

    assert (
        "\nBy the films of cohen,\nwhich | are scored too.\n"
        in (tmp_path / "to" / "MODEL_CARD.md").read_text()
    )
    for sheet in ("CLAIM.md", "TRIPOD-AI.md"):
        assert "By the films of cohen, which \\| are scored too. |" in (tmp_path / "to" / sheet).read_text()
    for name in ("MODEL_CARD.md", "CLAIM.md", "TRIPOD-AI.md"):
        assert "Nobody wrote down how" in (shipped / name).read_text()


def test_the_sheets_leave_what_follows_a_heading_of_the_design_to_the_card(run: Run, tmp_path: Path) -> None:
    design = tmp_path / "design.md"
    design.write_text("By the films of cohen.\n\n### The films\n\nTheir number.\n")
    assert ship.main(run.words(tmp_path / "to", design=design)) == 0

    assert "\n### The films\n\nTheir number.\n" in (tmp_path / "to" / "MODEL_CARD.md").read_text()
    for sheet in ("CLAIM.md", "TRIPOD-AI.md"):
        text = (tmp_path / "to" / sheet).read_text()
        assert "By the films of cohen. More: MODEL_CARD.md. |" in text
        assert "Their number" not in text


def test_a_share_stands_beside_what_was_aimed_at() -> None:
    values = {"value": 0.159, "low": 0.140, "high": 0.177, "n": 1816, "set": "s", "method": "m"}
    nothing = {**values, "value": None, "low": None, "high": None}

    assert aimed(values, 0.145) == (
        "0.159 (0.140-0.177), n 1,816, above the 14.5% aimed at, which lies inside the interval"
    )
    assert aimed(values, 0.1).endswith("above the 10.0% aimed at, which lies outside the interval")
    assert aimed(values, 0.2).endswith("not above the 20.0% aimed at, which lies outside the interval")
    assert aimed(nothing, 0.1) == "not defined"


def test_the_card_says_how_the_band_did_on_other_films_of_the_calibration_sources(
    shipped: Path, figures: dict[str, Any]
) -> None:
    card, details = (shipped / "MODEL_CARD.md").read_text(), figures["details"]
    found = details["sets"]["sources that calibrated the model, other films"]["metrics"]

    assert f"missed {aimed(found['missed_rate'], details['alpha_covid'])}; false alarm" in card
    assert aimed(found["false_alarm_rate"], details["alpha_rest"]) in card


def test_patients_stand_beside_films_and_rates_have_the_films_that_they_rest_on(
    shipped: Path, figures: dict[str, Any]
) -> None:
    everything = figures["details"]["sets"]["COVID-19 against the rest"]
    rates = everything["metrics"]

    assert f" | {everything['units']} | " in (shipped / "MODEL_CARD.md").read_text()
    claim = (shipped / "CLAIM.md").read_text()
    assert f"n {rates['sensitivity']['n']}; specificity" in claim
    assert rates["sensitivity"]["n"] + rates["specificity"]["n"] == everything["films"]


def test_the_audit_shows_what_its_rules_are_to_be_compared_with(
    shipped: Path, figures: dict[str, Any]
) -> None:
    card = (shipped / "MODEL_CARD.md").read_text()
    shown = [name for name in BESIDE_RULES if figures[name]["value"] is not None]

    assert {"audit_whole_auc", "audit_source_probe_auc"} <= set(shown)
    for name in shown:
        assert f"| `{name}` | {figures[name]['value']:.3f} " in card
    assert not set(BESIDE_RULES) & {rule["figure"] for rule in figures["details"]["audit"]["rules"]}


def test_files_are_counted_by_what_reads_them(shipped: Path) -> None:
    assert kinds_of_files(["a.png", "b.JPG", "c.dcm", "d"]) == {"dealt": 4, "pictures": 2}

    assert (
        "films that were dealt to a step are PNG or JPEG, read by Pillow;"
        in (shipped / "CLAIM.md").read_text()
    )


def test_films_of_neither_question_are_counted(run: Run) -> None:
    model = load_model(run.folder / "run" / "model")
    films = {"test": {"rsna:negative": 7, "a:negative": 1, "a:normal": 3, "a:covid": 2, "a:other": 4}}

    assert unasked(model) == {}
    assert unasked(dataclasses.replace(model, provenance={"films": films})) == {"negative": 8}


def test_pictures_whose_makers_are_not_known_answer_the_data_sources_in_part(shipped: Path) -> None:
    (row,) = re.findall(r"^\| 7 \|.*$", (shipped / "CLAIM.md").read_text(), re.MULTILINE)

    assert "| Data sources | partly |" in row
    assert "of origin and terms not known: elsewhere, noise_0," in row


def test_a_class_of_a_few_films_gets_no_figure_in_the_card() -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 4, "set": "s", "method": "m"}
    many = {**figure, "n": 173}
    undefined = {
        **figure,
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "method": "not defined: one class",
    }
    metrics = {"roc_auc": {**figure, "n": 177}, "specificity": figure, "sensitivity": many, "ece": undefined}
    row = {"smaller_class": 4, "metrics": metrics}

    assert among(row, "roc_auc") == among(row, "specificity") == "too few (4)"
    assert among(row, "sensitivity") == "0.500 (0.400-0.600)"
    assert among(row, "ece") == "not defined"
    assert among({**row, "smaller_class": 10}, "roc_auc") == "0.500 (0.400-0.600)"


def test_the_card_says_the_calibration_error_of_the_sources_that_trained(
    shipped: Path, figures: dict[str, Any]
) -> None:
    card, there = (shipped / "MODEL_CARD.md").read_text(), figures["ece_training_sources"]

    assert f"it is {there['value']:.3f} ({there['low']:.3f}-{there['high']:.3f})" in card
    assert there["n"] == figures["details"]["sets"]["sources that trained the model, other films"]["films"]


def test_the_card_says_what_it_is_for_how_it_was_made_and_what_it_cannot_do(run: Run, shipped: Path) -> None:
    card = (shipped / "MODEL_CARD.md").read_text()
    model = load_model(run.folder / "run" / "model")

    assert "For research and teaching only, not for diagnosis." in card
    for heading in (
        "Intended use",
        "Out of scope",
        "How thresholds were chosen",
        "What it refuses",
        "Limits",
    ):
        assert f"\n## {heading}\n" in card
    assert model.calibration.method in card
    assert f"Seed of the training: {model.provenance['seed']}" in card
    assert "| COVID-19 against normal" in card
    assert "| COVID-19 against other disease" in card
    assert "## Not run" not in card
    assert "| darkcovidnet | not run |" in card
    assert "nothing is guaranteed" in card
    # Films of the other subsets were not left out of the study.
    assert "Left out: view L 24, age group child 24.\n" in card


def test_a_red_rule_of_the_audit_is_red_in_the_card(run: Run, tmp_path: Path) -> None:
    audited = rewritten(
        run.folder / "audit" / "audit.json", tmp_path / "audit.json",
        lambda values: values["details"].update(red=["The model reads borders."]),
    )  # fmt: skip

    assert ship.main(run.words(tmp_path / "to", audit=audited)) == 0

    assert "- **RED: The model reads borders.**" in (tmp_path / "to" / "MODEL_CARD.md").read_text()


STATUSES = {"answered", "partly", "not done", "not applicable"}
LETTERS = {
    3: "abc",
    5: "ab",
    6: "abc",
    8: "abc",
    9: "abc",
    12: "abcdefg",
    18: "abcdef",
    20: "abc",
    23: "ab",
    27: "abc",
}


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("CLAIM.md", [str(number) for number in range(1, 45)]),
        ("TRIPOD-AI.md", [f"{n}{letter}" for n in range(1, 28) for letter in LETTERS.get(n, " ")]),
    ],
)
def test_every_item_of_a_checklist_is_answered_or_said_not_to_be(
    shipped: Path, name: str, items: list[str]
) -> None:
    rows = [
        line.split(" | ") for line in (shipped / name).read_text().splitlines() if re.match(r"\| \d", line)
    ]

    assert [row[0].removeprefix("| ") for row in rows] == [item.strip() for item in items]
    for row in rows:
        assert len(row) == 4, row
        assert row[2] in STATUSES
        assert len(row[3]) > 5


def test_the_licence_names_every_source_behind_weights_and_gate(run: Run, shipped: Path) -> None:
    licence = (shipped / "LICENSE-WEIGHTS.md").read_text()
    model = load_model(run.folder / "run" / "model")
    trained = sum(sum(model.provenance["films"][subset].values()) for subset in ("train", "validation"))
    rows = {line.split(" | ")[0]: line.split(" | ") for line in licence.splitlines() if line.startswith("| ")}

    assert "research" in licence
    assert int(rows["| rsna"][2]) + int(rows["| cohen"][2]) == trained
    assert rows["| radiography"][2:4] == ["0", str(model.calibration.films)]
    assert "COVID-19 Radiography Database" in rows["| radiography"][1]
    assert "| hannover" not in rows
    by_licence = model.provenance["licences_of_training_films"]
    assert f"| {by_licence['CC BY 3.0']} | CC BY 3.0 |" in licence
    assert f"| {by_licence['mine | yours']} | mine \\| yours |" in licence
    behind_gate = licence.split("## Behind the gate")[1]
    assert "| lateral | 24 |" in behind_gate
    # Turned copies are no further pictures.
    assert "| not_chest | 2 | noise_0 | not named here |" in behind_gate
    assert "| child | 2 | chest_child_0 | Chest X-rays of children" in behind_gate


def test_films_that_calibrated_are_those_of_the_calibration_sources_or_else_that_validated(run: Run) -> None:
    """Films that share a patient with a calibration source are kept out of training, and are not used."""
    model = load_model(run.folder / "run" / "model")
    films = {"train": {"cohen:covid": 5}, "validation": {"rsna:normal": 2}}
    films["calibration"] = {"cohen:covid": 3, "radiography:normal": 7}
    model = dataclasses.replace(model, provenance=model.provenance | {"films": films})
    config = dataclasses.replace(model.config, data=DataConfig())

    def rows(of: Model) -> dict[str, tuple[int, int]]:
        return {row["name"]: (row["trained"], row["calibrated"]) for row in data_sources(of)}

    assert rows(model) == {"cohen": (5, 0), "rsna": (2, 0), "radiography": (0, 7)}
    assert rows(dataclasses.replace(model, config=config)) == {"cohen": (5, 0), "rsna": (2, 2)}
    model = dataclasses.replace(model, provenance=model.provenance | {"films": {"train": {"all:covid": 5}}})
    assert rows(model) == {"films that name no source": (5, 0)}


def test_the_licence_names_the_start_of_the_weights(run: Run, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(run.folder / "run" / "model", model)
    rewritten(
        model / CONFIG,
        model / CONFIG,
        lambda values: values["provenance"].update(start="ImageNet (a package)"),
    )

    assert ship.main(run.words(tmp_path / "to", model=model)) == 0

    licence = (tmp_path / "to" / "LICENSE-WEIGHTS.md").read_text()
    assert "| ImageNet (a package) | ImageNet-1k" in licence
    assert "ImageNet" not in (run.folder / "shipped" / "LICENSE-WEIGHTS.md").read_text()


def test_no_path_of_this_machine_is_in_the_sheets(run: Run, shipped: Path) -> None:
    for path in shipped.iterdir():
        if path.suffix in (".json", ".md"):
            assert str(run.folder) not in path.read_text(), path.name


def test_a_name_from_a_manifest_breaks_no_table_and_is_no_markup() -> None:
    assert cell("a | b\n<script> & c") == "a \\| b &lt;script> &amp; c"


# What is refused


def test_missing_figures_are_all_named_with_the_commands_that_make_them(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = run.words(tmp_path / "to")
    place = words.index("--figures")
    del words[place : place + 2]

    said = refused(words, capsys)

    assert f"{len(STUDIED)} of {len(REQUIRED)} figures are missing" in said
    for name in STUDIED:
        assert f"  {name}: {REPRODUCE}" in said
    # All films of the source that neither trained nor calibrated show COVID-19.
    assert f"ece_out_of_family: {REPRODUCE} (here not defined: " in said
    assert "--incomplete" in said

    assert ship.main([*words, "--incomplete"]) == 0
    card = (tmp_path / "to" / "MODEL_CARD.md").read_text()
    assert "within_cohen_auc: not run" in capsys.readouterr().out
    assert f"- `within_cohen_auc`: not run; made by `{REPRODUCE}`" in card
    assert "- `ece_out_of_family`: not defined: " in card
    assert "| `within_cohen_auc` | not run |" in card
    assert list(json.loads((tmp_path / "to" / METRICS).read_text())["details"]["missing"]) == STUDIED


def test_a_figure_that_is_not_defined_is_missing(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = {
        "value": None,
        "low": None,
        "high": None,
        "n": 0,
        "set": "none",
        "method": "not defined: one class",
    }
    figures = rewritten(
        run.folder / "figures.json", tmp_path / "figures.json",
        lambda values: values.update(within_cohen_auc=nothing),
    )  # fmt: skip

    assert "  within_cohen_auc: " in refused(run.words(tmp_path / "to", figures=figures), capsys)
    assert ship.main(run.words(tmp_path / "to", "--incomplete", figures=figures)) == 0
    assert "`within_cohen_auc`: not defined: one class" in (tmp_path / "to" / "MODEL_CARD.md").read_text()


OTHER = "f" * 64


@pytest.mark.parametrize(
    ("part", "place", "help_"),
    [
        ("evaluation", "run/report/metrics.json", EVALUATE),
        ("gate", f"gate-of-it/{GATE}", "python -m model.gate"),
        ("audit", "audit/audit.json", "run model.audit"),
    ],
)
def test_a_part_of_other_weights_is_refused_with_what_was_expected_and_came(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str, place: str, help_: str
) -> None:
    def change(values: dict[str, Any]) -> None:
        name = "network_sha256" if part == "gate" else "weights_sha256"
        values["rules" if part == "gate" else "details"][name] = OTHER

    other = rewritten(run.folder / place, tmp_path / part / Path(place).name, change)
    expected = load_model(run.folder / "run" / "model").weights_sha256

    said = refused(run.words(tmp_path / "to", **{part: other.parent if part == "gate" else other}), capsys)

    for words in (expected, OTHER, help_):
        assert words in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("subset", "train"),
        ("threshold", 0.123),
        ("prevalence_assumed", 0.05),
        ("data_sha256", OTHER),
        ("config_sha256", OTHER),
    ],
)
def test_an_evaluation_of_other_films_or_another_calibration_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, value: object
) -> None:
    other = rewritten(
        run.folder / "run" / "report" / "metrics.json", tmp_path / "metrics.json",
        lambda values: values["details"].update({name: value}),
    )  # fmt: skip

    said = refused(run.words(tmp_path / "to", evaluation=other), capsys)

    assert f"with {name} " in said
    assert f"came {value}" in said
    assert EVALUATE in said


def test_an_altered_split_is_refused(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run.folder / "run" / "model", tmp_path / "model")
    (tmp_path / "model" / SPLIT).write_bytes(b"another")

    said = refused(run.words(tmp_path / "to", model=tmp_path / "model"), capsys)

    assert "expected the split that made the model" in said


def test_altered_weights_and_an_altered_gate_are_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, origin, name in (("model", "run/model", WEIGHTS), ("gate", "gate-of-it", GATE_WEIGHTS)):
        shutil.copytree(run.folder / origin, tmp_path / part)
        data = bytearray((tmp_path / part / name).read_bytes())
        data[-1] ^= 1
        (tmp_path / part / name).write_bytes(data)

        assert "the file was altered" in refused(
            run.words(tmp_path / "to", **{part: tmp_path / part}), capsys
        )


@pytest.mark.parametrize(
    ("text", "came"),
    [
        ("{", "expected figures by name and details"),
        ("{}", "expected figures by name and details"),
        ('{"details": {}, "ece": {"value": 1}}', "came ['ece'] without some of them"),
        ('{"details": 3}', "came no details"),
    ],
)
def test_a_file_that_is_no_list_of_figures_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, came: str
) -> None:
    (tmp_path / "figures.json").write_text(text)

    said = refused(run.words(tmp_path / "to", figures=tmp_path / "figures.json"), capsys)

    assert came in said
    assert REPRODUCE in said


def test_two_figures_of_one_name_are_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = rewritten(
        run.folder / "figures.json", tmp_path / "figures.json",
        lambda values: values.update(roc_auc=values["within_cohen_auc"]),
    )  # fmt: skip

    said = refused(run.words(tmp_path / "to", figures=figures), capsys)

    assert "expected each figure from one file, came another roc_auc with the studies" in said


def test_what_is_missing_is_named(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("model", "evaluation", "gate", "audit", "figures"):
        assert "nowhere" in refused(run.words(tmp_path / "to", **{part: tmp_path / "nowhere"}), capsys)


def test_a_release_larger_than_its_limit_is_not_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ship, "LARGEST", 100_000)

    said = refused(run.words(tmp_path / "to"), capsys)

    assert "expected at most 0 MB in all" in said
    assert "release a smaller network" in said


def test_what_lies_in_the_folder_already_counts(tmp_path: Path) -> None:
    (tmp_path / "left over").write_bytes(bytes(20_000_000))

    with pytest.raises(ValueError, match=r"came 31\.0 MB, of which weights has 11\.0 MB"):
        ship.write_release(tmp_path, {"weights": bytes(11_000_000)})

    assert ship.write_release(tmp_path, {"left over": bytes(10)}) == 10


def test_the_shipped_folder_was_left_alone() -> None:
    """These tests write elsewhere: a mistake here would replace the model that is served."""
    assert load_model(RELEASE).config.name == "cxr-covid"


# How it is called


def told_by_make(target: str, manifest: Path, out: Path) -> list[list[str]]:
    """Return the words behind each ``python -m`` that a target of the Makefile would run."""
    words = [f"DATA={manifest}", f"PICTURES={manifest.parent / 'pictures'}", f"OUT={out}"]
    ran = subprocess.run(
        ["make", "--no-print-directory", "-n", target, *words],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    lines = ran.stdout.replace("\\\n", " ").splitlines()
    return [shlex.split(line.split(" -m model.", 1)[1]) for line in lines if " -m model." in line]


def test_make_runs_every_step_with_options_that_the_commands_know(run: Run, tmp_path: Path) -> None:
    model, *later = told_by_make("release-model", run.folder / "manifest.csv", tmp_path)

    assert [words[0] for words in (model, *later)] == ["train", "evaluate", "gate", "audit", "ship"]
    trained = train_parser().parse_args(model[1:])
    assert (trained.preset, trained.out, trained.resume) == ("two-heads", tmp_path / "run", False)
    evaluated, audited = (
        evaluate.make_parser().parse_args(later[0][1:]),
        audit.make_parser().parse_args(later[2][1:]),
    )
    options = ship.make_parser().parse_args(later[3][1:])
    assert options.model == evaluated.model == audited.model == trained.out / "model"
    assert options.evaluation == evaluated.out / METRICS
    assert options.audit == audited.out / "audit.json"
    assert str(options.gate) == later[1][later[1].index("--out") + 1]
    assert options.incomplete
    assert options.figures is None
    assert options.to == tmp_path / "release"


def test_make_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder / "run", tmp_path / "run")
    manifest = run.folder / "manifest.csv"

    steps = told_by_make("release-evaluation", manifest, tmp_path)

    assert [words[0] for words in steps] == ["gate", "audit", "reproduce", "ship"]
    options = ship.make_parser().parse_args(steps[-1][1:])
    assert not options.incomplete
    assert str(options.figures.parent) == steps[2][steps[2].index("--out") + 1]

    (tmp_path / "run" / "model" / SPLIT).unlink()
    again = told_by_make("release-model", manifest, tmp_path)
    assert again[0][0] == "train"
    assert again[0][-1] == "--resume"


def test_make_says_what_a_release_needs(tmp_path: Path) -> None:
    ran = subprocess.run(
        ["make", "release-data", f"DATA={tmp_path / 'none.csv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode != 0
    assert "DATA=MANIFEST is needed" in ran.stdout


@pytest.mark.parametrize("part", ["gate", "audit"])
def test_a_part_that_speaks_of_other_films_is_refused(
    run: Run, part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if part == "gate":
        shutil.copytree(run.folder / "gate-of-it", tmp_path / "gate")
        rewritten(
            run.folder / "gate-of-it" / GATE, tmp_path / "gate" / GATE,
            lambda values: values.update(data_sha256="elsewhere"),
        )  # fmt: skip
        instead = tmp_path / "gate"
    else:
        instead = rewritten(
            run.folder / "audit" / "audit.json", tmp_path / "audit.json",
            lambda values: values["details"].update(data_sha256="elsewhere"),
        )  # fmt: skip
    said = refused(run.words(tmp_path / "to", **{part: instead}), capsys)

    assert "expected the manifest that the model was made with, data_sha256" in said
    assert "came elsewhere; make it anew with that manifest" in said


def test_figures_of_a_quick_run_are_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = recipe_sha256(config_of(STUDIES["within-cohen"], "efficientnet-lite0", quick=True))
    instead = rewritten(
        run.folder / "figures.json", tmp_path / "figures.json",
        lambda values: values["details"].update(
            recipes={"efficientnet-lite0": {"within-cohen": quick}}
        ),
    )  # fmt: skip
    said = refused(run.words(tmp_path / "to", figures=instead), capsys)

    assert "within-cohen of efficientnet-lite0 is of another recipe than model.studies holds" in said


def test_among_networks_the_released_one_has_its_own_figures_of_held_out_families(
    run: Run, figures: dict[str, Any]
) -> None:
    model = load_model(run.folder / "run" / "model")
    studied = {"teaching-cnn": {"within_cohen_auc": figures["within_cohen_auc"]}, "darkcovidnet": {}}
    told = {**figures, "details": {**figures["details"], "studies": {"networks": studied}}}

    found = networks(model, told)

    assert set(found["teaching-cnn"]) == {
        "within_cohen_auc", "held_out_radiography_auc", "held_out_hannover_sensitivity",
    }  # fmt: skip
    assert found["teaching-cnn"]["held_out_radiography_auc"] == figures["held_out_radiography_auc"]
    assert found["darkcovidnet"] == {}
