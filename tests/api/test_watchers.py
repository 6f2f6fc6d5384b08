"""Whose keys read metrics lately."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.watchers import LET_IN_FOR_S, REMEMBERED, Watchers
from constellation_pipelines.domain.account import Door, Principal, Scope
from tests.api.test_buckets import Clock

ADMIN = Principal("ann", Scope.ADMIN, Door.KEY, "aaaaaaaa")


def test_a_key_is_known_for_a_while_since_the_database_knew_it() -> None:
    clock = Clock()
    watchers = Watchers(clock)
    assert watchers.lately("key") is None
    watchers.note("key", ADMIN)
    clock.now_s = LET_IN_FOR_S - 1
    assert watchers.lately("key") == ADMIN
    assert watchers.lately("another") is None
    clock.now_s = LET_IN_FOR_S
    assert watchers.lately("key") is None, "being asked for did not make it last longer"


def test_a_key_that_has_expired_since_is_not_known() -> None:
    watchers = Watchers(Clock())
    now = datetime.now(UTC)
    watchers.note("over", replace(ADMIN, expires_at=now))
    watchers.note("good", replace(ADMIN, expires_at=now + timedelta(hours=1)))
    assert watchers.lately("over") is None
    assert watchers.lately("good") is not None


@pytest.mark.parametrize(
    "other",
    [
        replace(ADMIN, scope=Scope.VIEWER),
        replace(ADMIN, scope=Scope.OPERATOR),
        replace(ADMIN, door=Door.SESSION),
        replace(ADMIN, door=Door.OIDC),
    ],
)
def test_only_admins_keys_are_remembered(other: Principal) -> None:
    watchers = Watchers(Clock())
    watchers.note("key", other)
    assert watchers.lately("key") is None


def test_one_that_the_database_knows_no_more_is_forgotten() -> None:
    watchers = Watchers(Clock())
    watchers.note("key", ADMIN)
    watchers.forget("key")
    watchers.forget("never seen")
    assert watchers.lately("key") is None


def test_the_latest_are_remembered_and_nothing_of_their_text() -> None:
    watchers = Watchers(Clock())
    for number in range(REMEMBERED + 1):
        watchers.note(f"key {number}", ADMIN)
        watchers.note("key 1", ADMIN)
    assert watchers.lately("key 0") is None
    assert watchers.lately("key 1") is not None
    assert watchers.lately(f"key {REMEMBERED}") is not None
    assert "key 1" not in repr(vars(watchers))
