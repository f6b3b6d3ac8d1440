"""Maps of where a network looked, by name; importing this package fills the table."""

from model.maps.registry import GRADCAM, METHODS, Method, method

__all__ = ["GRADCAM", "METHODS", "Method", "method"]
