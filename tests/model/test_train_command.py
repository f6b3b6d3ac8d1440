"""The command says what it needs, tries everything in a dry run, and takes films as they lie in folders."""

import csv
import importlib.util
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from parts import ROOT
from PIL import Image

from model import audit, calibrate, data, evaluate, explain, faithfulness, manifests
from model.checkpoint import load_model
from model.config import Config, to_dict
from model.phantom import LABELS as PHANTOM_LABELS
from model.phantom import write_phantoms
from model.train import main
from model.train_command import configure, parser, told

SMALL = ("--preset", "teaching", "--film-px", "32", "--input-px", "32", "--epochs", "1", "--steps", "2")
SMALL += ("--batch", "8")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(tmp_path_factory.mktemp("phantoms"), 120)


def said_at_the_end(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_without_data_the_command_says_what_to_get_and_how_to_make_phantoms(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = said_at_the_end([], capsys)

    assert "path,label" in said
    assert "docs/data.md" in said
    assert "python -m model.phantom --out phantoms" in said


def test_a_folder_of_films_per_label_trains_and_its_report_comes_with_it(
    phantoms: Path, tmp_path: Path
) -> None:
    shutil.copytree(phantoms.parent, tmp_path / "films", ignore=shutil.ignore_patterns("*.csv"))
    out = tmp_path / "run"

    keep = ["--cache", str(tmp_path / "looks.json"), "--report", str(tmp_path / "report")]
    code = main(["--data", str(tmp_path / "films"), "--out", str(out), *SMALL, *keep])

    assert code == 0
    assert (tmp_path / "report" / "metrics.json").is_file()
    assert (out / "curves.png").is_file()
    assert json.loads((out / "checks.json").read_text())["films"] == 120
    model = load_model(out / "model")
    assert str(tmp_path) not in json.dumps(model.provenance)
    # Whoever makes the manifest of the same folder has the same films by the same names.
    assert manifests.main(["folders", str(tmp_path / "films")]) == 0
    request = evaluate.request_of(model, out / "model", tmp_path / "films" / "manifest.csv", None)
    subset_of = data.read_split(out / "model" / "split.csv.gz")
    films, _, _ = evaluate.choose(model, request)
    assert {film.path for film in films} == {path for path in subset_of if subset_of[path] == "test"}
    assert set(subset_of) == {film.path for film in data.read_manifest(request.manifest, PHANTOM_LABELS)}


def test_a_dry_run_tries_everything_and_keeps_nothing(
    phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = set(tmp_path.rglob("*"))

    with caplog.at_level("INFO"):
        code = main(["--data", str(phantoms), "--out", str(tmp_path / "run"), "--dry-run", *SMALL])

    assert code == 0
    assert "dry run passed" in caplog.text
    assert set(tmp_path.rglob("*")) == before


def test_an_unreadable_film_stops_the_command_before_training(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(phantoms.parent, tmp_path / "films")
    (tmp_path / "films" / "covid" / "00000.png").write_bytes(b"no picture")
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "films" / "normal" / "00004.png")

    manifest, cache = tmp_path / "films" / "manifest.csv", tmp_path / "looks.json"
    said = said_at_the_end(
        ["--data", str(manifest), "--out", str(tmp_path / "run"), *SMALL, "--cache", str(cache)], capsys
    )

    assert "2 films cannot be used" in said
    unreadable = json.loads((tmp_path / "run" / "checks.json").read_text())["unreadable"]
    assert "1 x 1 pixels" in unreadable["normal/00004.png"]
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_an_empty_class_is_named(phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(phantoms.read_text().splitlines()))
    path = phantoms.parent / "healthy.csv"
    path.write_text(
        "path,label\n" + "".join(f"{r['path']},{r['label']}\n" for r in rows if r["label"] != "covid")
    )

    said = said_at_the_end(["--data", str(path), "--out", str(tmp_path), *SMALL, "--no-check"], capsys)

    assert "class covid is empty: no training film answers yes to head covid; there are films of 0" in said


def test_a_contact_sheet_leaves_the_folder_of_a_run_alone(phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    sheet = ["--contact-sheet", str(tmp_path / "sheet.png"), *SMALL]

    assert main(["--data", str(phantoms), "--out", str(tmp_path / "run"), *sheet]) == 0

    assert not list((tmp_path / "run").iterdir())


def test_mlflow_that_is_not_installed_is_said(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if importlib.util.find_spec("mlflow"):
        pytest.skip("MLflow is installed here")

    options = [*SMALL, "--no-check", "--mlflow", "runs"]
    said = said_at_the_end(["--data", str(phantoms), "--out", str(tmp_path), *options], capsys)

    assert "MLflow is not installed" in said


def test_a_contact_sheet_shows_films_plain_and_changed(phantoms: Path, tmp_path: Path) -> None:
    assert main(["--data", str(phantoms), "--contact-sheet", str(tmp_path / "sheet.png"), *SMALL]) == 0

    with Image.open(tmp_path / "sheet.png") as sheet:
        grey_HW = np.asarray(sheet)
    assert grey_HW.shape == (6 * 36, 8 * 36)
    tiles = [grey_HW[:32, 36 * column : 36 * column + 32] for column in range(8)]
    assert len({tile.tobytes() for tile in tiles}) == 8


def test_options_change_the_preset() -> None:
    config = configure(
        parser().parse_args(["--classes", "three-class", "--network", "resnet18", "--precision", "bf16"])
    )

    assert config.head_names == ("covid", "pneumonia", "no_finding")
    assert (config.network.name, config.network.pretrained) == ("resnet18", False)
    assert config.schedule.precision == "bf16"
    with pytest.raises(ValueError, match="one of --config, --preset and --classes"):
        configure(parser().parse_args(["--classes", "binary", "--preset", "teaching"]))


def test_a_network_without_a_published_start_learns_its_batch_norm_and_keeps_no_noise() -> None:
    asked = ["--preset", "two-heads", "--network"]
    fresh = configure(parser().parse_args([*asked, "densenet121"]))
    started = configure(parser().parse_args([*asked, "densenet121", "--init", "other"]))
    published = configure(parser().parse_args([*asked, "efficientnet-lite2"]))

    assert (fresh.network.frozen_norm, fresh.schedule.blend) == (False, 1.0)
    assert (started.network.frozen_norm, started.schedule.blend) == (True, 0.5)
    assert (published.network.frozen_norm, published.schedule.blend) == (True, 0.5)


def test_a_run_that_may_be_resumed_is_checked_when_there_is_nothing_to_resume(
    phantoms: Path, tmp_path: Path
) -> None:
    options = [*SMALL, "--resume", "--cache", str(tmp_path / "looks.json")]

    assert main(["--data", str(phantoms), "--out", str(tmp_path / "run"), *options]) == 0

    assert json.loads((tmp_path / "run" / "checks.json").read_text())["films"] == 120


def test_films_to_leave_out_that_are_not_there_are_told(
    phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "out.csv").write_text("path,reason\n00000.png,blurred\nno-such-film,blurred\n")
    options = [*SMALL, "--no-check", "--exclude", str(tmp_path / "out.csv"), "--dry-run"]

    with caplog.at_level("INFO"):
        assert main(["--data", str(phantoms), *options]) == 0

    assert "120 films, left out: {'blurred': 1}" in caplog.text
    assert "1 of the 2 films to leave out by name are not in the manifest" in caplog.text


def test_a_recorded_command_names_no_path_however_it_was_written() -> None:
    arguments = ["--data", "./ward7//m.csv", "--out=/data/run/", "--exclude=./ward7/x.csv", "--fold", "2"]
    arguments += ["--report", "/data/report/", "--network=resnet18"]

    said = told(parser().parse_args(arguments), arguments)

    assert said == (
        "python -m model.train --data PATH --out=DIR --exclude=EXCLUDE --fold 2 --report REPORT "
        "--network=resnet18"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--fold", "1"], "--fold is a fold of --folds FILE, which was not given"),
        (["--folds", "f.csv", "--split", "s.csv"], "give one of --folds and --split"),
        (["--network-file", "my_net.py"], "name it by --network NAME too"),
        (["--labels", "labels.csv"], "--labels is for a folder of DICOM files, --data m.csv is none"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in said_at_the_end(["--data", "m.csv", "--out", str(tmp_path / "run"), *given], capsys)
    assert not (tmp_path / "run").exists()


def test_a_network_of_ones_own_trains_from_its_file(phantoms: Path, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "own-network.md").read_text()
    (tmp_path / "my_net.py").write_text(text.split("```python\n")[1].split("```")[0])
    own = ["--network-file", str(tmp_path / "my_net.py"), "--network", "my-net", "--no-check"]

    assert main(["--data", str(phantoms), "--out", str(tmp_path / "run"), *SMALL, *own]) == 0

    assert load_model(tmp_path / "run" / "model").config.network.name == "my-net"
    # A process of its own, in which the network was not trained.
    command = [sys.executable, "-m", "model.evaluate", "--model", str(tmp_path / "run" / "model")]
    command += ["--data", str(phantoms), "--out", str(tmp_path / "report"), "--no-gallery"]
    without = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert without.returncode == 2
    assert "--network-file FILE" in without.stderr
    ran = subprocess.run([*command, *own[:2]], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "report" / "report.html").is_file()


def test_two_processes_train_one_model(families: Path, tiny_config: Config, tmp_path: Path) -> None:
    short = replace(tiny_config, schedule=replace(tiny_config.schedule, epochs=2))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(short)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master_addr", "127.0.0.1", "--master_port", str(port), "-m", "model.train", "--no-check"]
    command += [
        "--data",
        str(families),
        "--out",
        str(tmp_path / "run"),
        "--config",
        str(tmp_path / "config.json"),
    ]

    ran = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    assert ran.returncode == 0, ran.stderr
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Both processes take every step together, and one of them writes.
    assert [(row["epoch"], row["steps"], row["processes"]) for row in rows] == [
        ("1", "2", "2"),
        ("2", "4", "2"),
    ]
    assert load_model(tmp_path / "run" / "model").provenance["epoch"] in (1, 2)
    assert ran.stderr.count("epoch 2:") == 1


def test_every_command_in_the_docs_is_understood() -> None:
    texts = [(ROOT / "docs" / name).read_text() for name in ("training.md", "data.md", "own-network.md")]
    commands = re.findall(r"-m model\.train ([^`\n]+)", "\n".join(texts))

    assert len(commands) >= 15
    for command in commands:
        options = parser().parse_args(shlex.split(command))
        assert options.data
        assert options.out or options.dry_run or options.contact_sheet
    told = "\n".join(texts)
    offered = [action.option_strings[-1] for action in parser()._actions]
    unknown = ("--help", "--steps", "--batch", "--seed", "--threads", "--no-check", "--cache")
    assert [option for option in offered if option not in told and option not in unknown] == []


@pytest.mark.parametrize("module", [audit, calibrate, evaluate, explain, faithfulness])
def test_every_other_command_in_the_docs_is_understood(module: ModuleType) -> None:
    names = ("training.md", "evaluation.md", "explaining.md", "data.md")
    told = "\n".join((ROOT / "docs" / name).read_text() for name in names)
    commands = re.findall(rf"-m {module.__name__} ([^`\n]+)", told)

    assert commands
    for command in commands:
        module.make_parser().parse_args(shlex.split(command.replace("...", "")))
