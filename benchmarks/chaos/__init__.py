"""Processes are killed at random moments while jobs run; afterwards nothing is lost or doubled."""

from benchmarks.chaos.suite import run as run
