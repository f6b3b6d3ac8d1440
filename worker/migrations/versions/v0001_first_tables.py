"""First tables, and the view that users query."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True)

RESULTS_VIEW = """
CREATE VIEW results AS
SELECT
    image.id AS image_id,
    image.received_at,
    image.state,
    image.reason,
    image.reason_detail,
    analysis.decision,
    analysis.probability,
    analysis.threshold,
    analysis.model_name,
    analysis.model_version,
    analysis.created_at AS analysed_at,
    image.ended_at,
    image.patient_id,
    image.accession_number,
    image.study_date,
    image.modality,
    image.study_instance_uid,
    image.series_instance_uid,
    image.sop_instance_uid,
    image.calling_aet,
    sr.sop_instance_uid AS sr_sop_instance_uid,
    sc.sop_instance_uid AS sc_sop_instance_uid,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.analysis_id = analysis.id) AS deliveries,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.analysis_id = analysis.id AND delivery.state IN ('sent', 'confirmed')) AS deliveries_sent,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.analysis_id = analysis.id AND delivery.state = 'confirmed') AS deliveries_proved
FROM image
LEFT JOIN analysis ON analysis.image_id = image.id
LEFT JOIN result AS sr ON sr.analysis_id = analysis.id AND sr.kind = 'sr'
LEFT JOIN result AS sc ON sc.analysis_id = analysis.id AND sc.kind = 'sc'
"""


def upgrade() -> None:
    _create_image()
    _create_rejection()
    _create_analysis()
    _create_result()
    _create_delivery()
    _create_event()
    op.execute(RESULTS_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW results")
    op.drop_table("event")
    op.drop_table("delivery")
    op.drop_table("result")
    op.drop_table("analysis")
    op.drop_table("rejection")
    op.drop_table("image")


def _create_image() -> None:
    op.create_table(
        "image",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntax_uid", sa.Text(), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("spool_name", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("calling_aet", sa.Text(), nullable=False),
        sa.Column("calling_host", sa.Text(), nullable=False),
        sa.Column("received_at", MOMENT, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reason_detail", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("hand_backs", sa.Integer(), nullable=False),
        sa.Column("waiting_since", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("rung_at", MOMENT, nullable=True),
        sa.Column("claimed_at", MOMENT, nullable=True),
        sa.Column("heartbeat_at", MOMENT, nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.Column("study_instance_uid", sa.Text(), nullable=True),
        sa.Column("series_instance_uid", sa.Text(), nullable=True),
        sa.Column("patient_id", sa.Text(), nullable=True),
        sa.Column("patient_name", sa.Text(), nullable=True),
        sa.Column("patient_sex", sa.Text(), nullable=True),
        sa.Column("patient_age_years", sa.Double(), nullable=True),
        sa.Column("accession_number", sa.Text(), nullable=True),
        sa.Column("study_date", sa.Text(), nullable=True),
        sa.Column("study_description", sa.Text(), nullable=True),
        sa.Column("modality", sa.Text(), nullable=True),
        sa.Column("body_part_examined", sa.Text(), nullable=True),
        sa.Column("view_position", sa.Text(), nullable=True),
        sa.Column("burned_in_annotation", sa.Text(), nullable=True),
        sa.Column("manufacturer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image")),
        sa.UniqueConstraint(
            "sop_instance_uid", "content_sha256", name=op.f("uq_image_sop_instance_uid_content_sha256")
        ),
    )
    op.create_index("ix_image_state_due_at", "image", ["state", "due_at"], unique=False)
    op.create_index("ix_image_study_instance_uid", "image", ["study_instance_uid"], unique=False)


def _create_rejection() -> None:
    op.create_table(
        "rejection",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("calling_aet", sa.Text(), nullable=False),
        sa.Column("calling_host", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejection")),
        sa.UniqueConstraint(
            "calling_aet", "calling_host", "reason", name=op.f("uq_rejection_calling_aet_calling_host_reason")
        ),
    )


def _create_analysis() -> None:
    op.create_table(
        "analysis",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("image_id", ROW_ID, nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("package_version", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("band_low", sa.Double(), nullable=False),
        sa.Column("band_high", sa.Double(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_analysis_image_id_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analysis")),
        sa.UniqueConstraint(
            "image_id",
            "model_name",
            "model_version",
            "weights_sha256",
            name=op.f("uq_analysis_image_id_model_name_model_version_weights_sha256"),
        ),
    )


def _create_result() -> None:
    op.create_table(
        "result",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("analysis_id", ROW_ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analysis.id"], name=op.f("fk_result_analysis_id_analysis")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_result_sop_instance_uid")),
    )
    op.create_index(op.f("ix_result_analysis_id"), "result", ["analysis_id"], unique=False)


def _create_delivery() -> None:
    op.create_table(
        "delivery",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("result_id", ROW_ID, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("proof", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("unanswered", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("status_text", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.Column("rung_at", MOMENT, nullable=True),
        sa.Column("lease_token", sa.Text(), nullable=True),
        sa.Column("lease_until", MOMENT, nullable=True),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("confirmed_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["result_id"], ["result.id"], name=op.f("fk_delivery_result_id_result")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("result_id", "destination", name=op.f("uq_delivery_result_id_destination")),
    )
    op.create_index("ix_delivery_state_due_at", "delivery", ["state", "due_at"], unique=False)


def _create_event() -> None:
    op.create_table(
        "event",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("image_id", ROW_ID, nullable=False),
        sa.Column("delivery_id", ROW_ID, nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["delivery_id"], ["delivery.id"], name=op.f("fk_event_delivery_id_delivery")),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name=op.f("fk_event_image_id_image")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index(op.f("ix_event_image_id"), "event", ["image_id"], unique=False)
