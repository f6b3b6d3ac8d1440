"""Deletion and insertion curves of a map, and how far two maps agree."""

from typing import Any

import numpy as np
import torch
from monai.metrics.regression import SSIMMetric
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

GRID = 16
"""Cells a side in which a film is taken away or given back: the side of every input divides by it.

Single pixels would favour whatever scatters: a network stumbles over speckles, wherever they are.
"""
STEPS = 16
"""Points of a curve after its first; each takes or gives the same number of cells."""
BLUR_PART = 16
"""The blurred film that insertion starts from has this part of the side as the deviation of its blur."""
SSIM_SIDE_PX = 64


def on_grid(map_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the map in `GRID` cells a side: means where it is finer, interpolated where it is coarser."""
    map_11HW = torch.from_numpy(map_HW)[None, None]
    rows, columns = map_HW.shape
    mode = "area" if min(rows, columns) >= GRID else "bilinear"
    cells_11HW = functional.interpolate(map_11HW, size=(GRID, GRID), mode=mode)
    result: NDArray[np.float32] = cells_11HW[0, 0].numpy()
    return result


def blurred(film_CHW: Tensor) -> Tensor:
    """Return the film without its details: a Gaussian blur of a 16th of the side, edges mirrored."""
    side = film_CHW.shape[-1]
    deviation = side / BLUR_PART
    reach = min(int(3 * deviation), side - 1)
    x_K = torch.arange(-reach, reach + 1, dtype=film_CHW.dtype)
    kernel_K = torch.exp(-0.5 * (x_K / deviation) ** 2)
    kernel_K /= kernel_K.sum()
    channels = film_CHW.shape[0]
    padded = functional.pad(film_CHW[None], (reach, reach, reach, reach), mode="reflect")
    down = functional.conv2d(padded, kernel_K.view(1, 1, -1, 1).repeat(channels, 1, 1, 1), groups=channels)
    across = functional.conv2d(down, kernel_K.view(1, 1, 1, -1).repeat(channels, 1, 1, 1), groups=channels)
    return across[0]


def steps_between(start_CHW: Tensor, end_CHW: Tensor, cells_HW: NDArray[np.float32]) -> Tensor:
    """Return ``batch_NCHW`` on the way from one film to another, the highest cells first.

    The first is `start_CHW`, the last `end_CHW`; in between every step exchanges the same number of cells.
    Of equal cells the upper left one goes first.
    """
    order = np.argsort(-cells_HW.ravel(), kind="stable")
    rank_HW = np.empty(cells_HW.size, np.int64)
    rank_HW[order] = np.arange(cells_HW.size)
    taken_S = np.linspace(0, cells_HW.size, STEPS + 1).round().astype(np.int64)
    gone_SHW = rank_HW.reshape(cells_HW.shape) < taken_S[:, None, None]
    scale = start_CHW.shape[-1] // cells_HW.shape[-1]
    mask_S1HW = torch.from_numpy(gone_SHW.repeat(scale, axis=1).repeat(scale, axis=2))[:, None]
    return torch.where(mask_S1HW, end_CHW[None], start_CHW[None])


def area(values_S: NDArray[np.float64]) -> float:
    """Return the area under a curve over 0-1, by trapezoids."""
    return float(np.trapezoid(values_S, dx=1 / (len(values_S) - 1)))


def rank_correlation(first_HW: NDArray[np.float32], second_HW: NDArray[np.float32]) -> float:
    """Return Spearman's correlation of two maps of one shape; 0 where one of them is flat."""
    if np.ptp(first_HW) == 0 or np.ptp(second_HW) == 0:
        return 0.0
    return float(spearmanr(first_HW.ravel(), second_HW.ravel()).statistic)


def structural_similarity(first_HW: NDArray[np.float32], second_HW: NDArray[np.float32]) -> float:
    """Return the structural similarity (Wang et al. 2004) of two maps, each stretched to 0-1."""
    stretched = [_stretched(map_HW) for map_HW in (first_HW, second_HW)]
    found: Any = SSIMMetric(spatial_dims=2, data_range=1.0)(*stretched)
    return float(found.mean())


def _stretched(map_HW: NDArray[np.float32]) -> Tensor:
    size = (SSIM_SIDE_PX, SSIM_SIDE_PX)
    large = functional.interpolate(torch.from_numpy(map_HW)[None, None], size=size, mode="bilinear")
    low, high = large.min(), large.max()
    return (large - low) / (high - low).clamp_min(1e-12)
