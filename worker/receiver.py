"""Receive films: file synced, row committed, then Success; and never a word to the broker."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from ssl import SSLContext

from pydicom.filereader import read_file_meta_info
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from dicom_io.errors import BadTlsFiles, StorageError
from dicom_io.part10 import PARSE_FAILURES
from dicom_io.scp import ListenerAddress, Peer, ReceivedInstance, StorageListener, StoreStatus
from dicom_io.spool import Folder
from dicom_io.tls import server_context
from worker import database
from worker.keeping import Keeper, tls_files
from worker.queries import images, ledger
from worker.settings import Settings, SettingsError

log = logging.getLogger(__name__)

A_DAY_S = 24 * 3600.0
ADOPTED_FROM = Peer(aet="", host="")
"""The sender of a file whose row was never written: unknown, since only the row would have said it."""


class Receiver:
    """Takes over what the listener receives.

    Parameters
    ----------
    committed
        Called after a row has been committed, to wake the relay; must return at once.
    """

    def __init__(self, settings: Settings, engine: Engine, committed: Callable[[], None]) -> None:
        self._settings = settings
        self._engine = engine
        self._committed = committed
        self._actor = f"{settings.node_id}/listener"
        self.spool = Folder(settings.data / "spool")

    def listener(self) -> StorageListener:
        """Build the listener that calls this receiver.

        Raises
        ------
        SettingsError
            A file of `[listener.tls]` cannot be used.
        """
        port = self._settings.listener
        return StorageListener(
            ListenerAddress(
                aet=port.aet,
                host=port.host,
                port=port.port,
                max_associations=port.max_associations,
                max_pdu_bytes=port.max_pdu_bytes,
                max_object_bytes=port.max_object_mib * 2**20,
                any_storage=port.accept_any_storage,
                tls=tls_of(self._settings),
            ),
            self.spool.incoming.absolute(),
            admit=self.admits,
            store=self.store,
            refused=self.record_rejection,
            commitment=Keeper(self._settings, self._engine, self.spool).service(),
        )

    def admits(self, peer: Peer) -> bool:
        """Whether a `[[sender]]` has this AE title and, where it names one, this host."""
        return any(s.aet == peer.aet and s.host in (None, peer.host) for s in self._settings.sender)

    def store(self, instance: ReceivedInstance) -> StoreStatus:
        """Spool, commit, answer."""
        try:
            new = self._take(instance)
        except (StorageError, SQLAlchemyError, OSError) as error:
            # The class of the error alone: a database's message quotes the row.
            log.error("film not taken, the sender is asked to send it again: %s", type(error).__name__)
            return StoreStatus.OUT_OF_RESOURCES
        if new:
            self._committed()
        return StoreStatus.SUCCESS

    def _take(self, instance: ReceivedInstance) -> bool:
        stored = self.spool.adopt(instance.path)
        try:
            with database.write(self._engine) as session:
                image = images.record(session, instance, stored, actor=self._actor)
        except IntegrityError:
            # Two senders at once with one film: the other one's row stands.
            image = None
        if image is None:
            log.info("a film that is known came again, from %s", instance.peer.host)
            self._remove_unless_needed(stored.name)
            return False
        log.info("image %d received, %d bytes", image.id, stored.size_bytes)
        return True

    def record_rejection(self, peer: Peer, reason: str, detail: str) -> None:
        """Make visible in `status` what was turned away."""
        try:
            with database.write(self._engine) as session:
                ledger.record_rejection(session, peer, reason, detail)
        except SQLAlchemyError as error:
            log.error("a rejection could not be recorded: %s", type(error).__name__)

    def recover(self) -> tuple[int, int]:
        """Clear what a kill left behind; before the port opens, and under the listener's lock.

        Returns
        -------
        tuple of int
            Unfinished files removed (their senders have no answer and send again), and films that were
            on disk without a row and now have one.
        """
        removed = sum(_remove(leftover) for leftover in self.spool.incoming.iterdir())
        old = time.time() - A_DAY_S
        results = Folder(self._settings.data / "results")
        # Parts of results belong to workers that may be writing them now: only old ones are leftovers.
        removed += sum(_remove(p) for p in results.incoming.iterdir() if p.stat().st_mtime < old)
        # The files first: what is received and committed meanwhile must not look like an orphan.
        files = list(self.spool.root.glob("??/*.dcm"))
        with database.read(self._engine) as session:
            known = images.spool_names(session)
        orphans = [path for path in files if path.stem not in known]
        adopted = sum(self._adopt(path) for path in orphans)
        return removed, adopted

    def _adopt(self, path: Path) -> bool:
        """Give a synced film its row; a repeat of a known one is removed."""
        try:
            meta = read_file_meta_info(os.fspath(path))
            instance = ReceivedInstance(
                sop_class_uid=str(meta.MediaStorageSOPClassUID),
                sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
                transfer_syntax_uid=str(meta.TransferSyntaxUID),
                peer=ADOPTED_FROM,
                path=path,
            )
        except PARSE_FAILURES as error:
            # Nobody was told that it is here; it stays for a person to look at.
            log.error("%s in the spool is no film and stays there: %s", path.name, type(error).__name__)
            return False
        stored = self.spool.adopt(path)
        with database.write(self._engine) as session:
            image = images.record(session, instance, stored, actor=f"{self._actor}/recovery")
        if image is None:
            self._remove_unless_needed(stored.name)
        return image is not None

    def _remove_unless_needed(self, name: str) -> None:
        """Remove the file of a repeat whose row has another file, or needs none any more."""
        with database.read(self._engine) as session:
            needed = images.has_film(session, name)
        if not needed:
            self.spool.remove(name)


def tls_of(settings: Settings) -> SSLContext | None:
    """How the port speaks TLS; None for plain DICOM.

    Raises
    ------
    SettingsError
        A file of `[listener.tls]` cannot be used.
    """
    tls = settings.listener.tls
    if tls is None:
        return None
    try:
        required = tls.require_client_certificate
        return server_context(tls_files(settings), require_client_certificate=required)
    except BadTlsFiles as error:
        raise SettingsError(f"[listener.tls] {error}") from error


def _remove(leftover: Path) -> bool:
    leftover.unlink(missing_ok=True)
    return True
