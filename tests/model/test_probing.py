"""A probe as the start of the heads, what is kept of the start, and what a head's prevalence moves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from model import data
from model.config import LABELS, Config, NetworkConfig, three_class
from model.network import FilmNetwork, build_network
from model.probing import frozen_features, probe_heads
from model.train import Run, train


def asked(config: Config, manifest: Path, head: int) -> tuple[list[data.Film], NDArray[np.float64]]:
    films = data.read_manifest(manifest, LABELS)
    answers = data.targets(films, config)[:, head]
    chosen = ~np.isnan(answers)
    return [film for film, one in zip(films, chosen, strict=True) if one], answers[chosen]


@pytest.fixture
def network(small_config: Config) -> FilmNetwork:
    torch.manual_seed(3)
    return build_network(small_config).eval()


def with_schedule(config: Config, **values: float) -> Config:
    return replace(config, schedule=replace(config.schedule, **values))


@pytest.mark.parametrize("head", [0, 1])
def test_the_heads_are_the_ridge_regression_of_the_features(
    network: FilmNetwork, small_config: Config, families: Path, head: int
) -> None:
    config = with_schedule(small_config, probe=0.5)
    every = data.read_manifest(families, LABELS)
    probe_heads(network, config, families.parent, every)

    films, answers = asked(config, families, head)
    features = frozen_features(network, config, families.parent, films)
    scaled = StandardScaler().fit_transform(features)
    by_hand = LogisticRegression(C=2.0 / len(films), max_iter=5000, class_weight="balanced")
    expected = by_hand.fit(scaled, answers).decision_function(scaled)
    logits = network.classify(torch.from_numpy(features).float()[:, :, None, None])
    assert np.ptp(expected) > 0.1
    assert logits[:, head].detach().numpy() == pytest.approx(expected, abs=2e-3)


def test_classes_are_probed_together(families: Path, small_config: Config) -> None:
    config = replace(
        three_class(),
        network=small_config.network,
        transforms=small_config.transforms,
        schedule=replace(small_config.schedule, probe=0.1),
    )
    network = build_network(config).eval()
    films = data.read_manifest(families, LABELS)
    probe_heads(network, config, families.parent, films)

    features = frozen_features(network, config, families.parent, films)
    logits = network.classify(torch.from_numpy(features).float()[:, :, None, None])
    called = logits.argmax(dim=1).numpy()
    truth = data.targets(films, config).argmax(axis=1)
    assert (called == truth).mean() > 0.6
    assert logits.sum(dim=1).detach().numpy() == pytest.approx(0, abs=1e-3), "classes have no common shift"


def test_a_head_without_both_answers_is_told_by_name(
    network: FilmNetwork, small_config: Config, families: Path
) -> None:
    films = [film for film in data.read_manifest(families, LABELS) if film.label != "normal"]
    with pytest.raises(ValueError, match="head opacity: every training film has the same answer"):
        probe_heads(network, with_schedule(small_config, probe=1.0), families.parent, films)


def test_a_network_that_weighs_every_cell_has_no_probe(families: Path, small_config: Config) -> None:
    flat = NetworkConfig(name="darkcovidnet", pretrained=False, dropout=0.0, drop_connect=0.0)
    config = with_schedule(replace(small_config, network=flat), probe=1.0)
    films = data.read_manifest(families, LABELS)
    with pytest.raises(ValueError, match="darkcovidnet has no pooled features"):
        probe_heads(build_network(config), config, families.parent, films)


@pytest.mark.parametrize("blend", [0.0, 0.25])
def test_what_is_kept_lies_between_start_and_end(
    families: Path, small_config: Config, tmp_path: Path, blend: float
) -> None:
    config = with_schedule(small_config, probe=1.0, blend=blend)
    train(config, Run(families, tmp_path))
    start, best, kept = (
        load_file(tmp_path / name)
        for name in ("start.safetensors", "best.safetensors", "model/weights.safetensors")
    )

    moved = max(
        float((best[key] - start[key]).abs().max()) for key in start if start[key].is_floating_point()
    )
    assert moved > 1e-4
    for key, value in kept.items():
        if value.is_floating_point():
            expected = start[key] + blend * (best[key] - start[key])
            assert torch.allclose(value, expected, atol=1e-6), key


def test_a_resumed_run_ends_as_one_that_never_stopped(
    families: Path, small_config: Config, tmp_path: Path
) -> None:
    config = with_schedule(small_config, probe=1.0, blend=0.5)
    train(config, Run(families, tmp_path / "whole"))
    train(config, Run(families, tmp_path / "broken", stop_after=1))
    train(config, Run(families, tmp_path / "broken", resume=True))

    whole, broken = (
        (tmp_path / name / "model" / "weights.safetensors").read_bytes() for name in ("whole", "broken")
    )
    assert whole == broken


def test_a_heads_prevalence_moves_its_log_odds(families: Path, small_config: Config, tmp_path: Path) -> None:
    first, second = small_config.heads
    config = with_schedule(replace(small_config, heads=(replace(first, prevalence=0.9), second)), blend=0.0)
    train(config, Run(families, tmp_path))
    kept = load_file(tmp_path / "model" / "weights.safetensors")

    assert kept["heads.bias"].numpy() == pytest.approx([np.log(9), 0.0], abs=1e-6)


def test_frozen_norm_learns_no_averages_but_still_its_weights(
    families: Path, small_config: Config, tmp_path: Path
) -> None:
    config = replace(small_config, network=replace(small_config.network, frozen_norm=True))
    train(config, Run(families, tmp_path))
    start, best = (load_file(tmp_path / name) for name in ("start.safetensors", "best.safetensors"))

    averages = [key for key in start if key.endswith(("running_mean", "running_var"))]
    assert averages
    assert all(torch.equal(start[key], best[key]) for key in averages)
    assert not torch.equal(start["heads.weight"], best["heads.weight"])
