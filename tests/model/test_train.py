"""Training leaves what it promises, and goes on where it was killed as if nothing had happened."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dicom_io.errors import UnreadablePixels
from model import data
from model.checkpoint import load_model
from model.config import Config, one_head, to_dict
from model.predict import Predictor
from model.train import BalancedSampler, Run, epoch_seed, main, masked_loss, train


@pytest.fixture(scope="module")
def trained(families: Path, small_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of two epochs."""
    out = tmp_path_factory.mktemp("run")
    train(small_config, Run(families, out, command="python -m model.train"))
    return out


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_a_model_that_loads_and_judges(trained: Path) -> None:
    model = load_model(trained / "model")
    said = Predictor(trained / "model")(torch.rand(64, 64).numpy())

    assert 0 <= said.probability <= 1
    assert model.provenance["command"] == "python -m model.train"
    assert model.provenance["epoch"] in (1, 2)
    assert "calibration part of elsewhere" in model.calibration.method


def test_each_epoch_has_a_row_of_figures_and_tensorboard_has_them_too(trained: Path) -> None:
    table = rows(trained / "metrics.csv")

    assert [row["epoch"] for row in table] == ["1", "2"]
    assert [row["steps"] for row in table] == ["2", "4"]
    assert 0 <= float(table[0]["train_mean_auc"]) <= 1
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [f"{line['train_loss']:.5g}" for line in lines] == [row["train_loss"] for row in table]
    assert 0 <= float(table[0]["validation_auc_covid_given_abnormal"]) <= 1
    assert float(table[0]["train_loss"]) > 0
    assert list((trained / "tensorboard").glob("events.*"))


def test_the_model_keeps_the_split_it_was_trained_by(
    trained: Path, families: Path, small_config: Config
) -> None:
    subset_of = data.read_split(trained / "model" / "split.csv.gz")
    films = data.read_manifest(families, small_config.data.labels)

    data.check_split(films, subset_of, small_config.data)
    assert {subset_of[film.path] for film in films if film.source == "elsewhere"} == {"calibration", "test"}


def test_no_path_of_this_machine_is_kept_with_the_model(trained: Path, families: Path) -> None:
    written = (trained / "model" / "config.json").read_text()

    assert str(families.parent) not in written
    assert str(trained) not in written


def test_every_epoch_draws_its_own_films(
    families: Path, small_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = BalancedSampler.__iter__
    drawn: list[list[int]] = []

    def watch(self: BalancedSampler) -> Iterator[int]:
        drawn.append(list(whole(self)))
        return iter(drawn[-1])

    monkeypatch.setattr(BalancedSampler, "__iter__", watch)
    train(small_config, Run(families, tmp_path))

    assert len(drawn) == 2
    assert drawn[0] != drawn[1]


def test_another_seed_gives_other_weights(
    trained: Path, families: Path, small_config: Config, tmp_path: Path
) -> None:
    other = replace(small_config, schedule=replace(small_config.schedule, seed=1))

    train(other, Run(families, tmp_path, split=trained / "split.csv.gz"))

    first = load_file(trained / "model" / "weights.safetensors")
    second = load_file(tmp_path / "model" / "weights.safetensors")
    assert not torch.equal(first["heads.weight"], second["heads.weight"])


def test_a_run_is_not_resumed_with_another_configuration(
    trained: Path, families: Path, small_config: Config
) -> None:
    other = replace(small_config, schedule=replace(small_config.schedule, backbone_rate=1e-5))

    with pytest.raises(ValueError, match="another configuration"):
        train(other, Run(families, trained, resume=True))


def test_training_stops_early_when_nothing_gets_better(
    families: Path, small_config: Config, tmp_path: Path
) -> None:
    # Heads that start at zero and learn less than a float32 holds say the same of every film.
    still = {"backbone_rate": 1e-300, "head_rate": 1e-300}
    patient = replace(small_config.schedule, epochs=6, steps=1, patience=2, **still)

    train(replace(small_config, schedule=patient), Run(families, tmp_path))

    assert [row["validation_mean_auc"] for row in rows(tmp_path / "metrics.csv")] == ["0.5"] * 3


def test_a_manifest_of_ones_own_trains_with_one_head(
    families: Path, small_config: Config, tmp_path: Path
) -> None:
    bare = families.with_name("bare.csv")
    with bare.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows(
            [film.path, film.label] for film in data.read_manifest(families, ("covid", "pneumonia", "normal"))
        )
    values = to_dict(one_head())
    values |= {key: to_dict(small_config)[key] for key in ("network", "transforms", "schedule")}
    (tmp_path / "config.json").write_text(json.dumps(values))

    code = main(
        [
            "--data",
            str(bare),
            "--out",
            str(tmp_path / "run"),
            "--config",
            str(tmp_path / "config.json"),
            "--no-check",
        ]
    )

    model = load_model(tmp_path / "run" / "model")
    assert code == 0
    assert model.config.head_names == ("covid",)
    assert "validation films" in model.calibration.method
    assert model.provenance["command"].startswith("python -m model.train --data PATH --out DIR")


def test_without_data_the_command_says_what_is_expected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data", str(tmp_path / "none.csv"), "--out", str(tmp_path / "run")])

    assert ended.value.code == 2
    assert "columns path,label" in capsys.readouterr().err


def test_a_film_that_cannot_be_read_is_named(families: Path, small_config: Config, tmp_path: Path) -> None:
    rows = families.read_text().replace("nih-normal-", "missing-")
    (families.parent / "holed.csv").write_text(rows)

    with pytest.raises(UnreadablePixels, match="missing-"):
        train(small_config, Run(families.parent / "holed.csv", tmp_path))


def test_the_loss_asks_each_film_only_its_own_head() -> None:
    nan = float("nan")
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]], requires_grad=True)

    loss = masked_loss(0.0)(logits, torch.tensor([[1.0, nan], [nan, 0.0]]))
    loss.backward()

    assert loss.item() == pytest.approx((0.126928 + 3.048587) / 2, abs=1e-5)
    assert logits.grad is not None
    assert logits.grad[0, 1] == logits.grad[1, 0] == 0


def test_the_draws_of_an_epoch_depend_on_its_number_alone(small_config: Config) -> None:
    weights = torch.ones(50, dtype=torch.float64).numpy() / 50
    one, other = (BalancedSampler(weights, small_config.schedule) for _ in range(2))
    one.epoch = 1
    list(one)
    one.epoch = other.epoch = 2

    assert list(one) == list(other)
    assert len(list(one)) == len(one) == 16
    one.epoch = 3
    assert list(one) != list(other)
    assert epoch_seed(0, 1) != epoch_seed(1, 0)
