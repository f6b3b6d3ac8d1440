"""Who computes the one pass: PyTorch on processor or graphics card, or OpenVINO, equal within `TOLERANCE`."""

import functools
import logging
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from model.checkpoint import BadModel
from model.one_pass import OnePass, Outputs

log = logging.getLogger(__name__)

Choice = Literal["auto", "openvino", "pytorch"]
TOLERANCE = 1e-3
"""Largest difference between two backends: in probability and map, and in an output by its range."""


class BackendUnusable(BadModel):
    """The backend that was asked for is not here, or does not compute what PyTorch computes."""


class Backend(Protocol):
    """A network, ready to compute one film at a time."""

    name: str
    """As a result names it."""

    def __call__(self, film_NCHW: Tensor) -> Outputs:
        """Return the outputs for one film, ``(1, 3, side, side)``, on the processor."""
        ...


class PytorchBackend:
    """The pass as PyTorch runs it, on the graphics card where there is one.

    Parameters
    ----------
    one_pass
        The pass of a trained network; it is moved to the device.
    """

    def __init__(self, one_pass: OnePass) -> None:
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._one_pass = one_pass.to(self._device)
        self.name = f"pytorch-{self._device.type}"

    def __call__(self, film_NCHW: Tensor) -> Outputs:
        """Return the outputs for one film."""
        batch_NCHW = film_NCHW.to(self._device).contiguous(memory_format=torch.channels_last)
        # cuDNN rounds the factors of a convolution to ten bits unless told otherwise: too coarse.
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            return Outputs(*(tensor.cpu().numpy() for tensor in self._one_pass(batch_NCHW)))


class OpenvinoBackend:
    """The same pass as OpenVINO's graph, converted from PyTorch's when this is made.

    Parameters
    ----------
    one_pass
        The pass of a trained network, on the processor; it is not needed any more afterwards.
    input_px
        Side of the square input.
    threads
        Threads of one pass; None leaves them to OpenVINO.

    Raises
    ------
    ImportError
        If the package openvino is not installed.
    model.export.NotConvertible
        If OpenVINO does not know an operation of the network.
    RuntimeError
        If OpenVINO does not run on this processor.
    """

    name = "openvino-cpu"

    def __init__(self, one_pass: OnePass, input_px: int, threads: int | None = None) -> None:
        # Imported here: PyTorch serves without it.
        from model.export import converted

        options: dict[str, Any] = {
            # Where the processor has bf16 OpenVINO takes it on its own, and a logit is off by 0.007.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            # Else each process binds its threads to the same first processors, whatever runs there.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        self.compiled = _core().compile_model(converted(one_pass, input_px), "CPU", options)
        self._request = self.compiled.create_infer_request()

    def __call__(self, film_NCHW: Tensor) -> Outputs:
        """Return the outputs for one film."""
        said = self._request.infer([np.ascontiguousarray(film_NCHW.numpy())])
        return Outputs(*(said[name] for name in Outputs._fields))


@functools.cache
def _core() -> Any:
    """Return this process's one OpenVINO core, which is never given up.

    Its processor plug-in lays a signal stack of its own under the thread that first compiles
    (openvinotoolkit, pull request 11894) and unmaps it when the last model goes, in whichever thread that is.
    Done in another thread, the first one keeps a stack that is no more, and its next signal ends the process.
    """
    import openvino

    return openvino.Core()


def open_backend(
    one_pass: OnePass, input_px: int, choice: Choice = "auto", threads: int | None = None
) -> Backend:
    """Return the backend that is to serve.

    Parameters
    ----------
    one_pass
        The pass of a trained network, on the processor.
    input_px
        Side of the square input.
    choice
        ``auto`` takes PyTorch where there is a graphics card; on a processor OpenVINO, or PyTorch, with a
        warning, where OpenVINO is missing, cannot take the network over, or computes something else.
    threads
        Threads of OpenVINO; those of PyTorch belong to the process and are left alone.

    Raises
    ------
    BackendUnusable
        If ``openvino`` was asked for by name and cannot serve.
    """
    if choice == "pytorch" or (choice == "auto" and torch.cuda.is_available()):
        return PytorchBackend(one_pass)
    try:
        return _checked_openvino(one_pass, input_px, threads)
    except BackendUnusable as error:
        if choice == "openvino":
            raise BackendUnusable(f'{error}; set backend to "auto" or "pytorch"') from error
        log.warning("%s; PyTorch computes instead", error)
        return PytorchBackend(one_pass)


def _checked_openvino(one_pass: OnePass, input_px: int, threads: int | None) -> Backend:
    try:
        made = OpenvinoBackend(one_pass, input_px, threads)
    except (ImportError, ValueError, RuntimeError) as error:
        raise BackendUnusable(f"OpenVINO cannot serve this network here: {error}") from error
    off = difference(made, one_pass, input_px)
    if not off <= TOLERANCE:
        raise BackendUnusable(
            f"expected OpenVINO to compute what PyTorch does within {TOLERANCE}, it is off by {off:.2g}"
        )
    return made


def difference(backend: Backend, one_pass: OnePass, input_px: int) -> float:
    """Return how far a backend is from PyTorch on a film of noise: of each output's range, and at most.

    The range of an output is its largest value, but not less than 1. NaN means no number came.
    """
    noise_NCHW = torch.randn(1, 3, input_px, input_px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in one_pass(noise_NCHW)]
    shares = [
        np.abs(came - meant).max() / max(1.0, np.abs(meant).max())
        for came, meant in zip(backend(noise_NCHW), expected, strict=True)
    ]
    return float(np.max(shares))
