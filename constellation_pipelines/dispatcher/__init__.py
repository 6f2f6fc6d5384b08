"""Turns pending jobs into Dagster runs, relays events, reaps leases."""
