"""The networks that a configuration can name; importing this package puts them into the registry."""

from model.networks import darkcovidnet, efficientnet, residual, teaching
from model.networks.registry import Entry, Wanted, entry, known, register

__all__ = [
    "Entry",
    "Wanted",
    "darkcovidnet",
    "efficientnet",
    "entry",
    "known",
    "register",
    "residual",
    "teaching",
]
