"""Dagster's run coordinator and run launcher on a queue in Postgres."""
