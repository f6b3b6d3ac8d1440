"""Show where everything stands: ledger, deliveries, queues, and who was turned away."""

import argparse
import json
import socket
import sys
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from dicom_io import scu
from worker import broker, context, database, own_port
from worker.cli import installation
from worker.cli.terminal import visible
from worker.queries import ledger
from worker.settings import Settings
from worker.states import DeliveryState, ImageState

QUEUES = ("analyse", "deliver")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the choice of form."""
    parser.add_argument("--json", action="store_true", help="one JSON object instead of tables")


def run(options: argparse.Namespace) -> int:
    """Print the state of the installation."""
    state = collect(installation.find())
    if options.json:
        json.dump(state, sys.stdout, indent=2, default=str)
        print()
    else:
        show(state, Console())
    return 0


def collect(current: context.Context) -> dict[str, Any]:
    """Gather everything that `status` tells."""
    settings = current.settings
    with database.read(current.engine) as session:
        counted = ledger.ledger(session)
        deliveries = ledger.deliveries(session)
        waiting = ledger.waiting_deliveries(session)
        rejections = ledger.rejections(session)
        dead = ledger.dead_images(session)
        undelivered = ledger.undelivered(session)
        refusals = ledger.refusals(session)
        changed = ledger.changed_identities(session)
    return {
        "listener": {
            "address": f"{settings.listener.aet}@{settings.listener.host}:{settings.listener.port}",
            "answers": _listener_answers(settings),
        },
        "queues": broker.queue_lengths(settings.effective_broker_url, QUEUES),
        "received": counted.received,
        "images": {state.value: counted.count(state) for state in ImageState},
        "deliveries": [{"destination": d, "state": s, "proof": p, "count": n} for d, s, p, n in deliveries],
        "waiting_deliveries": [
            {
                "destination": d,
                "reason": reason,
                "count": n,
                "next_try_at": due_at.isoformat(timespec="seconds"),
            }
            for d, reason, n, due_at in waiting
        ],
        "refused": dict(refusals),
        "identity_changed": [{"image_id": i.id, "detail": i.reason_detail} for i in changed],
        "dead": [{"image_id": i.id, "reason": i.reason, "detail": i.reason_detail} for i in dead],
        "undelivered": [{"image_id": i, "deliveries": n, "detail": reason} for i, n, reason in undelivered],
        "rejections": [
            {
                "calling_aet": r.calling_aet,
                "host": r.calling_host,
                "reason": r.reason,
                "detail": r.detail,
                "count": r.count,
                "last_at": r.last_at.isoformat(),
                "to_admit": admitting_lines(r.calling_aet, r.calling_host)
                if r.reason == "unknown_sender"
                else None,
            }
            for r in rejections
        ],
    }


def admitting_lines(aet: str, host: str) -> str:
    """The lines of configuration that would let this sender in."""
    # json.dumps writes a string that TOML reads, whatever the peer put into its title.
    return f"[[sender]]\naet = {json.dumps(aet)}\nhost = {json.dumps(host)}"


def show(state: dict[str, Any], console: Console) -> None:
    """Print as tables."""
    listener, queues = state["listener"], state["queues"]
    answers = "answers" if listener["answers"] else "does not answer"
    console.print(f"listener {listener['address']}: {answers}", markup=False)
    console.print(f"broker: {queues if queues is not None else 'does not answer'}", markup=False)
    films = Table("state", "films", caption=f"{state['received']} received in all")
    for name, count in state["images"].items():
        films.add_row(name, str(count))
    console.print(films)
    if state["deliveries"]:
        deliveries = Table("destination", "state", "count", title="deliveries")
        for row in state["deliveries"]:
            deliveries.add_row(row["destination"], _how_far(row), str(row["count"]))
        console.print(deliveries)
    for row in state["waiting_deliveries"]:
        words = visible(f"{row['destination']}: {row['reason']}")
        console.print(f"waiting: {row['count']} x {words}; next try {row['next_try_at']}", markup=False)
    for reason, count in state["refused"].items():
        console.print(f"refused: {count} x {visible(reason)}", markup=False)
    for row in state["identity_changed"]:
        console.print(f"ALARM: image {row['image_id']}: {visible(str(row['detail']))}", markup=False)
        console.print(
            f"  if the later identity is right, judge it anew: cxr-worker reissue {row['image_id']}",
            markup=False,
        )
    for row in state["dead"]:
        words = visible(f"{row['reason']}: {row['detail']}")
        console.print(f"dead: image {row['image_id']}: {words}", markup=False)
        console.print(f"  try again with: cxr-worker retry {row['image_id']}", markup=False)
    for row in state["undelivered"]:
        words = visible(f"{row['deliveries']} deliveries given up: {row['detail']}")
        console.print(f"undelivered: image {row['image_id']}: {words}", markup=False)
        console.print(f"  try again with: cxr-worker retry {row['image_id']}", markup=False)
    for row in state["rejections"]:
        # Before an association there is no title: a TLS handshake that failed, say.
        title = f"'{row['calling_aet']}' from " if row["calling_aet"] else ""
        words = visible(f"{title}{row['host']}: {row['detail']}")
        console.print(f"turned away {row['count']} x: {words}", markup=False)
        if row["to_admit"]:
            console.print("  to admit it, add to the configuration and restart:", markup=False)
            console.print("\n".join(f"    {line}" for line in row["to_admit"].splitlines()), markup=False)


def _how_far(row: dict[str, Any]) -> str:
    """The state, and of what was only sent whether a proof is still to come."""
    if row["state"] != DeliveryState.SENT:
        return str(row["state"])
    return "sent, not proved" if row["proof"] == "none" else f"sent, {row['proof']} awaited"


def _listener_answers(settings: Settings) -> bool:
    """Ask by C-ECHO as a sender that is let in from here; without one, see whether the port is open."""
    port = own_port.target(settings, settings.listener.aet, timeout_s=3)
    admitted = next((s.aet for s in settings.sender if s.host in (None, port.host)), None)
    if admitted is not None and scu.echo(replace(port, calling_aet=admitted)):
        return True
    # With TLS our own certificate may not do for a client.
    if admitted is not None and port.tls is None:
        return False
    try:
        socket.create_connection((port.host, port.port), timeout=3).close()
    except OSError:
        return False
    return True
