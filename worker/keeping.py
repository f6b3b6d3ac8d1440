"""What we promise to keep when a sender asks, and what others promise us (Storage Commitment)."""

import logging
from datetime import timedelta

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from dicom_io.association import Target
from dicom_io.commitment_scp import CommitmentAnswer, CommitmentService, FailureReason, Reference
from dicom_io.errors import DamagedObject, StorageError
from dicom_io.spool import Folder
from dicom_io.tls import TlsFiles
from worker import database
from worker.header_keeper import will_lose_its_pixels
from worker.queries import commitments, images
from worker.settings import Settings

log = logging.getLogger(__name__)


class Keeper:
    """Answers for the spool, and takes the answers of destinations."""

    def __init__(self, settings: Settings, engine: Engine, spool: Folder) -> None:
        self._settings = settings
        self._engine = engine
        self._spool = spool

    def service(self) -> CommitmentService:
        """Build what the listener calls."""
        return CommitmentService(
            assess=self.assess if self._settings.listener.commitment else None,
            answered=self.answered,
            address_of=self.address_of,
        )

    def assess(self, reference: Reference) -> FailureReason | None:
        """Why we do not commit to an instance; None only when its bytes are here, whole, and stay here."""
        try:
            with database.read(self._engine) as session:
                held = images.of_uid(session, reference.sop_instance_uid)
                is_ours = images.is_ours(session, reference.sop_instance_uid)
        except SQLAlchemyError as error:
            log.error("storage commitment: not looked up: %s", type(error).__name__)
            return FailureReason.PROCESSING_FAILURE
        if not held:
            return FailureReason.NO_SUCH_INSTANCE
        if all(image.sop_class_uid != reference.sop_class_uid for image in held):
            return FailureReason.CLASS_INSTANCE_CONFLICT
        # Two films under one UID: the sender may mean either, and deletes what we name.
        kept = all(image.header_name is None and self._stays_whole(image.spool_name) for image in held)
        if self._settings.retention != "keep" or is_ours or not kept:
            return FailureReason.PROCESSING_FAILURE
        return None

    def _stays_whole(self, name: str) -> bool:
        """Whether the bytes are here and no worker will drop them; a sender may ask before one looked."""
        try:
            self._spool.check(name)
            return not will_lose_its_pixels(self._spool.path(name))
        except (StorageError, DamagedObject) as error:
            log.error("storage commitment: an object is not whole: %s", error)
            return False

    def answered(self, answer: CommitmentAnswer) -> bool:
        """Write what a destination committed to, or not; False for trouble of ours."""
        term = timedelta(days=self._settings.delivery_days)
        try:
            with database.write(self._engine) as session:
                actor = f"{self._settings.node_id}/listener"
                known = commitments.answer(session, answer, actor=actor, term=term)
        except SQLAlchemyError as error:
            log.error("storage commitment: an answer was not written: %s", type(error).__name__)
            return False
        if not known:
            log.warning("storage commitment: an answer to a question that we did not ask")
        return True

    def address_of(self, aet: str, host: str) -> Target | None:
        """Where a requester listens for our answer: its `[[sender]]`, when that has a port."""
        settings = self._settings
        for sender in settings.sender:
            if sender.aet == aet and sender.host in (None, host) and sender.port is not None:
                files = tls_files(settings) if sender.tls else None
                return Target(
                    aet=aet,
                    host=sender.host or host,
                    port=sender.port,
                    calling_aet=settings.listener.aet,
                    timeout_s=settings.network_timeout_s,
                    tls=files,
                    # The authorities of the system vouch for anybody; those in `ca` for our peers alone.
                    check_hostname=files is not None and files.ca is None,
                )
        return None


def tls_files(settings: Settings) -> TlsFiles:
    """The listener's certificate, key and authorities; none where its port is plain."""
    tls = settings.listener.tls
    return TlsFiles() if tls is None else TlsFiles(tls.ca, tls.certificate, tls.key)
