"""What is old is deleted, in small batches; what anybody still needs is not."""

import threading
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from constellation_pipelines.dispatcher.pruner import Kept, Pruner, pruning_of
from constellation_pipelines.domain.account import Scope
from constellation_pipelines.domain.secret import hashed, new_key, new_login, new_session
from constellation_pipelines.domain.webhook import new_secret
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import accounts, audit, events, keys, sessions, webhooks
from constellation_pipelines.store.database import Database
from tests.store.fleet import job, run_of

KEPT = Kept.of(Settings())
STOP = threading.Event()


def prune(database: Database, batch: int = 1000) -> dict[str, int]:
    return Pruner(database, KEPT, batch=batch).round(STOP, pause_s=0)


def event(database: Database, job_id: UUID, *, days: float, published: bool = True) -> int:
    """An event that is so old; its id."""
    with database.transaction() as connection:
        events.emit(connection, "run.noted", job_id, None, {})
    row = database.fetch_one(
        "update constellation.events set ts = now() - make_interval(hours => %(hours)s), "
        "published_at = case when %(published)s then now() - make_interval(hours => %(hours)s) end "
        "where id = (select max(id) from constellation.events) returning id",
        {"hours": int(days * 24), "published": published},
    )
    assert row is not None
    return int(row["id"])


def end(database: Database, job_id: UUID, *, days: int = 0) -> None:
    database.execute(
        "update constellation.jobs set state = 'COMPLETED', started_at = created_at,"
        " finished_at = now() - make_interval(days => %s) where id = %s",
        (days, job_id),
    )


def ids(database: Database) -> set[int]:
    return {row["id"] for row in database.fetch_all("select id from constellation.events")}


@pytest.fixture
def ended(database: Database) -> UUID:
    job_id = job(database)
    end(database, job_id)
    return job_id


# ---- events ----


def test_published_events_of_ended_jobs_go_after_a_week(database: Database, ended: UUID) -> None:
    for _ in range(5):
        event(database, ended, days=8)
    fresh = event(database, ended, days=6)
    newest = event(database, ended, days=0)
    assert prune(database)["events"] == 5
    assert ids(database) == {fresh, newest}
    assert prune(database)["events"] == 0


def test_what_nats_has_not_stored_stays_however_old(database: Database, ended: UUID) -> None:
    waiting = event(database, ended, days=300, published=False)
    event(database, ended, days=300)
    newest = event(database, ended, days=0)
    prune(database)
    assert ids(database) == {waiting, newest}


def test_events_of_a_job_at_work_stay_so_that_its_stream_has_no_gap(database: Database) -> None:
    at_work = job(database)
    kept = {event(database, at_work, days=30) for _ in range(3)}
    newest = event(database, at_work, days=0)
    prune(database)
    assert ids(database) == kept | {newest}
    end(database, at_work)
    assert prune(database)["events"] == 3


def test_the_newest_event_stays_and_with_it_the_highest_id(database: Database, ended: UUID) -> None:
    event(database, ended, days=90)
    newest = event(database, ended, days=90)
    prune(database)
    with database.transaction() as connection:
        assert events.newest_id(connection) == newest


def test_small_batches_pass_over_what_stays_and_reach_all_that_is_old(database: Database) -> None:
    """What may not go stands first, and fills several batches."""
    at_work, over = job(database), job(database)
    end(database, over)
    kept = {event(database, at_work, days=20) for _ in range(7)}
    for _ in range(8):
        event(database, over, days=20)
    newest = event(database, over, days=0)
    assert prune(database, batch=3)["events"] == 8
    assert ids(database) == kept | {newest}


def test_what_comes_meanwhile_is_not_held_up(database: Database, ended: UUID) -> None:
    """An emitter that stands in the middle of its transaction is not waited for."""
    event(database, ended, days=8)
    event(database, ended, days=0)
    with database.transaction() as connection:
        events.emit(connection, "run.noted", ended, None, {})
        assert prune(database)["events"] == 1


# ---- the rest ----


def test_the_audit_is_kept_for_400_days(database: Database) -> None:
    for days in (500, 401, 399):
        with database.transaction() as connection:
            audit.record_of_host(connection, "key.made", "x", account="ann", actor="host:me")
        database.execute(
            "update constellation.audit_events set at = now() - make_interval(days => %s)"
            " where id = (select max(id) from constellation.audit_events)",
            (days,),
        )
    assert prune(database, batch=1)["audit events"] == 2
    (left,) = database.fetch_all("select at from constellation.audit_events")
    assert left["at"] > datetime.now(UTC) - timedelta(days=400)


@pytest.fixture
def ann(database: Database) -> str:
    key = new_key()
    with database.transaction() as connection:
        accounts.create(connection, "ann")
        keys.create(connection, key, account="ann", scope=Scope.VIEWER)
    return key.prefix


@pytest.mark.parametrize("of_login", [False, True])
def test_sessions_go_a_week_after_their_end(database: Database, ann: str, of_login: bool) -> None:
    def begin() -> bytes:
        token = hashed(new_session())
        with database.transaction() as connection:
            if of_login:
                login = hashed(new_login(0))
                sessions.begin_of_login(
                    connection,
                    token,
                    account="ann",
                    scope=Scope.VIEWER,
                    actor="oidc:7",
                    login_hash=login,
                    lasts_s=60,
                )
            else:
                sessions.begin(connection, token, prefix=ann, lasts_s=60)
        return token

    def change(token: bytes, what: str) -> None:
        database.execute(f"update constellation.sessions set {what} where hash = %s", (token,))

    good, signed_out, ran_out, lately = (begin() for _ in range(4))
    change(signed_out, "ended_at = now() - interval '8 days'")
    long_ago = "created_at = now() - interval '20 days', expires_at = now() - interval"
    change(ran_out, f"{long_ago} '8 days'")
    change(lately, f"{long_ago} '6 days'")
    assert prune(database, batch=1)["sessions"] == 2
    left = database.fetch_all("select hash from constellation.sessions")
    assert {bytes(row["hash"]) for row in left} == {good, lately}


def test_deliveries_that_ended_go_after_a_week_and_others_stay(database: Database) -> None:
    with database.transaction() as connection:
        webhooks.add(connection, "ann", "https://hooks.example.org/x", None, new_secret())
        for _ in range(3):
            events.emit(connection, "job.completed", job(database), None, {})
    changes = ("delivered_at = now() - interval '8 days'", "gave_up_at = now() - interval '8 days'")
    for what in changes:
        database.execute(
            f"update constellation.webhook_deliveries set {what} where id = (select min(id)"
            " from constellation.webhook_deliveries"
            " where delivered_at is null and gave_up_at is null)"
        )
    assert prune(database)["webhook deliveries"] == 2
    assert len(database.fetch_all("select 1 from constellation.webhook_deliveries")) == 1


def test_an_idempotency_key_outlives_its_job_by_30_days(database: Database) -> None:
    days = {"long ago": 31, "lately": 29, "at work": None}
    for name, ago in days.items():
        job_id = job(database)
        database.execute(
            "update constellation.jobs set idempotency_key = %s, request_digest = 'd'"
            " where id = %s",
            (name, job_id),
        )
        if ago is not None:
            end(database, job_id, days=ago)
    assert prune(database)["idempotency keys"] == 1
    rows = database.fetch_all("select idempotency_key as key from constellation.jobs")
    assert {row["key"] for row in rows} == {None, "lately", "at work"}


def test_what_lineage_and_usage_are_made_of_is_never_deleted(database: Database) -> None:
    old = job(database)
    run_of(database, old)
    end(database, old, days=4000)
    counts = "select (select count(*) from constellation.jobs), (select count(*) from " + (
        "constellation.runs), (select count(*) from constellation.run_queue)"
    )
    before = database.fetch_one(counts)
    prune(database)
    assert database.fetch_one(counts) == before


def test_it_begins_by_itself(database: Database, ended: UUID) -> None:
    event(database, ended, days=8)
    newest = event(database, ended, days=0)
    with pruning_of(database, KEPT):
        deadline = time.monotonic() + 60
        while ids(database) != {newest} and time.monotonic() < deadline:
            time.sleep(0.05)
    assert ids(database) == {newest}
