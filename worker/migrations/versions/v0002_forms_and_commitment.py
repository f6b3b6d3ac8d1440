"""Results of films without an analysis, reports in several forms, and questions by Storage Commitment."""

import sqlalchemy as sa
from alembic import op

from worker.migrations.versions.v0001_first_tables import MOMENT, ROW_ID
from worker.migrations.versions.v0001_first_tables import RESULTS_VIEW as FIRST_VIEW

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

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
    (SELECT result.sop_instance_uid FROM result LEFT JOIN delivery ON delivery.result_id = result.id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND result.kind = 'sr' ORDER BY delivery.id IS NULL, result.id LIMIT 1) AS sr_sop_instance_uid,
    (SELECT result.sop_instance_uid FROM result
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND result.kind = 'sc' ORDER BY result.id LIMIT 1) AS sc_sop_instance_uid,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id
     AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)) AS deliveries,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND delivery.state IN ('sent', 'confirmed')) AS deliveries_sent,
    (SELECT count(*) FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND delivery.state = 'confirmed') AS deliveries_proved,
    (SELECT result.profile FROM delivery JOIN result ON result.id = delivery.result_id
     WHERE result.image_id = image.id AND coalesce(result.analysis_id, 0) = coalesce(analysis.id, 0)
     AND delivery.fell_back_from IS NOT NULL ORDER BY result.id DESC LIMIT 1) AS fell_back_to
FROM image
LEFT JOIN analysis ON analysis.image_id = image.id
"""


def upgrade() -> None:
    # SQLite alters a table by making it anew, and a view must not name it meanwhile.
    op.execute("DROP VIEW results")
    _let_a_result_stand_without_an_analysis()
    _say_more_of_a_delivery()
    _create_commitment()
    _let_an_image_be_reissued()
    op.execute(RESULTS_VIEW)


def downgrade() -> None:
    op.execute("DROP VIEW results")
    op.drop_table("commitment")
    with op.batch_alter_table("image") as image:
        image.drop_column("reissue_hash")
        image.drop_column("header_name")
    with op.batch_alter_table("delivery") as delivery:
        delivery.drop_column("fell_back_from")
        delivery.drop_column("refused_since")
    with op.batch_alter_table("result") as result:
        result.drop_index("ix_result_image_id")
        result.drop_constraint("fk_result_image_id_image", type_="foreignkey")
        result.drop_column("image_id")
        result.alter_column("analysis_id", existing_type=ROW_ID, nullable=False)
    op.execute(FIRST_VIEW)


def _let_a_result_stand_without_an_analysis() -> None:
    op.add_column("result", sa.Column("image_id", ROW_ID, nullable=True))
    op.execute(
        "UPDATE result SET image_id = "
        "(SELECT analysis.image_id FROM analysis WHERE analysis.id = result.analysis_id)"
    )
    with op.batch_alter_table("result") as result:
        result.alter_column("image_id", existing_type=ROW_ID, nullable=False)
        result.alter_column("analysis_id", existing_type=ROW_ID, nullable=True)
        result.create_foreign_key("fk_result_image_id_image", "image", ["image_id"], ["id"])
        result.create_index("ix_result_image_id", ["image_id"])


def _say_more_of_a_delivery() -> None:
    op.add_column("delivery", sa.Column("refused_since", MOMENT, nullable=True))
    op.add_column("delivery", sa.Column("fell_back_from", sa.Text(), nullable=True))


def _create_commitment() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("delivery_id", ROW_ID, nullable=False),
        sa.Column("transaction_uid", sa.Text(), nullable=False),
        sa.Column("asked_at", MOMENT, nullable=False),
        sa.Column("answered_at", MOMENT, nullable=True),
        sa.Column("failure_reason", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_commitment_delivery_id_delivery")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_transaction_uid")),
    )
    op.create_index(op.f("ix_commitment_delivery_id"), "commitment", ["delivery_id"], unique=False)


def _let_an_image_be_reissued() -> None:
    op.add_column("image", sa.Column("reissue_hash", sa.String(length=64), nullable=True))
    op.add_column("image", sa.Column("header_name", sa.String(length=64), nullable=True))
