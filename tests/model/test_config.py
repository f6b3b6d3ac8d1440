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
    ],
)
def test_nonsense_is_refused(part: str, change: dict[str, Any], message: str) -> None:
    values = to_dict(two_heads())
    values[part] |= change

    with pytest.raises(ValueError, match=message):
        from_dict(values)


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
