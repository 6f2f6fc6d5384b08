"""A program of somebody else's is told of a job, from its submission to its end."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

from constellation_pipelines.demo.scenes import generate
from tests.e2e.conftest import CHECKOUT, Stack
from tests.local_server import Quiet, local_server

PAGE = CHECKOUT / "docs" / "webhooks.md"


@dataclass
class Receiver:
    """What was posted, in the order in which it came; the first of all is answered with 500."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def of_job(self, job_id: str) -> list[dict[str, Any]]:
        """The bodies that speak of a job."""
        told = [json.loads(body) for _, body in self.got]
        return [one for one in told if one["job_id"] == job_id]


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(Quiet):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append((dict(self.headers), body))
            self.send_response(500 if len(receiver.got) == 1 else 204)
            self.end_headers()

    with local_server(Handler) as port:
        receiver.url = f"http://127.0.0.1:{port}/hook"
        yield receiver


def recipe() -> Callable[[str, str, bytes], bool]:
    """The check of a signature, as the documentation tells it to readers."""
    found = re.search(
        r"^    import hashlib.*?^        return [^\n]+\n", PAGE.read_text(), re.M | re.S
    )
    assert found is not None, "docs/webhooks.md has no recipe any more"
    room: dict[str, Any] = {}
    exec(dedent(found[0]), room)
    return room["is_ours"]  # type: ignore[no-any-return]


def test_a_job_is_told_of_signed_and_again_after_a_failure(stack: Stack) -> None:
    path = stack.data_dir / "scenes" / "told.tif"
    path.parent.mkdir(exist_ok=True)
    scene = stack.register(generate(path, 1024))["key"]
    with receiving() as receiver:
        made = stack.http.post("/webhooks", json={"url": receiver.url})
        assert made.status_code == 201, made.text
        hook, secret = made.json()["id"], made.json()["secret"]
        try:
            job = stack.finished(stack.submit(scene, reuse=False)["id"])
            assert job["state"] == "COMPLETED"
            seen = stack.wait(
                lambda: receiver.of_job(job["id"]), lambda told: len(told) >= 4, timeout_s=90
            )
            page = stack.wait(
                lambda: stack.http.get(f"/webhooks/{hook}/deliveries").json()["items"],
                lambda items: all(item["delivered_at"] for item in items),
            )
        finally:
            stack.http.delete(f"/webhooks/{hook}")

    is_ours = recipe()
    for headers, body in receiver.got:
        signed = headers["Constellation-Signature"]
        assert is_ours(secret, signed, body)
        assert not is_ours(secret + "x", signed, body)
        assert not is_ours(secret, signed, body + b" ")
        assert headers["Constellation-Event"] == json.loads(body)["type"]

    # What failed came again, the same to the byte; by their ids events are in the order of the job.
    first = seen[0]
    again = [body for _, body in receiver.got if json.loads(body)["id"] == first["id"]]
    assert len(again) == 2
    assert again[0] == again[1]
    events = {one["id"]: one["type"] for one in seen}
    assert [events[id] for id in sorted(events)] == [
        "job.submitted",
        "job.started",
        "job.completed",
    ]
    by_event = {item["event_id"]: item for item in page}
    assert {id: by_event[id]["attempts"] for id in events} == {
        id: 2 if id == first["id"] else 1 for id in events
    }
    assert seen[-1]["account"] == "local"
