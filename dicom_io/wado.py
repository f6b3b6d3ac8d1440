"""Pull a study by its accession number: QIDO-RS, then WADO-RS (PS3.18 sections 10.6 and 10.4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dicom_io.dicomweb import media_type_of, text_of
from dicom_io.errors import DestinationError, NotDicom
from dicom_io.headers import is_valid_uid
from dicom_io.part10 import read_file_meta
from dicom_io.retrieve import MAX_MATCHES, Fetched, Instance, Study, Take, only_of
from dicom_io.webclient import Exchange, WebTarget, exchange

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
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
            matches = [
                (
                    text_of(found, "AccessionNumber"),
                    Study(
                        text_of(found, "StudyInstanceUID"),
                        text_of(found, "StudyDate"),
                        text_of(found, "ModalitiesInStudy"),
                        text_of(found, "NumberOfStudyRelatedInstances"),
                    ),
                )
                for found in self._bounded(web.client.search_for_studies(**wanted))
            ]
            return only_of(accession_number, matches, self.target.name)

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
                and text_of(found, "StudyInstanceUID") in ("", study_instance_uid)
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
        with exchange(self.target, accept=AS_STORED) as web:
            encoded = self._only_part(web, instance)
            try:
                meta = read_file_meta(encoded)
            except NotDicom as error:
                words = f"{self.target.name}: expected DICOM, got something else"
                raise DestinationError(words) from error
            return Fetched(
                sop_class_uid=str(meta.MediaStorageSOPClassUID),
                sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
                transfer_syntax_uid=str(meta.TransferSyntaxUID),
                encoded=encoded,
            )

    def _only_part(self, web: Exchange, instance: Instance) -> bytes:
        """Return the instance as it came.

        As bulk data: an instance the library would parse, and so inflate a deflated one without bound.
        """
        url = (
            f"{self.target.url.rstrip('/')}/studies/{instance.study_instance_uid}"
            f"/series/{instance.series_instance_uid}/instances/{instance.sop_instance_uid}"
        )
        try:
            (part,) = web.client.retrieve_bulkdata(url)
        except ValueError:
            # Some servers send the one instance without the multipart around it.
            if web.answer is None or media_type_of(web.answer) != "application/dicom":
                raise
            part = web.answer.content
        return bytes(part)

    def _bounded(self, matches: Any) -> list[dict[str, Any]]:
        if len(matches) > MAX_MATCHES:
            raise DestinationError(f"{self.target.name}: expected a few matches, got more than {MAX_MATCHES}")
        return list(matches)
