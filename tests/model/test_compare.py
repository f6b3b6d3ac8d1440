"""Two models are told apart on the same films, by patients, and only where they are the same films."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model.compare import compare, compare_predictions, delong, main, one_film_each, pair
from model.metrics import Scored, Units
from model.predictions import Predictions, read_logits, read_predictions, write_predictions


def predictions(p: NDArray[np.float64], truth: NDArray[np.bool_], units: Units) -> Predictions:
    films = len(p)
    return Predictions(
        [f"{n}.png" for n in range(films)], ["covid" if yes else "normal" for yes in truth], [""] * films,
        [""] * films, units, p, 0.5, ["positive" if value >= 0.5 else "negative" for value in p],
    )  # fmt: skip


@pytest.fixture
def drawn() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Scores of a good and a worse model that err on the same films, and the truth."""
    generator = np.random.default_rng(0)
    truth = generator.random(200) < 0.5
    hard = generator.normal(0, 1, 200)
    good = 1 / (1 + np.exp(-(2 * truth - 1 + hard)))
    worse = 1 / (1 + np.exp(-(1.2 * truth - 0.6 + hard + generator.normal(0, 0.4, 200))))
    return good, worse, truth


def named(films: int) -> Units:
    return Units(np.arange(films), np.ones(films, bool))


def by_definition(first: NDArray[np.float64], second: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """DeLong's z from every pair of films, as the paper writes it."""

    def placements(score: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        covid, rest = score[truth][:, None], score[~truth][None]
        wins = (covid > rest) + 0.5 * (covid == rest)
        return wins.mean(axis=1), wins.mean(axis=0)

    (a10, a01), (b10, b01) = placements(first), placements(second)
    difference10, difference01 = a10 - b10, a01 - b01
    variance = difference10.var(ddof=1) / len(a10) + difference01.var(ddof=1) / len(a01)
    return float((a10.mean() - b10.mean()) / math.sqrt(variance))


def test_delong_agrees_with_its_definition(drawn: tuple[NDArray[np.float64], ...]) -> None:
    good, worse, truth = drawn[0].round(2), drawn[1].round(2), drawn[2].astype(bool)

    found = delong(good, worse, truth)

    assert found.z == pytest.approx(by_definition(good, worse, truth))
    assert found.p == pytest.approx(math.erfc(abs(found.z) / math.sqrt(2)))
    assert found.low < found.first - found.second < found.high


def test_delong_by_hand() -> None:
    """Three films of each class; the second model ranks one pair the wrong way and ties another."""
    truth = np.array([True, True, True, False, False, False])
    first = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    second = np.array([6.0, 5.0, 2.0, 3.0, 2.0, 1.0])

    found = delong(first, second, truth)

    # Placements of the second: 1, 1, 1.5 / 3 and 2 / 3, 2.5 / 3, 1; variances 1 / 12 and 1 / 36, each over 3.
    assert (found.first, found.second) == (1.0, pytest.approx(7.5 / 9))
    assert found.z == pytest.approx((1.5 / 9) / math.sqrt(1 / 36 + 1 / 108))


def test_delong_of_a_model_and_itself_finds_nothing() -> None:
    truth = np.arange(20) % 3 == 0
    found = delong(np.arange(20.0), np.arange(20.0), truth)

    assert (found.z, found.p) == (0.0, 1.0)
    with pytest.raises(ValueError, match="two films of either class"):
        delong(np.arange(3.0), np.arange(3.0), np.array([True, False, False]))


def test_the_paired_interval_agrees_with_delong_where_both_may_be_used(
    drawn: tuple[NDArray[np.float64], ...],
) -> None:
    good, worse, truth = drawn[0], drawn[1], drawn[2].astype(bool)
    a, b = (Scored(p, truth, named(200), 0.5) for p in (good, worse))

    found = compare(a, b, "x")["roc_auc"]
    test = delong(good, worse, truth)

    assert found.difference.value == pytest.approx(test.first - test.second, abs=1e-5)
    assert found.difference.low == pytest.approx(test.low, abs=0.012)
    assert found.difference.high == pytest.approx(test.high, abs=0.012)
    assert found.p is not None
    assert found.p < 0.05
    assert found.difference.method.startswith("paired percentile bootstrap")


def test_pairing_narrows_the_interval_of_models_that_err_alike(
    drawn: tuple[NDArray[np.float64], ...],
) -> None:
    good, worse, truth = drawn[0], drawn[1], drawn[2].astype(bool)
    a, b = (Scored(p, truth, named(200), 0.5) for p in (good, worse))
    shuffled = np.random.default_rng(5).permutation(np.flatnonzero(truth))
    apart = worse.copy()
    apart[np.flatnonzero(truth)] = worse[shuffled]

    def width(second: Scored) -> float:
        figure = compare(a, second, "x")["roc_auc"].difference
        assert figure.low is not None
        assert figure.high is not None
        return figure.high - figure.low

    assert width(b) < 0.8 * width(replace(b, probability_N=apart))


def test_delong_is_left_out_unless_each_film_is_of_a_named_patient_of_its_own(
    drawn: tuple[NDArray[np.float64], ...],
) -> None:
    good, worse, truth = drawn[0], drawn[1], drawn[2].astype(bool)
    for units, allowed in (
        (named(200), True),
        (Units.alone(200), False),
        (Units(np.arange(200) // 2, np.ones(200, bool)), False),
    ):
        a, b = predictions(good, truth, units), predictions(worse, truth, units)
        assert one_film_each(a.scored("covid")) == allowed
        assert (compare_predictions(a, b, "covid")["delong"] is not None) == allowed


def test_films_are_matched_by_their_path(drawn: tuple[NDArray[np.float64], ...]) -> None:
    good, worse, truth = drawn[0], drawn[1], drawn[2].astype(bool)
    a = predictions(good, truth, named(200))
    turned = predictions(worse, truth, named(200)).ordered([f"{n}.png" for n in range(199, 49, -1)])

    ours, theirs = pair(a, turned)

    assert list(ours.path) == [f"{n}.png" for n in range(50, 200)]
    np.testing.assert_array_equal(theirs.probability_N, worse[50:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": [f"x{n}.png" for n in range(200)]}, "share no film"),
        ({"label": ["covid"] * 200}, "disagree about the label"),
        ({"units": Units(np.arange(200) // 2, np.ones(200, bool))}, "other patients"),
    ],
)
def test_other_films_are_not_compared(
    drawn: tuple[NDArray[np.float64], ...], change: dict[str, object], message: str
) -> None:
    a = predictions(drawn[0], drawn[2].astype(bool), named(200))

    with pytest.raises(ValueError, match=message):
        pair(a, replace(a, **change))  # type: ignore[arg-type]


def test_the_command_compares_two_files(
    drawn: tuple[NDArray[np.float64], ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    for file, p in zip(files, drawn[:2], strict=True):
        write_predictions(Path(file), predictions(p, drawn[2].astype(bool), named(200)), {})

    assert main([*files, "--out", str(tmp_path / "found.json")]) == 0

    found = json.loads((tmp_path / "found.json").read_text())
    assert found["films"] == 200
    assert found["figures"]["roc_auc"]["difference"]["low"] > 0
    assert "DeLong: z" in capsys.readouterr().out


def test_a_label_that_no_film_has_is_refused(
    drawn: tuple[NDArray[np.float64], ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_predictions(tmp_path / "a.csv", predictions(drawn[0], drawn[2].astype(bool), named(200)), {})

    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "a.csv"), str(tmp_path / "a.csv"), "--covid-label", "covd"])

    assert ended.value.code == 2
    assert "no film has the label covd, expected one of ['covid', 'normal']" in capsys.readouterr().err


def test_the_command_says_what_is_wrong_with_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("path,score\nx,1\n")

    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "a.csv"), str(tmp_path / "a.csv")])

    assert ended.value.code == 2
    assert "predictions.csv" in capsys.readouterr().err


def test_predictions_survive_their_file_to_the_bit(
    drawn: tuple[NDArray[np.float64], ...], tmp_path: Path
) -> None:
    before = predictions(drawn[0], drawn[2].astype(bool), Units(np.arange(200) // 3, np.arange(200) % 2 == 0))
    write_predictions(tmp_path / "p.csv", before, {"head": np.arange(200.0)})

    after = read_predictions(tmp_path / "p.csv")

    np.testing.assert_array_equal(after.probability_N, before.probability_N)
    np.testing.assert_array_equal(after.units.number_N, before.units.number_N)
    np.testing.assert_array_equal(after.units.named_N, before.units.named_N)
    np.testing.assert_array_equal(after.scored("covid").called, before.scored("covid").called)
    assert list(after.decision) == list(before.decision)


def test_a_row_that_was_cut_in_its_logits_is_refused(tmp_path: Path) -> None:
    header = "path,label,source,view,unit,patient_named,probability,threshold,decision,one,two\n"
    (tmp_path / "p.csv").write_text(header + "a.png,covid,,,0,no,0.5,0.5,positive,0.25\n")

    with pytest.raises(ValueError, match=r"p\.csv: a logit was expected"):
        read_logits(tmp_path / "p.csv", ["one", "two"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,covid,,,0,no,0.5,0.5,maybe", "unknown decision"),
        ("a.png,covid,,,0,no,1.5,0.5,positive", "0 to 1"),
        ("a.png,covid,,,0,no,much,0.5,positive", "a number was expected"),
        ("a.png,covid,,,0,no,0.5,0.5,positive\na.png,covid,,,0,no,0.5,0.5,positive", "each film once"),
    ],
)
def test_a_file_of_nonsense_is_refused(row: str, message: str, tmp_path: Path) -> None:
    header = "path,label,source,view,unit,patient_named,probability,threshold,decision\n"
    (tmp_path / "p.csv").write_text(header + row + "\n")

    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / "p.csv")
