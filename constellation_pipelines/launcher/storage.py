"""Dagster's storages in Postgres, without what they ask again and again.

Dagster looks for columns of its own tables before most writes, tells a channel that nobody hears
of each event, and writes the planned events of a run one by one. Between a job's submission and
its first tile these were two thirds of all statements. And Dagster's pools hand out connections
that died with a restart of the server; ours are tested after a pause.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

from dagster import AssetKey, DagsterEventType, EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._serdes import ConfigurableClassData, serialize_value
from dagster_postgres.event_log.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage.run_storage import PostgresRunStorage
from dagster_postgres.schedule_storage.schedule_storage import PostgresScheduleStorage
from dagster_postgres.utils import pg_url_from_config
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.exc import DBAPIError, DisconnectionError

IDLE_S = 1.0  # a connection that was in use a moment ago is not tested again

PLANNED = frozenset(
    {
        DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
    }
)
# Events that are no more than a row of the log: they touch no table of assets or checks.
PLAIN = frozenset(
    {
        None,
        DagsterEventType.ENGINE_EVENT,
        DagsterEventType.LOGS_CAPTURED,
        DagsterEventType.PIPELINE_ENQUEUED,
        DagsterEventType.PIPELINE_STARTING,
        DagsterEventType.PIPELINE_START,
        DagsterEventType.RESOURCE_INIT_STARTED,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.STEP_START,
        DagsterEventType.STEP_OUTPUT,
        DagsterEventType.STEP_SUCCESS,
    }
)


class CheckedPool:
    """Storages whose pooled connections are tested when they have been idle.

    SQLAlchemy's own pre-ping asks before every use, and so doubles the count of round trips.
    """

    _engine: Any

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        """Called by Dagster's web server and by our processes: pool connections."""
        super().optimize_for_webserver(  # type: ignore[misc]  # the storage that comes after
            statement_timeout, pool_recycle, max_overflow
        )
        check_idle_connections(self._engine)


def check_idle_connections(engine: Any) -> None:
    """Have the engine's pool replace connections that do not answer after a pause."""

    def used(_connection: Any, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    def check(connection: Any, record: Any, _proxy: Any) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < IDLE_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except (DBAPIError, engine.dialect.dbapi.Error) as error:
            raise DisconnectionError("the connection has died while idle") from error

    sqlalchemy_event.listen(engine, "checkin", used)
    sqlalchemy_event.listen(engine, "checkout", check)


class ConstellationScheduleStorage(CheckedPool, PostgresScheduleStorage):
    """Dagster's schedule storage."""

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Called by Dagster with the values of dagster.yaml."""
        return cls(**storage_arguments(inst_data, config_value))


class ConstellationRunStorage(CheckedPool, PostgresRunStorage):
    """Dagster's run storage. What once was there - a column, a snapshot - stays there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._seen: set[str] = set()
        super().__init__(*args, **kwargs)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Called by Dagster with the values of dagster.yaml."""
        return cls(**storage_arguments(inst_data, config_value))

    def has_run_stats_index_cols(self) -> bool:
        """Whether runs have columns for start and end."""
        return self._once("run stats", super().has_run_stats_index_cols)

    def has_backfill_id_column(self) -> bool:
        """Whether runs have a column for their backfill."""
        return self._once("backfill id", super().has_backfill_id_column)

    def has_job_snapshot(self, job_snapshot_id: str) -> bool:
        """Whether a job's snapshot is stored."""
        known = super().has_job_snapshot
        return self._once(job_snapshot_id, lambda: known(job_snapshot_id))

    def has_execution_plan_snapshot(self, execution_plan_snapshot_id: str) -> bool:
        """Whether a plan's snapshot is stored."""
        known = super().has_execution_plan_snapshot
        return self._once(execution_plan_snapshot_id, lambda: known(execution_plan_snapshot_id))

    def _once(self, name: str, look: Any) -> bool:
        """Look until the answer is yes, then remember it."""
        if name not in self._seen and look():
            self._seen.add(name)
        return name in self._seen


class ConstellationEventLogStorage(CheckedPool, PostgresEventLogStorage):
    """Dagster's event log, with a run's planned events in one write."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._has_asset_columns: dict[str, bool] = {}
        self._held_back = threading.local()  # .events: planned events of this thread
        super().__init__(*args, **kwargs)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        """Called by Dagster with the values of dagster.yaml."""
        return cls(**storage_arguments(inst_data, config_value))

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event."""
        kind = event.dagster_event.event_type if event.dagster_event is not None else None
        if kind not in PLAIN:
            super().store_event(event)
            return
        with self._connect() as connection:
            connection.execute(self.prepare_insert_event(event))

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events together where Dagster does, and planned ones too."""
        kinds = {event.get_dagster_event().event_type for event in events}
        held_back = getattr(self._held_back, "events", None)
        if not kinds <= PLANNED:
            super().store_event_batch(events)
        elif held_back is None:
            self._store_planned(events)
        else:
            held_back.extend(events)

    @contextmanager
    def planned_events_later(self) -> Iterator[None]:
        """Hold the planned events of this thread back until the block ends.

        They tell people what a run will do, and nothing waits for them; the run itself goes first.
        Dagster takes a check that was not planned for one that is new, so a crash in between costs
        a line in the run's log.
        """
        held_back: list[EventLogEntry] = []
        self._held_back.events = held_back
        try:
            yield
        finally:
            self._held_back.events = None
            if held_back:
                self._store_planned(held_back)

    def _store_planned(self, events: Sequence[EventLogEntry]) -> None:
        """Log rows, asset rows and check rows of planned events, in one transaction."""
        insert = self.prepare_insert_event_batch(events).returning(SqlEventLogStorageTable.c.id)
        with self.index_transaction() as connection:
            ids = [int(row[0]) for row in connection.execute(insert).fetchall()]
            last: dict[AssetKey, tuple[EventLogEntry, int]] = {}
            checks: list[dict[str, Any]] = []
            tagged: list[tuple[EventLogEntry, int]] = []
            for event, event_id in zip(events, ids, strict=True):
                planned = event.get_dagster_event()
                if planned.event_type == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                    at = self._event_insert_timestamp(event)  # type: ignore[no-untyped-call]
                    checks += check_rows(event, event_id, at)
                elif planned.asset_key is not None:
                    last[planned.asset_key] = (event, event_id)
                    tagged.append((event, event_id))
            if tagged:
                self._store_asset_event_tags(
                    connection, [event for event, _ in tagged], [one for _, one in tagged]
                )
            for event, event_id in last.values():
                self._store_asset_event(connection, event, event_id)
            if checks:
                connection.execute(AssetCheckExecutionsTable.insert().values(checks))

    def has_asset_key_col(self, column_name: str) -> bool:
        """Whether the table of assets has a column."""
        if not self._has_asset_columns.get(column_name):
            self._has_asset_columns[column_name] = super().has_asset_key_col(column_name)
        return self._has_asset_columns[column_name]


def check_rows(event: EventLogEntry, event_id: int, at: Any) -> list[dict[str, Any]]:
    """Rows of a planned check, as Dagster's `_store_asset_check_evaluation_planned` writes them."""
    planned = event.get_dagster_event().asset_check_planned_data
    subset = planned.partitions_subset
    return [
        {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "partition": partition,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": at,
            "evaluation_event_storage_id": event_id,
        }
        for partition in (subset.get_partition_keys() if subset else [None])
    ]


def storage_arguments(
    inst_data: ConfigurableClassData | None, config: Mapping[str, Any]
) -> dict[str, Any]:
    """A storage's arguments from its config in dagster.yaml, which is the one of Dagster's own."""
    return {
        "inst_data": inst_data,
        "postgres_url": pg_url_from_config(config),
        "should_autocreate_tables": config.get("should_autocreate_tables", True),
    }
