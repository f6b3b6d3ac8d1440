"""A config is data: it survives JSON, and nonsense is refused where it stands."""

import json
from pathlib import Path
from typing import Any

import pytest

from model.config import (
    Config,
    DecisionConfig,
    HeadConfig,
    config_sha256,
    from_dict,
    load_config,
    one_head,
    to_dict,
    two_heads,
)


@pytest.mark.parametrize("preset", [one_head, two_heads])
def test_a_config_survives_json(preset: Any, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(to_dict(preset())))

    assert load_config(path) == preset()
    assert config_sha256(load_config(path)) == config_sha256(preset())


def test_any_change_changes_the_hash() -> None:
    values = to_dict(two_heads())
    values["schedule"]["seed"] = 1

    assert config_sha256(from_dict(values)) != config_sha256(two_heads())


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("schedule", {"epoch": 3}, "unknown key .'epoch'"),
        ("schedule", {"batch": 0}, "batch must be at least 1"),
        ("transforms", {"input_px": 100}, "divide by 32"),
        ("transforms", {"flip": 1.5}, "flip is a probability"),
        ("network", {"width": 1.1}, "ImageNet weights"),
        ("data", {"validation_fraction": 0.9, "test_fraction": 0.2}, "no film would be left"),
        ("data", {"calibration_sources": ["cohen"]}, "must be held out"),
        ("decision", {"alpha_covid": 1.0}, "alpha_covid"),
        ("decision", {"prevalence": "0.5"}, "prevalence should be a number or null, came '0.5'"),
        ("schedule", {"epochs": "6"}, "schedule: epochs should be a whole number, came '6'"),
        ("schedule", {"epochs": True}, "epochs should be a whole number, came True"),
        ("schedule", {"epochs": 6.5}, "epochs should be a whole number, came 6.5"),
        ("schedule", {"balance": "view"}, "balance should be a list of text, came 'view'"),
        ("network", {"pretrained": "no"}, "pretrained should be true or false, came 'no'"),
        ("data", {"left_out_films": {"a.png": 1}}, "should be an object whose values are text"),
        ("data", {"labels": ["covid", 3]}, "labels should be a list of text"),
    ],
)
def test_nonsense_is_refused(part: str, change: dict[str, Any], message: str) -> None:
    values = to_dict(two_heads())
    values[part] |= change

    with pytest.raises(ValueError, match=message):
        from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"heads": [{"name": "covid", "positive": ["covid"]}]},
            "heads: the key 'negative' is missing, expect",
        ),
        ({"heads": 5}, "heads: expected a list, came int"),
        ({"heads": ["covid"]}, "heads: expected an object, came str"),
        ({"schedule": 5}, "schedule: expected an object, came int"),
        ([], "config: expected an object, came list"),
        ({"name": 5, "heads": to_dict(one_head())["heads"]}, "config: name should be text, came 5"),
    ],
)
def test_a_config_file_of_another_shape_is_refused_in_words(
    values: Any, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(values))

    with pytest.raises(ValueError, match=rf"^mine.json: expected a config as JSON: {message}"):
        load_config(tmp_path / "mine.json")


def test_whole_numbers_stand_for_numbers_and_null_for_none() -> None:
    values = to_dict(one_head())
    values["schedule"]["probe"], values["decision"]["prevalence"] = 1, None

    assert from_dict(values).schedule.probe == 1


def test_an_older_config_file_is_still_read() -> None:
    values = to_dict(two_heads())
    values["decision"] = {"band_fraction": 0.15, "prevalence": None, "cam_percentile": 99.0}

    assert from_dict(values).decision == DecisionConfig(prevalence=None)


def test_a_head_with_an_unknown_label_is_refused() -> None:
    with pytest.raises(ValueError, match="flu"):
        Config(heads=(HeadConfig("flu", ("flu",), ("normal",)),))


def test_two_heads_of_one_name_are_refused() -> None:
    head = HeadConfig("covid", ("covid",), ("normal",))

    with pytest.raises(ValueError, match="share a name"):
        Config(heads=(head, head))


def test_a_label_cannot_answer_yes_and_no() -> None:
    with pytest.raises(ValueError, match="yes and no"):
        HeadConfig("covid", ("covid",), ("covid", "normal"))
