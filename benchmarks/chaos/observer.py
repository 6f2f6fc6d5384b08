"""What can be seen of a stack from outside: its database, its status file, its API."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, LiteralString

import httpx
import psycopg
from psycopg.rows import DictRow, dict_row

from constellation_pipelines.stack import status
from constellation_pipelines.stack.service import State
from constellation_pipelines.stack.status import ServiceStatus, StackStatus


class Away(Exception):
    """The database cannot be asked right now."""


class Observer:
    """Looks at one stack. Not for use by several threads."""

    def __init__(self, data_dir: Path, urls: Mapping[str, str]) -> None:
        self.data_dir = data_dir
        self.urls = urls
        self.http = httpx.Client(base_url=f"{urls['api']}/api/v1", timeout=10)
        self._connection: psycopg.Connection[DictRow] | None = None

    def rows(self, sql: LiteralString, *args: object) -> list[DictRow]:
        """Rows of a statement. Raises Away while the database is down."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(
                    self.urls["database"], autocommit=True, row_factory=dict_row, connect_timeout=2
                )
            return self._connection.execute(sql, args).fetchall()
        except psycopg.OperationalError as error:
            self._hang_up()
            raise Away(str(error)) from error

    def number(self, sql: LiteralString, *args: object) -> int:
        """The one number of a statement. Raises Away."""
        return int(next(iter(self.rows(sql, *args)[0].values())))

    def stack(self) -> StackStatus:
        """What the status file says. Raises Away when it has gone."""
        found = status.read(self.data_dir)
        if found is None:
            raise Away("the stack has no status file")
        return found

    def service(self, name: str) -> ServiceStatus:
        """One service of it."""
        return next(service for service in self.stack().services if service.name == name)

    def is_ready(self, name: str) -> bool:
        """Whether a service can be used."""
        service = self.service(name)
        return service.state is State.READY and service.is_up

    def api_answers(self) -> bool:
        """Whether the API lists jobs."""
        try:
            return self.http.get("/jobs", params={"limit": 1}, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Let the connections go."""
        self.http.close()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


MATERIALIZATIONS = """
query Materializations($run: ID!) {
  runOrError(runId: $run) { ... on Run { assetMaterializations {
    assetKey { path } metadataEntries { label ... on IntMetadataEntry { intValue } } } } }
}
"""


def dagster_row_counts(dagster_url: str, run_id: str) -> list[int]:
    """The row count each of a run's materializations of predictions states, by Dagster's API."""
    body = {"query": MATERIALIZATIONS, "variables": {"run": run_id}}
    reply = httpx.post(f"{dagster_url.rstrip('/')}/graphql", json=body, timeout=60)
    run: dict[str, Any] = json.loads(reply.raise_for_status().text)["data"]["runOrError"]
    return [
        int(entry["intValue"])
        for event in run.get("assetMaterializations") or []
        if event["assetKey"]["path"][0] == "predictions"
        for entry in event["metadataEntries"]
        if entry["label"] == "dagster/row_count"
    ]
