"""A run that is stopped, killed or starved of disk goes on as if nothing had happened, or says why not."""

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parts import ROOT
from safetensors.torch import load_file

from model import data
from model.checkpoint import BadModel, load_weights
from model.config import Config, HeadConfig, three_class, to_dict
from model.engines import TrainingBroke
from model.network import build_network
from model.run import Run
from model.train import main, train

Change = Callable[[Config], Config]


def weights(out: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(out / "model" / "weights.safetensors")
    return found


def figures(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_same_run(one: Path, other: Path) -> None:
    assert figures(one) == figures(other)
    theirs = weights(other)
    for name, value in weights(one).items():
        torch.testing.assert_close(value, theirs[name], atol=0, rtol=0, msg=name)
    states = [torch.load(out / "state.pt", weights_only=True) for out in (one, other)]
    for name in ("network", "average"):
        for key, value in states[0][name].items():
            assert torch.equal(value, states[1][name][key]), key


def classes(config: Config) -> Config:
    return replace(config, heads=three_class().heads, link="softmax")


def with_workers(config: Config) -> Config:
    return replace(config, schedule=replace(config.schedule, workers=1))


def in_bf16(config: Config) -> Config:
    return replace(config, schedule=replace(config.schedule, precision="bf16", average=0.5, warmup=0.5))


@pytest.fixture(scope="module")
def unbroken(families: Path, tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four epochs that nothing disturbed."""
    out = tmp_path_factory.mktemp("unbroken")
    train(tiny_config, Run(families, out))
    return out


@pytest.mark.parametrize("change", [classes, with_workers, in_bf16])
def test_a_run_that_is_stopped_and_resumed_equals_an_unbroken_one_to_the_bit(
    change: Change, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    config = change(tiny_config)
    train(config, Run(families, tmp_path / "whole"))

    train(config, Run(families, tmp_path / "halves", stop_after=2))
    assert not (tmp_path / "halves" / "model").exists()
    assert len(figures(tmp_path / "halves")) == 2
    train(config, Run(families, tmp_path / "halves", resume=True))

    assert_same_run(tmp_path / "halves", tmp_path / "whole")


def test_a_killed_process_resumes_from_its_last_whole_epoch(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_dict(tiny_config)))
    out = tmp_path / "run"
    command = [sys.executable, "-m", "model.train", "--no-check", "--config", str(tmp_path / "config.json")]
    command += ["--data", str(families), "--out", str(out), "--threads", str(torch.get_num_threads())]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not (out / "state.pt").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    # What a killed process leaves of an epoch that was not whole.
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 9, "st')

    train(tiny_config, Run(families, out, resume=True))

    assert_same_run(out, unbroken)


def test_a_full_disk_is_told_and_costs_no_epoch_that_was_whole(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    train(tiny_config, Run(families, tmp_path, stop_after=2))
    kept = (tmp_path / "state.pt").read_bytes()
    # Every write to this device ends as on a full disk.
    (tmp_path / "state.pt.part").symlink_to("/dev/full")

    with pytest.raises(OSError, match=r"epoch 3 could not be kept.*No space left.*--resume"):
        train(tiny_config, Run(families, tmp_path, resume=True))

    assert (tmp_path / "state.pt").read_bytes() == kept
    assert not (tmp_path / "state.pt.part").is_symlink()
    train(tiny_config, Run(families, tmp_path, resume=True))
    assert_same_run(tmp_path, unbroken)


def test_a_model_tells_the_manifest_that_it_learned_from_whatever_became_of_the_file(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    films = shutil.copytree(families.parent, tmp_path / "films")
    manifest = films / families.name
    train(tiny_config, Run(manifest, tmp_path / "run", stop_after=2))

    class Rewritten(logging.Handler):
        """Another manifest stands in the place of the first from the third epoch on."""

        def emit(self, record: logging.LogRecord) -> None:
            if "epoch 3" in record.getMessage():
                manifest.write_text("path,label\n")

    handler = Rewritten()
    logging.getLogger("model.recorder").addHandler(handler)
    logging.getLogger("model.recorder").setLevel(logging.INFO)
    try:
        train(tiny_config, Run(manifest, tmp_path / "run", resume=True))
    finally:
        logging.getLogger("model.recorder").removeHandler(handler)

    assert manifest.read_text() == "path,label\n"
    told = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert told["provenance"]["data_sha256"] == data.manifest_sha256(families)


def test_a_loss_that_is_no_number_stops_the_run_in_words(
    families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    wild = replace(tiny_config, schedule=replace(tiny_config.schedule, backbone_rate=1e30, head_rate=1e30))

    with pytest.raises(TrainingBroke, match=r"the loss is (nan|inf).*backbone_rate"):
        train(wild, Run(families, tmp_path))

    assert not (tmp_path / "model").exists()


def test_a_run_of_another_network_is_not_resumed(unbroken: Path, families: Path, tiny_config: Config) -> None:
    other = replace(tiny_config, network=replace(tiny_config.network, width=0.5))

    with pytest.raises(ValueError, match=r"another configuration \(network"):
        train(other, Run(families, unbroken, resume=True))


def test_weights_of_another_network_are_refused(unbroken: Path, tiny_config: Config) -> None:
    other = replace(tiny_config, network=replace(tiny_config.network, width=0.5))

    with pytest.raises(BadModel, match="weights of another network than teaching-cnn"):
        load_weights(unbroken / "best.safetensors", build_network(other))


def test_a_model_trained_elsewhere_is_a_start(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    still = replace(tiny_config, schedule=replace(tiny_config.schedule, backbone_rate=1e-30, epochs=1))
    one_class_less = replace(still, heads=tiny_config.heads[1:])

    longer = replace(one_class_less, schedule=replace(still.schedule, epochs=2))
    train(longer, Run(families, tmp_path, init=unbroken / "model", stop_after=1))
    train(longer, Run(families, tmp_path, resume=True))

    model = json.loads((tmp_path / "model" / "config.json").read_text())
    assert model["provenance"]["start"].startswith("backbone of another model")
    trained, start = weights(tmp_path), weights(unbroken)
    for name, value in trained.items():
        if name.endswith("conv.weight"):
            torch.testing.assert_close(value, start[name], atol=1e-6, rtol=0)
    wider = replace(one_class_less, network=replace(tiny_config.network, width=0.5))
    with pytest.raises(ValueError, match="holds teaching-cnn of its own size"):
        train(wider, Run(families, tmp_path / "wider", init=unbroken / "model"))


# Trained into once more


def test_a_run_is_not_written_over_unless_it_is_to_go_on(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path
) -> None:
    before = contents(unbroken)
    with pytest.raises(ValueError, match=r"holds state.pt and model, .* by --resume, or give another --out"):
        train(tiny_config, Run(families, unbroken, stop_after=2))
    assert contents(unbroken) == before

    (tmp_path / "model").mkdir()
    for resume in (False, True):
        with pytest.raises(ValueError, match=r"holds model, .*\. Give another --out"):
            train(tiny_config, Run(families, tmp_path, resume=resume))


def test_the_command_leaves_a_finished_run_as_it_was(
    unbroken: Path, families: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(to_dict(tiny_config)))
    before = contents(unbroken)
    command = ["--config", str(tmp_path / "config.json"), "--data", str(families), "--stop-after", "3"]

    with pytest.raises(SystemExit):
        main([*command, "--out", str(unbroken), "--report", str(tmp_path / "report")])

    assert "--resume" in capsys.readouterr().err
    assert contents(unbroken) == before
    assert not (tmp_path / "report").exists()


def test_what_a_stopped_run_returns_is_no_model(families: Path, tiny_config: Config, tmp_path: Path) -> None:
    assert train(tiny_config, Run(families, tmp_path, stop_after=1)) is None
    assert train(tiny_config, Run(families, tmp_path, resume=True)) == tmp_path / "model"


# Resumed with something else


@pytest.fixture
def halfway(families: Path, tiny_config: Config, tmp_path: Path) -> Run:
    """A run of its own films and a fold file, of which fold 0 is tested, that stopped after an epoch."""
    films = data.read_manifest(families, tiny_config.data.labels)
    data.write_folds(tmp_path / "folds.csv", data.folds(films, 3, seed=0))
    (tmp_path / "films").mkdir()
    manifest = tmp_path / "films" / families.name
    shutil.copyfile(families, manifest)
    for film in films:
        (manifest.parent / film.path).symlink_to(families.parent / film.path)
    run = Run(manifest, tmp_path / "run", folds=tmp_path / "folds.csv", fold=0)
    train(tiny_config, replace(run, stop_after=1))
    return replace(run, resume=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def another_fold(run: Run) -> Run:
    return replace(run, fold=1)


def swapped(run: Run) -> Run:
    other = {"train": "test", "test": "train"}
    subset_of = data.read_split(run.out / "split.csv.gz")
    path = run.manifest.parent / "other.csv"
    data.write_split(path, {film: other.get(subset, subset) for film, subset in subset_of.items()})
    return replace(run, folds=None, split=path)


def altered_split(run: Run) -> Run:
    shutil.copyfile(swapped(run).split or Path(), run.out / "split.csv")
    subset_of = data.read_split(run.out / "split.csv")
    data.write_split(run.out / "split.csv.gz", subset_of)
    return replace(run, folds=None)


def another_label(run: Run) -> Run:
    path = run.manifest.parent / "labels.csv"
    path.write_text(run.manifest.read_text().replace("nih-normal-3.png,normal", "nih-normal-3.png,pneumonia"))
    return replace(run, manifest=path)


def one_film_more(run: Run) -> Run:
    path = run.manifest.parent / "more.csv"
    path.write_text(run.manifest.read_text() + "more.png,covid,new,cohen,,,,\n")
    return replace(run, manifest=path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            another_fold,
            r"another split: expected SHA-256 \w{64} \(fold 0 .*came .*\(fold 1 .*folds.csv. Give",
        ),
        (swapped, r"another split: expected .*, came SHA-256 \w{64} by --split other.csv. Give the split"),
        (altered_split, r"another split: .* by its split.csv.gz, which was altered. Give the split"),
        (another_label, r"another manifest .*expected SHA-256 \w{64}, came \w{64} of labels.csv. Give"),
        (one_film_more, r"another manifest .* of more.csv"),
    ],
)
def test_a_run_is_not_resumed_with_other_films_and_stays_as_it_was(
    change: Callable[[Run], Run], message: str, halfway: Run, tiny_config: Config
) -> None:
    asked = change(halfway)
    before = contents(halfway.out)

    with pytest.raises(ValueError, match=message):
        train(tiny_config, asked)

    assert contents(halfway.out) == before


def test_a_run_that_another_configuration_asks_for_stays_as_it_was(halfway: Run, tiny_config: Config) -> None:
    before = contents(halfway.out)
    other = replace(tiny_config, data=replace(tiny_config.data, validation_fraction=0.2))

    with pytest.raises(ValueError, match="another configuration"):
        train(other, halfway)

    assert contents(halfway.out) == before


def test_a_run_that_is_refused_goes_on_with_what_it_learned_from(halfway: Run, tiny_config: Config) -> None:
    """Also after its films moved, without the fold file, and stopped once more on the way."""
    moved = halfway.manifest.parent.rename(halfway.out.parent / "moved") / "renamed.csv"
    (moved.parent / halfway.manifest.name).rename(moved)
    with pytest.raises(ValueError, match="another split"):
        train(tiny_config, replace(halfway, manifest=moved, fold=1))

    train(tiny_config, replace(halfway, manifest=moved, folds=None, stop_after=2))
    train(tiny_config, replace(halfway, manifest=moved))

    train(tiny_config, replace(halfway, manifest=moved, out=halfway.out.parent / "whole", resume=False))
    assert_same_run(halfway.out, halfway.out.parent / "whole")


def test_a_state_that_does_not_name_its_films_is_not_gone_on_with(halfway: Run, tiny_config: Config) -> None:
    state = torch.load(halfway.out / "state.pt", weights_only=True)
    del state["inputs"]
    torch.save(state, halfway.out / "state.pt")

    with pytest.raises(ValueError, match=r"earlier version .*which films.*Train anew"):
        train(tiny_config, halfway)


def test_a_folder_of_other_films_changes_nothing_in_the_run(
    families: Path, tiny_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = HeadConfig(name="opacity", positive=("covid", "pneumonia"), negative=("normal",))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(replace(tiny_config, heads=(both,)))))
    for film in data.read_manifest(families, tiny_config.data.labels):
        (tmp_path / "films" / film.label).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(families.parent / film.path, tmp_path / "films" / film.label / film.path)
    out = tmp_path / "run"
    command = ["--config", str(tmp_path / "config.json"), "--no-check", "--out", str(out)]
    assert main([*command, "--data", str(tmp_path / "films"), "--stop-after", "1"]) == 0
    shutil.copytree(tmp_path / "films", tmp_path / "other")
    (tmp_path / "other" / "normal" / "nih-normal-3.png").unlink()
    before = contents(out)

    with pytest.raises(SystemExit):
        main([*command, "--data", str(tmp_path / "other"), "--resume"])

    assert "another manifest" in capsys.readouterr().err
    assert contents(out) == before
    assert (out / "films" / "covid").resolve() == tmp_path / "films" / "covid"
    (tmp_path / "films").rename(tmp_path / "moved")
    assert main([*command, "--data", str(tmp_path / "moved"), "--resume"]) == 0
