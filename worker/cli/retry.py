"""Take up again what was given up: a dead film's analysis, or its dead deliveries."""

import argparse

from worker import database
from worker.cli import installation
from worker.queries import ledger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which films."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("image_id", nargs="*", type=int, default=[], help="as `status` and `results` show it")
    which.add_argument("--all-dead", action="store_true", help="every film that is dead, or whose report is")


def run(options: argparse.Namespace) -> int:
    """Reopen all of these films, or none."""
    current = installation.find()
    with database.write(current.engine) as session:
        chosen = options.image_id or [
            *(image.id for image in ledger.dead_images(session)),
            *(image_id for image_id, _, _ in ledger.undelivered(session)),
        ]
        operator = f"{current.settings.node_id}/operator"
        states = {image_id: ledger.retry(session, image_id, actor=operator) for image_id in chosen}
    # After the commit: one that is refused takes the others back with it.
    for image_id, state in states.items():
        print(f"image {image_id}: {state}")
    return 0
