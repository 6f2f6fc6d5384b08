"""Questions of the coverage map: tiles by place, of the account that asks."""

from pathlib import Path

from alembic import op

revision = "0011"
down_revision = "0010"

MAP = Path(__file__).parent.parent / "sql" / "0011_map.sql"


def upgrade() -> None:
    op.execute(MAP.read_text())
