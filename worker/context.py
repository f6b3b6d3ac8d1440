"""What a process works with: settings, database, folders, and the model once it is needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from dicom_io.errors import RetryableError
from dicom_io.findings import Device
from dicom_io.spool import Folder
from worker import __version__, database
from worker import settings as worker_settings
from worker.refusals import RefusedClasses
from worker.settings import Settings

if TYPE_CHECKING:
    from model.predict import Predictor


class ModelUnusable(RetryableError):
    """The model's folder is missing, incomplete or altered; the films wait until that is mended."""


@dataclass
class Context:
    """One per process; connections and the network are opened on first use, so after a fork."""

    settings: Settings
    engine: Engine
    refused_classes: RefusedClasses = field(default_factory=RefusedClasses)
    """SOP classes that destinations refused a while ago."""

    @property
    def actor(self) -> str:
        """Who acts, for the events."""
        return f"{self.settings.node_id}/worker"

    @property
    def device(self) -> Device:
        """Who speaks in the result objects."""
        return Device(node_id=self.settings.node_id, software_version=__version__)

    @cached_property
    def spool(self) -> Folder:
        """Received films."""
        return Folder(self.settings.data / "spool")

    @cached_property
    def headers(self) -> Folder:
        """Headers of refused objects whose pixels are not kept."""
        return Folder(self.settings.data / "headers")

    @cached_property
    def results(self) -> Folder:
        """Result objects."""
        return Folder(self.settings.data / "results")

    @cached_property
    def predictor(self) -> Predictor:
        """The model, loaded once per process."""
        # Imported here: with a tensor library in the parent, a forward pass in a forked child hangs.
        from model.checkpoint import BadModel
        from model.predict import Predictor

        try:
            return Predictor(
                self.settings.model, threads=self.settings.threads, backend=self.settings.backend
            )
        except BadModel as error:
            raise ModelUnusable(f"the model cannot be used: {error}") from error


@cache
def get() -> Context:
    """The context of this process."""
    settings = worker_settings.current()
    return Context(settings, database.open_engine(settings.effective_database_url))
