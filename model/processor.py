"""What this process tells the processor and the C library before a network computes in it."""

import ctypes

import torch

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``."""


def prepare(threads: int | None = None) -> None:
    """Set the number of threads, and keep the memory of freed tensors for the next ones.

    By default glibc gives every large block back at once; each map of a network's pass is then new memory,
    and the kernel clears it page by page: half of the time of a training step at 288 px. Other C libraries
    stay as they are.

    Parameters
    ----------
    threads
        Threads of one operation; None leaves them to PyTorch.

    References
    ----------
    mallopt(3) of the Linux man-pages.
    """
    if threads:
        torch.set_num_threads(threads)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, -1)


def give_back() -> None:
    """Give the memory of freed tensors back to the kernel, before a process is forked from this one.

    The other process would share those pages only until the next pass writes to them: then there are two of
    each, and training takes twice its memory.

    References
    ----------
    malloc_trim(3) of the Linux man-pages.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
