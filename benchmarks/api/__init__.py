"""The API beside raw statements and a bare route, on one core, with a table that is not empty."""

from benchmarks.api.suite import run as run
