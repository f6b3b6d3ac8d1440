"""What the database knows of a film's earlier issues, for the report that is about to be made."""

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from dicom_io.findings import EarlierReport
from worker.states import DeliveryState
from worker.tables import Analysis, Delivery, Image, Result


def reissue_hash(session: Session, image_id: int) -> str | None:
    """The content hash that enters the UIDs of a film whose changed identity an operator let stand."""
    return session.scalar(select(Image.reissue_hash).where(Image.id == image_id))


def earlier_reports(session: Session, image_id: int) -> tuple[EarlierReport, ...]:
    """The reports of older models on this film that a destination has, or is about to get, oldest first.

    By row, not by SOP Instance UID: under that another patient's film may have come.
    """
    # Of the forms that were made, those that nobody took are in no PACS.
    on_its_way = exists().where(Delivery.result_id == Result.id, Delivery.state != DeliveryState.DEAD)
    rows = session.execute(
        select(Result, Analysis.model_version)
        .join(Analysis, Analysis.id == Result.analysis_id)
        .where(Result.image_id == image_id, Result.kind == "sr", on_its_way)
        .order_by(Result.id)
    )
    return tuple(
        EarlierReport(
            study_instance_uid=result.study_instance_uid,
            series_instance_uid=result.series_instance_uid,
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            model_version=version,
        )
        for result, version in rows
    )
