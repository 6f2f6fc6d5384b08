"""The demonstration's side of the REST API."""

from dataclasses import dataclass
from typing import Any, Self

import httpx

MODEL = "eurosat-landcover"
FINAL = ("COMPLETED", "FAILED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the API took something not."""

    detail: str
    pointers: tuple[str, ...]

    @classmethod
    def of(cls, reply: httpx.Response) -> Self:
        """A problem+json reply."""
        problem = reply.json()
        errors = problem.get("errors") or []
        return cls(problem["detail"], tuple(str(error.get("pointer")) for error in errors))

    @property
    def is_gsd_mismatch(self) -> bool:
        """True when the scene fits but for its pixel size."""
        return any(pointer.endswith("accept_gsd_mismatch") for pointer in self.pointers)


class DemoClient:
    """Registers scenes, submits jobs, follows them."""

    def __init__(self, api_url: str, key: str | None = None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        url = f"{api_url.rstrip('/')}/api/v1"
        self._http = httpx.Client(base_url=url, timeout=60, headers=headers)

    def register(self, path: str) -> dict[str, Any] | Refusal:
        """Register a scene; the scene as the API describes it."""
        return self._post("/scenes", {"path": path})

    def submit(self, **request: Any) -> dict[str, Any] | Refusal:
        """Submit a job; the job as the API describes it."""
        return self._post("/jobs", request)

    def job(self, job_id: str) -> dict[str, Any]:
        """A job with its runs."""
        return self._get(f"/jobs/{job_id}")

    def count_tiles(self, run_id: str) -> int:
        """Tiles of a run in PostGIS, counted by reading them."""
        return len(self._get(f"/runs/{run_id}/tiles", limit=10_000)["features"])

    def model(self) -> str:
        """The newest version of the classifier that comes with Constellation."""
        return str(self._get(f"/models/{MODEL}")["reference"])

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any] | Refusal:
        reply = self._http.post(path, json=body)
        if reply.status_code == 422:
            return Refusal.of(reply)
        reply.raise_for_status()
        return dict(reply.json())

    def _get(self, path: str, **query: int) -> dict[str, Any]:
        reply = self._http.get(path, params=query)
        reply.raise_for_status()
        return dict(reply.json())


MATERIALIZATION = """
query Materialization($run: ID!) {
  runOrError(runId: $run) { ... on Run { assetMaterializations {
    assetKey { path } metadataEntries { label ... on IntMetadataEntry { intValue } } } } }
}
"""


def dagster_row_count(dagster_url: str, run_id: str) -> int | None:
    """The row count that a run's materialization states, as Dagster tells it."""
    query = {"query": MATERIALIZATION, "variables": {"run": run_id}}
    reply = httpx.post(f"{dagster_url.rstrip('/')}/graphql", json=query, timeout=60)
    run = reply.json()["data"]["runOrError"]
    for event in run.get("assetMaterializations") or []:
        if event["assetKey"]["path"][0] == "predictions":
            entries = {entry["label"]: entry.get("intValue") for entry in event["metadataEntries"]}
            return entries.get("dagster/row_count")
    return None
