"""Whether a service can be used. Each answers quickly and never raises for a service that is down.

A check gets the number of the service's process.
"""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psutil
import psycopg

Check = Callable[[int], bool]

TIMEOUT_S = 2.0

# A worker beats once its runs can start.
WORKER_BEATS = """
select 1 from constellation.workers
 where host = %s and pid = %s and stopped_at is null and heartbeat_at > started_at
"""
# Dagster writes these from its own clock, in UTC without saying so.
DAEMON_BEATS = """
select 1 from dagster.daemon_heartbeats
 where timestamp at time zone 'UTC' >= to_timestamp(%s) limit 1
"""
# The lock a leading dispatcher holds; its own module is too heavy to be imported for one number.
LEADER_LOCK = 0x646973706174
DISPATCHER_LEADS = """
select 1 from pg_locks
 where locktype = 'advisory' and granted and objsubid = 1
   and classid = %(high)s::bigint::oid and objid = %(low)s::bigint::oid
   and database = (select oid from pg_database where datname = current_database())
"""
SIMULATED = """
select bool_or(simulated) from constellation.gpus where worker_id is not null
"""


def database_answers(url: str) -> bool:
    """Whether a connection can be made and a statement run."""
    return bool(_first_value(url, "select 1") == 1)


def listens(port: int) -> Check:
    """A check that the process itself listens on this port, and not a stranger who was faster."""

    def check(pid: int) -> bool:
        try:
            places = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(
            place.status == psutil.CONN_LISTEN and place.laddr.port == port for place in places
        )

    return check


def serves(port: int, url: str) -> Check:
    """A check that the process listens on the port and answers a GET, not with an error."""
    is_ours, is_ok = listens(port), http_ok(url)
    return lambda pid: is_ours(pid) and is_ok(pid)


def http_ok(url: str) -> Check:
    """A check that a GET is answered, and not with an error."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def check(_: int) -> bool:
        try:
            with opener.open(url, timeout=TIMEOUT_S):
                return True
        except (OSError, ValueError):  # urllib's errors are OSErrors
            return False

    return check


def worker_beats(url: str, host: str) -> Check:
    """A check that the worker process has registered and its runs can start."""
    return lambda pid: _first_value(url, WORKER_BEATS, (host, pid)) == 1


def daemon_beats(url: str) -> Check:
    """A check that Dagster's daemon has begun its rounds."""
    return lambda pid: _first_value(url, DAEMON_BEATS, (_born_at(pid),)) == 1


def dispatcher_leads(url: str) -> Check:
    """A check that some dispatcher leads: this one, or one it stands by for."""
    key = {"high": LEADER_LOCK >> 32, "low": LEADER_LOCK & 0xFFFFFFFF}
    return lambda _: _first_value(url, DISPATCHER_LEADS, key) == 1


def devices_simulated(url: str) -> bool | None:
    """Whether the devices on offer are simulated; None where there are none yet."""
    value = _first_value(url, SIMULATED)
    return None if value is None else bool(value)


def _born_at(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return time.time()


def _first_value(url: str, sql: str, args: Any = None) -> Any:
    try:
        with psycopg.connect(url, connect_timeout=int(TIMEOUT_S)) as connection:
            row = connection.execute(sql.encode(), args).fetchone()
    except psycopg.Error:
        return None
    return row[0] if row else None
