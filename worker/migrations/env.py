"""Alembic's entry: runs the revisions on the connection that `worker.schema` opened."""

from alembic import context

from worker.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table only by making it anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
