"""Which films an epoch draws: balanced between answers and places, the same after a break."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Sampler

from model.config import Config, ScheduleConfig
from model.manifest import EXPECTED, Film
from model.targets import head_answer

Place = tuple[Hashable, ...]
JOINED: Place = ("joined",)


def sampling_weights(films: Sequence[Film], config: Config) -> NDArray[np.float64]:
    """Return the probability of drawing each film, so that neither class nor place tells the answer.

    Each head gets its share of the draws. Within a head every place (view, or source and view: the columns
    in ``schedule.balance``) gets draws in proportion to its films, half of them for yes and half for no:
    sicker patients are filmed lying down, and the network must not learn that. Places in which an answer
    is missing are joined. Classes that exclude each other are drawn equally often in every place.

    Raises
    ------
    ValueError
        If no film answers any head.
    """
    shares = np.array([head.share for head in config.heads])
    weights: NDArray[np.float64] = answer_weights(films, config) @ (shares / shares.sum())
    if not weights.any():
        raise ValueError("no training film answers any head: " + EXPECTED)
    weights /= weights.sum()
    return weights


def answer_weights(films: Sequence[Film], config: Config) -> NDArray[np.float64]:
    """Return ``weights_NK``: how often a head draws a film; each column's sum is 1, or 0 where none is asked.

    Classes that exclude each other are one question: their columns are alike.
    """
    places: list[Place] = [tuple(getattr(film, name) for name in config.schedule.balance) for film in films]
    if config.link == "softmax":
        classes = {
            index: head.name
            for head in config.heads
            for index, film in enumerate(films)
            if head_answer(film, head) == 1
        }
        return np.repeat(_balanced(classes, places)[:, None], len(config.heads), axis=1)
    columns = []
    for head in config.heads:
        answers = {
            index: answer
            for index, film in enumerate(films)
            if not math.isnan(answer := head_answer(film, head))
        }
        columns.append(_balanced(answers, places))
    return np.stack(columns, axis=1)


def _balanced(answers: Mapping[int, Hashable], places: Sequence[Place]) -> NDArray[np.float64]:
    """Return weights of sum 1: places by their films, answers equally within each place."""
    weights: NDArray[np.float64] = np.zeros(len(places))
    seen: dict[Place, set[Hashable]] = defaultdict(set)
    for index, answer in answers.items():
        seen[places[index]].add(answer)
    kinds = len(set(answers.values()))
    cells: dict[Place, dict[Hashable, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, answer in answers.items():
        place = places[index] if len(seen[places[index]]) == kinds else JOINED
        cells[place][answer].append(index)
    for sides in cells.values():
        mass = sum(len(members) for members in sides.values())
        for members in sides.values():
            weights[members] += mass / len(answers) / len(sides) / len(members)
    return weights


def epoch_seed(seed: int, epoch: int) -> int:
    """Return the seed of everything random in an epoch: a resumed run draws the same."""
    return (seed * 100_003 + epoch) % 2**31


class BalancedSampler(Sampler[int]):
    """Draws films by weight, with replacement; an epoch's draws depend on its number and the seed alone.

    Parameters
    ----------
    weights
        From `sampling_weights`.
    schedule
        Steps, films in a batch, seed.
    rank, processes
        Of several processes each takes its part of the same draws.
    """

    def __init__(
        self, weights: NDArray[np.float64], schedule: ScheduleConfig, rank: int = 0, processes: int = 1
    ) -> None:
        self.weights = torch.from_numpy(weights)
        self.size = schedule.steps * schedule.batch
        self.seed = schedule.seed
        self.rank, self.processes = rank, processes
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of draws of this process in an epoch."""
        return self.size // self.processes

    def __iter__(self) -> Iterator[int]:
        """Return this process's draws of the current epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        drawn: list[int] = torch.multinomial(self.weights, self.size, True, generator=generator).tolist()
        return iter(drawn[self.rank :: self.processes])
