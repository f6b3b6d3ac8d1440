"""Memory of freed tensors is kept for the next ones, and the threads are those that were asked for."""

import json
import subprocess
import sys

import torch

from model import processor

PASSES = """
import json, resource, sys
import torch
from model import processor
if sys.argv[1] == "prepared":
    processor.prepare(1)
def new_pages(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
new_pages(20)
print(json.dumps(new_pages(10)))
"""
"""How many pages the kernel has to give for tensors of 64 MB that come and go."""


def new_pages(word: str) -> int:
    said = subprocess.run(
        [sys.executable, "-c", PASSES, word], capture_output=True, text=True, check=True, timeout=120
    )
    found: int = json.loads(said.stdout)
    return found


def test_the_pages_of_a_freed_tensor_serve_the_next_one() -> None:
    assert new_pages("prepared") < new_pages("as it comes") / 20


def test_the_threads_are_those_that_were_asked_for() -> None:
    before = torch.get_num_threads()
    try:
        processor.prepare(1)
        assert torch.get_num_threads() == 1
        processor.prepare()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
