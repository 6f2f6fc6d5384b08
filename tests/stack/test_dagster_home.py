from pathlib import Path

import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from constellation_pipelines.stack.dagster_home import dagster_database_url, write


def test_the_driver_is_named_and_the_schema_set() -> None:
    url = make_url(dagster_database_url("postgresql://ann:pw@db:5433/eo?sslmode=require"))
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port) == ("ann", "pw", "db", 5433)
    assert dict(url.query) == {
        "sslmode": "require",
        "options": "-csearch_path=dagster,public -csynchronous_commit=off",
    }


def test_options_that_were_there_are_kept() -> None:
    url = make_url(dagster_database_url("postgresql://db/eo?options=-cstatement_timeout%3D5s"))
    kept, *ours = str(url.query["options"]).split()
    assert kept == "-cstatement_timeout=5s"
    assert ours == ["-csearch_path=dagster,public", "-csynchronous_commit=off"]


def test_a_socket_url_connects_into_dagsters_schema(database_url: str) -> None:
    engine = create_engine(dagster_database_url(database_url))
    with engine.connect() as connection:
        assert connection.execute(text("select current_schema()")).scalar() == "dagster"
    engine.dispose()


def test_no_url_lies_in_a_file(tmp_path: Path) -> None:
    home = write(tmp_path, 4001, "some.definitions")
    text = (home / "dagster.yaml").read_text()
    assert "postgresql" not in text
    assert yaml.safe_load(text)["telemetry"] == {"enabled": False}
    workspace = yaml.safe_load((home / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["grpc_server"]["port"] == 4001
