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


FORKED = """
import json, sys
import torch
from model import processor
from model.loaders import LeanLoader
processor.prepare(1)
def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 1_000_000
class Measured(torch.utils.data.Dataset):
    def __len__(self):
        return 1
    def __getitem__(self, index):
        return resident_mb()
before = resident_mb()
torch.ones(100_000_000)
held = resident_mb()
(forked,) = LeanLoader(Measured(), num_workers=1)
print(json.dumps([before, held, int(forked), resident_mb()]))
"""
"""Megabytes before a tensor of 400 MB, after it was freed, in a loader's process, and here afterwards."""


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


def test_a_loaders_process_does_not_take_the_memory_of_what_was_freed() -> None:
    said = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, check=True, timeout=120
    )
    before, held, forked, after = json.loads(said.stdout)

    assert held > before + 350, "nothing was kept that could be given back"
    assert forked < before + 100
    assert after < before + 100
