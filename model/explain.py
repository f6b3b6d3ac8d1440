"""Where the network looked: Grad-CAM of log P(COVID-19), always of COVID-19, from the forward pass itself."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from dicom_io.errors import CxrError
from model.network import FilmNetwork


def raw_cam(network: FilmNetwork, features_NCHW: Tensor, logits_NK: Tensor) -> Tensor:
    """Return the exact Grad-CAM ``map_NHW`` of log P(COVID-19), not negative, one value per feature cell.

    Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) weighs each feature channel by the average gradient of
    the explained score, and cuts off what is negative. Here the score is ``sum_k log sigmoid(logit_k)``, or
    the log-softmax of COVID-19's class, and the logits are linear in the features, so that the average
    gradient is known without a backward pass: ``sum_k pull_k * weight_kc / (H * W)``, where the pull is
    ``1 - sigmoid(logit_k)`` for questions. It equals
    ``monai.visualize.GradCAM`` before its normalisation. Calibration multiplies the map of a film by one
    number at most, and is left out.
    """
    cells = features_NCHW.shape[2] * features_NCHW.shape[3]
    pull_NK = network.pull(logits_NK) / cells
    channels_NC = pull_NK @ network.channel_weights()
    return functional.relu(torch.einsum("nc,nchw->nhw", channels_NC, features_NCHW))


def scaled_cam(map_NHW: Tensor, cam_scale: float) -> Tensor:
    """Return the map on the model's fixed scale, cut off at 1: never stretched per film."""
    return (map_NHW / cam_scale).clamp(0.0, 1.0)


def overlay(image_HW: NDArray[np.float32], cam_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the film with the map laid over it in red, uint8 of shape ``(rows, columns, 3)``.

    Where the map is 0 the film stays as it is; the map is enlarged to the film's size.
    """
    tall, wide = image_HW.shape
    large = Image.fromarray(cam_HW).resize((wide, tall), Image.Resampling.BILINEAR)
    heat_HW = np.clip(np.asarray(large, np.float32), 0.0, 1.0)
    share_HW = 0.6 * heat_HW
    film_HW = np.clip(image_HW, 0.0, 1.0) * (1.0 - share_HW)
    coloured = np.stack([film_HW + share_HW, film_HW, film_HW], axis=-1)
    return np.asarray(np.rint(coloured * 255), np.uint8)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    # The predictor explains by this module, hence not at its top.
    from model.predict import Predictor
    from model.transforms import load_film

    parser = argparse.ArgumentParser(prog="python -m model.explain", description="Draw heat maps over films.")
    parser.add_argument("films", nargs="+", type=Path, metavar="FILE", help="PNG, JPEG or DICOM films")
    parser.add_argument("--model", type=Path, metavar="DIR", help="model folder; the shipped one by default")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures")
    options = parser.parse_args(arguments)
    try:
        predictor = Predictor(options.model)
        options.out.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(options.films, 1):
            image_HW = load_film(path)
            said = predictor(image_HW)
            # Films of different folders may share a name.
            target = options.out / f"{number:03d}-{path.stem}.png"
            Image.fromarray(overlay(image_HW, said.cam_HW)).save(target)
            print(f"{path.name}: {said.decision}, P(COVID-19) {said.probability:.3f}, map in {target}")
    except (OSError, CxrError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print("The map explains COVID-19, on one scale for all films. For research and teaching only.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
