"""Jobs that share the one device of the stack, and one that waits for its turn."""

from tests.e2e.conftest import Stack

SHARED = """
select count(*) as runs, count(distinct slot) as slots, count(distinct gpu_id) as devices
  from constellation.leases where released_at is null
"""


def test_two_runs_share_the_device_and_others_say_why_they_wait(
    stack: Stack, large_scene: str
) -> None:
    """The first job measures what the model takes; until then a run has its device to itself."""
    assert stack.finished(stack.submit(large_scene, reuse=False)["id"])["state"] == "COMPLETED"
    jobs = [stack.submit(large_scene, reuse=False)["id"] for _ in range(4)]
    stack.wait(
        lambda: stack.rows(SHARED), lambda rows: rows == [{"runs": 2, "slots": 2, "devices": 1}]
    )
    waiting = stack.wait(
        lambda: stack.job(jobs[-1])["runs"][0]["waiting"],
        lambda found: found is not None and found["code"] == "devices_busy",
    )
    assert waiting["place"] in (1, 2)
    assert waiting["estimated_start_at"] is not None
    # Not the counts of tiles: runs of one scene take its tiles from one another.
    ended = [stack.finished(job, timeout_s=180)["state"] for job in jobs]
    assert ended == ["COMPLETED"] * 4
