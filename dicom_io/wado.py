"""Pull a study by its accession number: QIDO-RS, then WADO-RS (PS3.18 sections 10.6 and 10.4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import dcmwrite
from pydicom.dataset import FileDataset

from dicom_io.dicomweb import text_of
from dicom_io.errors import DestinationError
from dicom_io.headers import is_valid_uid
from dicom_io.retrieve import MAX_MATCHES, Fetched, Instance, Study, Take
from dicom_io.webclient import WebTarget, exchange

PART_10 = slice(128, 132)
AS_STORED = (("application/dicom", "*"),)
"""Any transfer syntax, so that the server need not transcode (PS3.18 section 8.7.3.5.2)."""


@dataclass(frozen=True)
class WebSource:
    """A DICOMweb server.

    Every method raises `DestinationError` when the server cannot be asked or answers with a failure.
    """

    target: WebTarget

    def studies(self, accession_number: str) -> list[Study]:
        """Studies of that accession number; others that a careless server lists are left out."""
        wanted = {
            "search_filters": {"AccessionNumber": accession_number},
            "fields": ["NumberOfStudyRelatedInstances", "ModalitiesInStudy"],
        }
        with exchange(self.target) as web:
            return [
                Study(
                    text_of(found, "StudyInstanceUID"),
                    text_of(found, "StudyDate"),
                    text_of(found, "ModalitiesInStudy"),
                    text_of(found, "NumberOfStudyRelatedInstances"),
                )
                for found in self._bounded(web.client.search_for_studies(**wanted))
                if text_of(found, "AccessionNumber") in ("", accession_number)
                and is_valid_uid(text_of(found, "StudyInstanceUID"))
            ]

    def instances(self, study_instance_uid: str) -> list[Instance]:
        """Instances of that study."""
        with exchange(self.target) as web:
            return [
                Instance(
                    study_instance_uid,
                    text_of(found, "SeriesInstanceUID"),
                    text_of(found, "SOPInstanceUID"),
                    text_of(found, "SOPClassUID"),
                    text_of(found, "Modality"),
                )
                for found in self._bounded(web.client.search_for_instances(study_instance_uid))
                if is_valid_uid(text_of(found, "SOPInstanceUID"))
                and is_valid_uid(text_of(found, "SeriesInstanceUID"))
            ]

    def fetch(self, instances: Sequence[Instance], take: Take) -> Iterator[str | None]:
        """Fetch one after the other: None for each that was taken, else what went wrong."""
        for instance in instances:
            try:
                fetched = self._retrieve(instance)
            except DestinationError as error:
                yield str(error)
                continue
            if fetched.sop_instance_uid != instance.sop_instance_uid:
                yield "the server sent another instance than the one that was asked for"
            else:
                yield None if take(fetched) else "it came, and could not be kept here; see the log"

    def _retrieve(self, instance: Instance) -> Fetched:
        uids = instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
        with exchange(self.target, accept="multipart/related") as web:
            dataset = web.client.retrieve_instance(*uids, media_types=AS_STORED)
            return Fetched(
                sop_class_uid=str(dataset.SOPClassUID),
                sop_instance_uid=str(dataset.SOPInstanceUID),
                transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
                encoded=_encoded(dataset),
            )

    def _bounded(self, matches: Any) -> list[dict[str, Any]]:
        if len(matches) > MAX_MATCHES:
            raise DestinationError(f"{self.target.name}: expected a few matches, got more than {MAX_MATCHES}")
        return list(matches)


def _encoded(dataset: FileDataset) -> bytes:
    """The bytes as they came; a deflated data set is written anew, since pydicom keeps it inflated."""
    if isinstance(dataset.buffer, BytesIO):
        came = dataset.buffer.getvalue()
        if came[PART_10] == b"DICM":
            return came
    with BytesIO() as buffer:
        dcmwrite(buffer, dataset, enforce_file_format=True)
        return buffer.getvalue()
