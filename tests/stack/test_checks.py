import http.server
import os
import socket
import subprocess
import sys
import threading

import psycopg

from constellation_pipelines.dispatcher import main as dispatcher
from constellation_pipelines.stack import checks
from constellation_pipelines.stack.ports import LOOPBACK, claim_any
from constellation_pipelines.stack.waiting import wait_until


def test_a_port_that_a_stranger_listens_on_is_not_ours() -> None:
    claim = claim_any()
    port = claim.port
    command = [sys.executable, "-m", "http.server", str(port), "--bind", LOOPBACK]
    stranger = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://{LOOPBACK}:{port}/"
        assert wait_until(lambda: checks.http_ok(url)(0), 20.0)
        assert checks.serves(port, url)(stranger.pid)
        assert not checks.serves(port, url)(os.getpid())
    finally:
        stranger.kill()
        stranger.wait()


def test_a_reply_that_is_an_error_is_not_ready() -> None:
    class Unavailable(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer((LOOPBACK, 0), Unavailable) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert not checks.http_ok(f"http://{LOOPBACK}:{server.server_port}/")(0)
        thread.join()


def test_nobody_there_is_not_ready() -> None:
    with socket.socket() as reserved:
        reserved.bind((LOOPBACK, 0))
        port = reserved.getsockname()[1]
        assert not checks.http_ok(f"http://{LOOPBACK}:{port}/")(0)
        assert not checks.listens(port)(os.getpid())
    assert not checks.database_answers(f"postgresql://ann@{LOOPBACK}:{port}/eo")
    assert checks.devices_simulated(f"postgresql://ann@{LOOPBACK}:{port}/eo") is None


def test_a_leading_dispatcher_is_seen(database_url: str) -> None:
    leads = checks.dispatcher_leads(database_url)
    assert not leads(0)
    with psycopg.connect(database_url) as connection:
        connection.execute("select pg_advisory_lock(%s)", (dispatcher.LEADER_LOCK,))
        assert leads(0)
    assert not leads(0)


def test_a_worker_is_ready_once_it_beats(database_url: str) -> None:
    beats = checks.worker_beats(database_url, "here")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into constellation.workers (id, host, pid)"
            " values (gen_random_uuid(), 'here', 7)"
        )
        assert not beats(7)
        connection.execute("update constellation.workers set heartbeat_at = clock_timestamp()")
        assert beats(7)
        assert not beats(8)
        assert not checks.worker_beats(database_url, "elsewhere")(7)


def test_a_daemon_is_ready_once_it_has_written_its_heartbeat(database_url: str) -> None:
    beats = checks.daemon_beats(database_url)
    insert = (
        "insert into dagster.daemon_heartbeats (daemon_type, daemon_id, timestamp)"
        " values ('SENSOR', 'x', (now() at time zone 'UTC') + %s::interval)"
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("set time zone 'Asia/Tokyo'")
        connection.execute(insert, ("-1 day",))
        assert not beats(os.getpid())  # an earlier daemon's
        connection.execute("delete from dagster.daemon_heartbeats")
        connection.execute(insert, ("0",))
        assert beats(os.getpid())
