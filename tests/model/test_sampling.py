"""Draws are balanced and shared, losses ask only what is to be asked, classes are told from questions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.answers import covid_log_odds, head_probabilities
from model.cam import raw_cam
from model.config import (
    Config,
    HeadConfig,
    ScheduleConfig,
    three_class,
    two_heads,
)
from model.engines import Inferer, head_auc
from model.loaders import share
from model.losses import class_loss, make_loss, masked_loss
from model.manifest import Film
from model.network import build_network
from model.sampling import BalancedSampler, sampling_weights


def test_sources_are_balanced_where_the_schedule_says_so() -> None:
    films = [Film(f"a{n}", "pneumonia", source="rsna") for n in range(30)]
    films += [Film(f"b{n}", "normal", source="rsna") for n in range(10)]
    films += [Film(f"c{n}", "pneumonia", source="darkcovidnet") for n in range(5)]
    films += [Film(f"d{n}", "normal", source="darkcovidnet") for n in range(15)]
    config = two_heads()
    abnormal = replace(config.heads[0], sources=("rsna", "darkcovidnet"))
    config = replace(config, heads=(abnormal, *config.heads[1:]))

    by_view = sampling_weights(films, config)
    by_source = sampling_weights(
        films, replace(config, schedule=replace(config.schedule, balance=("source", "view")))
    )

    def yes_in(weights: np.ndarray, source: str) -> float:  # type: ignore[type-arg]
        there = np.array([film.source == source for film in films])
        yes = np.array([film.label == "pneumonia" for film in films])
        return float(weights[there & yes].sum() / weights[there].sum())

    assert yes_in(by_source, "rsna") == pytest.approx(0.5)
    assert yes_in(by_source, "darkcovidnet") == pytest.approx(0.5)
    assert yes_in(by_view, "rsna") > 0.6
    assert by_source[:40].sum() == pytest.approx(40 / 60)


def test_classes_are_drawn_equally_often() -> None:
    films = [Film(f"a{n}", "covid") for n in range(5)] + [Film(f"b{n}", "normal") for n in range(50)]
    films += [Film(f"c{n}", "pneumonia") for n in range(20)] + [Film("d", "other")]

    weights = sampling_weights(films, three_class())

    sums = [
        float(weights[[film.label == label for film in films]].sum())
        for label in ("covid", "normal", "pneumonia")
    ]
    assert sums == pytest.approx([1 / 3] * 3)
    assert weights[-1] == 0


def test_processes_share_the_draws_of_one() -> None:
    weights = np.full(40, 1 / 40)
    schedule = ScheduleConfig(steps=3, batch=8)
    whole = BalancedSampler(weights, schedule)
    parts = [BalancedSampler(weights, schedule, rank, 2) for rank in range(2)]
    for sampler in (whole, *parts):
        sampler.epoch = 5

    assert [len(part) for part in parts] == [12, 12]
    assert [index for pair in zip(*map(list, parts), strict=True) for index in pair] == list(whole)


def test_validation_films_are_shared_without_counting_one_twice() -> None:
    items = [{"image": n, "targets": torch.tensor([float(n)])} for n in range(5)]

    parts = [share(items, rank, 2) for rank in range(2)]

    assert [len(part) for part in parts] == [3, 3]
    asked = sorted(
        int(item["image"]) for part in parts for item in part if not torch.isnan(item["targets"]).any()
    )
    assert asked == [0, 1, 2, 3, 4]


def test_a_process_that_drew_nothing_adds_nothing_to_the_loss() -> None:
    logits = torch.ones(2, 3, requires_grad=True)
    nothing = torch.full((2, 3), float("nan"))

    for loss in (masked_loss(0.1), class_loss(0.1)):
        value = loss(logits, nothing)
        value.backward()
        assert value.item() == 0


def test_the_class_loss_is_cross_entropy_over_the_films_that_have_a_class() -> None:
    nan = float("nan")
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])

    value = make_loss(replace(three_class(), schedule=ScheduleConfig(label_smoothing=0.0)))(
        logits, torch.tensor([[1.0, 0.0, 0.0], [nan, nan, nan]])
    )

    assert value.item() == pytest.approx(-2 + np.log(np.exp(2) + 1 + np.exp(-1)))


def test_the_odds_of_a_class_are_its_probability_against_the_rest() -> None:
    logits = np.array([[1.0, 0.5, -2.0], [800.0, 0.0, 0.0]])

    odds = covid_log_odds(logits, three_class())
    probabilities = head_probabilities(logits, three_class())

    assert probabilities.sum(axis=1) == pytest.approx([1, 1])
    assert odds[0] == pytest.approx(np.log(probabilities[0, 0] / (1 - probabilities[0, 0])))
    assert np.isfinite(odds).all()


def test_the_map_of_a_class_is_the_gradient_of_its_log_probability() -> None:
    config = replace(
        three_class(), network=replace(three_class().network, name="darkcovidnet", pretrained=False)
    )
    config = replace(config, transforms=replace(config.transforms, input_px=64))
    torch.manual_seed(0)
    network = build_network(config).eval()
    shape = network.features(torch.zeros(2, 3, 64, 64)).shape
    features = torch.randn(shape, requires_grad=True)
    logits = network.classify(features)

    torch.log_softmax(logits, dim=1)[:, 0].sum().backward()
    assert features.grad is not None
    mean_NC11 = features.grad.mean(dim=(2, 3), keepdim=True)
    expected = torch.relu((mean_NC11 * features).sum(dim=1))

    assert float(expected.detach().max()) > 1e-3
    torch.testing.assert_close(raw_cam(network, features, logits), expected, atol=1e-6, rtol=1e-4)


def test_the_area_of_a_class_ranks_by_probability_not_by_logit() -> None:
    # By the logits of class 0 alone the order would be the other way round.
    logits = torch.tensor([[3.0, 5.0, 0.0], [2.0, 0.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])

    assert head_auc(0, three_class())(logits, targets) == 1.0


@pytest.mark.parametrize(("precision", "is_half"), [("float32", False), ("bf16", True)])
def test_the_forward_pass_has_the_precision_that_is_asked_for(precision: str, is_half: bool) -> None:
    layer = torch.nn.Linear(64, 8)
    batch = torch.randn(4, 64)

    said = Inferer(precision, torch.device("cpu"))(batch, layer)

    assert said.dtype == torch.float32
    assert torch.equal(said, said.bfloat16().float()) is is_half


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        ((HeadConfig("covid", ("covid",), ("normal",)),), "at least two classes"),
        (
            (HeadConfig("a", ("covid",), ("normal",)), HeadConfig("b", ("normal",), ("pneumonia",))),
            r"class b must deny .'covid'",
        ),
        (
            (HeadConfig("a", ("other",), ("normal",)), HeadConfig("b", ("normal",), ("other",))),
            "no class holds 'covid'",
        ),
    ],
)
def test_classes_that_do_not_exclude_each_other_are_refused(
    heads: tuple[HeadConfig, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Config(heads=heads, link="softmax")
