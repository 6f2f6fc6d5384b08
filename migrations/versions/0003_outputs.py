"""Tiles that are skipped for clouds, figures of regressions, quality masks of scenes."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"

SCHEMA = "constellation"


def upgrade() -> None:
    op.drop_constraint("tiles_state_check", "tiles", schema=SCHEMA)
    op.create_check_constraint(
        "tiles_state_check",
        "tiles",
        "state in ('COMPLETED', 'FAILED', 'SKIPPED')",
        schema=SCHEMA,
    )
    # JSON has neither NaN nor infinity, so numbers are all that is to be asked for.
    op.add_column(
        "tiles",
        sa.Column(
            "statistics",
            JSONB,
            sa.CheckConstraint(
                " and ".join(
                    f"jsonb_typeof(statistics -> '{figure}') is not distinct from 'number'"
                    for figure in ("min", "max", "mean", "std")
                )
                + " or statistics is null",
                name="tiles_statistics_are_numbers",
            ),
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "tiles",
        sa.Column(
            "cloud_fraction", sa.Double, sa.CheckConstraint("cloud_fraction between 0 and 1")
        ),
        schema=SCHEMA,
    )
    op.add_column(
        "runs",
        sa.Column("tiles_skipped", sa.Integer, nullable=False, server_default="0"),
        schema=SCHEMA,
    )
    op.add_column("scenes", sa.Column("quality", JSONB), schema=SCHEMA)
    # NaN is greater than any number to PostgreSQL.
    op.create_check_constraint(
        "scenes_numbers_are_finite",
        "scenes",
        "gsd_m < 'Infinity' and area_km2 > 0 and area_km2 < 'Infinity'",
        schema=SCHEMA,
    )
    # What a run says of its outputs names each as its STAC Item does.
    op.execute(f"""
        update {SCHEMA}.runs
           set metrics = jsonb_set(metrics #- '{{outputs,raster}}', '{{outputs,classes}}',
                                   metrics #> '{{outputs,raster}}')
         where metrics #> '{{outputs,raster}}' is not null
    """)
