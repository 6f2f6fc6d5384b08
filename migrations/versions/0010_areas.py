"""Areas of interest that can be kept: a valid shape, its size and its bounds."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

SCHEMA = "constellation"

# Bounds are kept because a list shows them and no shape; what crosses 180 degrees is told apart
# where the shape is checked. Rows of before were written by hand: their bounds are the plain ones.
# No query asks which areas lie somewhere, so none needs an index by place.
AREAS = f"""
alter table {SCHEMA}.areas
  alter column geom type geometry(MultiPolygon, 4326) using geom::geometry,
  add column km2 double precision,
  add column bbox double precision[];
update {SCHEMA}.areas
   set km2 = st_area(geom::geography) / 1e6,
       bbox = array[st_xmin(geom), st_ymin(geom), st_xmax(geom), st_ymax(geom)];
alter table {SCHEMA}.areas
  alter column km2 set not null,
  alter column bbox set not null,
  add constraint areas_km2_counts check (km2 >= 0),
  add constraint areas_bbox_has_four check (array_length(bbox, 1) = 4),
  add constraint areas_geom_is_valid check (st_isvalid(geom)) not valid,
  add constraint areas_name_is_no_blank check (btrim(name) <> '') not valid
"""


def upgrade() -> None:
    op.execute(sa.text(AREAS))
