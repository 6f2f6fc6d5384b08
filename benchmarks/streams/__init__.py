"""A thousand sockets that follow one job, and a log's lines on their way to a reader."""

from benchmarks.streams.suite import run as run
