from constellation_pipelines.stack.schema import prepare_database
from constellation_pipelines.store.database import Database


def test_a_fresh_test_database_has_both_schemas(database: Database) -> None:
    rows = database.fetch_all(
        "select table_schema || '.' || table_name as name from information_schema.tables"
    )
    names = {row["name"] for row in rows}
    assert {"constellation.jobs", "constellation.runs", "dagster.runs"} <= names
    assert "public.runs" not in names


def test_dagsters_run_table_is_tied_to_ours(database: Database) -> None:
    row = database.fetch_one(
        "select tgenabled from pg_trigger where tgname = 'constellation_projection'"
    )
    assert row == {"tgenabled": "O"}


def test_preparing_twice_changes_nothing(database_url: str, database: Database) -> None:
    prepare_database(database_url)
    row = database.fetch_one("select count(*) as versions from constellation.alembic_version")
    assert row == {"versions": 1}
