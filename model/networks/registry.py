"""Networks by name: a function that builds a module from film to last feature map."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Wanted:
    """What a network's builder is told."""

    outputs: int
    """Number of logits; most networks leave it to the heads."""
    input_px: int
    """Side of the square input, for networks that fix their padding by it."""
    width: float = 1.0
    """Factor on the number of channels."""
    depth: float = 1.0
    """Factor on the number of blocks."""
    drop_connect: float = 0.0
    """Stochastic depth in training."""


Builder = Callable[[Wanted], nn.Module]
Loader = Callable[[nn.Module], None]


@dataclass(frozen=True)
class Entry:
    """A network that can be asked for by name."""

    name: str
    """The name in `model.config.NetworkConfig.name`."""
    build: Builder
    """From `Wanted` to a module that turns ``batch_NCHW`` into its last feature map ``features_NCHW``."""
    scales: bool = False
    """Whether it heeds width and depth."""
    flattens: bool = False
    """Whether its heads weigh every cell of the last map instead of the average over the cells."""
    load_start: Loader | None = None
    """Puts published weights into the module; None where a start is random."""
    start: str = "random"
    """Where those weights come from, as a model tells it."""


_ENTRIES: dict[str, Entry] = {}


def register(
    name: str,
    *,
    scales: bool = False,
    flattens: bool = False,
    load_start: Loader | None = None,
    start: str = "random",
) -> Callable[[Builder], Builder]:
    """Return the decorator that enters a builder under `name`; see `Entry` for the arguments.

    Raises
    ------
    ValueError
        If another builder has that name.
    """

    def enter(build: Builder) -> Builder:
        known_as = _ENTRIES.get(name)
        # A file that is run and imported is entered twice; that is no clash of two networks.
        if known_as is not None and known_as.build.__qualname__ != build.__qualname__:
            raise ValueError(f"two networks are called {name!r}")
        _ENTRIES[name] = Entry(name, build, scales, flattens, load_start, start)
        return build

    return enter


def known() -> tuple[str, ...]:
    """Return the names that can be asked for."""
    return tuple(sorted(_ENTRIES))


def entry(name: str) -> Entry:
    """Return the network of that name.

    Raises
    ------
    ValueError
        If there is none; the message names those that there are.
    """
    if name not in _ENTRIES:
        raise ValueError(
            f"unknown network {name!r}, expected one of {list(known())}; "
            "a network of one's own is given by --network-file FILE, or in Python imported first: "
            "see docs/own-network.md"
        )
    return _ENTRIES[name]
