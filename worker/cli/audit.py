"""Balance the ledger: received = reported + refused + dead + waiting; exit 1 when it does not."""

import argparse
import json
import sys

from worker import database
from worker.cli import installation
from worker.queries import ledger
from worker.states import ImageState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of form."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print the sum and say whether it balances."""
    current = installation.find()
    with database.read(current.engine) as session:
        counted = ledger.ledger(session)
        lost = ledger.lost_images(session)
    ends = {
        state.value: counted.count(state)
        for state in (ImageState.REPORTED, ImageState.REFUSED, ImageState.DEAD)
    }
    sums = {
        "received": counted.received,
        **ends,
        "waiting": counted.waiting,
        "difference": counted.difference,
    }
    balanced = counted.difference == 0 and not lost
    if options.json:
        json.dump({**sums, "balanced": balanced, "lost_image_ids": lost}, sys.stdout, indent=2)
        print()
    else:
        right = " + ".join(f"{n} {name}" for name, n in [*ends.items(), ("waiting", counted.waiting)])
        print(f"{counted.received} received = {right}: {'balanced' if balanced else 'DOES NOT BALANCE'}")
        for image_id in lost:
            print(f"  image {image_id} was received and has no row any more; its events are still there")
    return 0 if balanced else 1
