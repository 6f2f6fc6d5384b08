"""A stack that others can reach: one account's work from its key to its results."""

import json
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from constellation_pipelines.demo.scenes import generate
from tests.e2e.conftest import Stack, running_stack

SETTINGS = {"CONSTELLATION_AUTH": "required", "CONSTELLATION_API_HOST": "0.0.0.0"}


@pytest.fixture(scope="module")
def open_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("open"), SETTINGS) as started:
        yield started


def key_of(stack: Stack, account: str, scope: str) -> str:
    """A new key, made by the command as an operator of the host would."""
    done = stack.command("keys", "create", account, "--scope", scope, "--json")
    return str(json.loads(done)["key"])


def test_two_accounts_run_the_same_scene_and_share_nothing(open_stack: Stack) -> None:
    path = open_stack.data_dir / "scenes" / "town.tif"
    path.parent.mkdir(exist_ok=True)
    generate(path, 1024)
    assert open_stack.http.get("/jobs").status_code == 401
    first = {}
    for account in ("ann", "ben"):
        open_stack.command("accounts", "create", account)
        key = key_of(open_stack, account, "operator")
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=open_stack.http.base_url, headers=headers, timeout=60) as http:
            mine = replace(open_stack, http=http)
            scene = mine.register(path)["key"]
            job = mine.finished(mine.submit(scene)["id"])
            assert (job["state"], job["submitted_by"]) == ("COMPLETED", account)
            assert (job["tiles_reused"], job["tiles_completed"]) == (0, job["tiles_planned"])
            run = job["runs"][0]["id"]
            tiles = http.get(f"/runs/{run}/tiles").json()["features"]
            assert len(tiles) == job["tiles_planned"]
            again = mine.finished(mine.submit(scene)["id"])
            assert again["tiles_reused"] == again["tiles_planned"]
            listed = http.get("/jobs").json()["items"]
            assert {item["id"] for item in listed} == {job["id"], again["id"]}
            first[account] = job["id"]
    other = key_of(open_stack, "ben", "viewer")
    reply = httpx.get(
        f"{open_stack.http.base_url}jobs/{first['ann']}",
        headers={"Authorization": f"Bearer {other}"},
    )
    assert reply.status_code == 404
    owners = open_stack.rows(
        "select account, count(*) from constellation.leases group by account order by account"
    )
    assert [row["account"] for row in owners] == ["ann", "ben"]
    tiles_of = "select count(distinct digest) as n from constellation.tiles"
    assert open_stack.rows(tiles_of)[0]["n"] == 8


def test_the_dashboards_page_needs_no_key(open_stack: Stack) -> None:
    assert httpx.get(open_stack.urls["dashboard"]).status_code == 200
