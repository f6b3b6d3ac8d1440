"""Judge a film anew: one whose identity was changed, or a reported one by a newer model."""

import argparse

from worker import database
from worker.cli import installation
from worker.queries import reissue
from worker.queries.reissue import ModelKey


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which film."""
    parser.add_argument("image_id", type=int, help="as `status` and `results` show it")


def run(options: argparse.Namespace) -> int:
    """Send it back to the queue; what was reported of it before stays where it is."""
    current = installation.find()
    info = current.predictor.info
    model = ModelKey(info.name, info.version, info.weights_sha256)
    operator = f"{current.settings.node_id}/operator"
    with database.write(current.engine) as session:
        cause = reissue.reissue(session, options.image_id, model, actor=operator)
    print(f"image {options.image_id}: queued; {cause}")
    print("what was sent of this film before stays in the PACS: withdraw it there if it is wrong")
    return 0
