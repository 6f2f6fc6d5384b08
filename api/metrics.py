"""What Prometheus reads: requests as they are answered, and what the database holds when asked."""

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.live.samples import Samples
from constellation_pipelines.domain.sample import Sample
from constellation_pipelines.store.devices import DeviceStatus
from constellation_pipelines.store.totals import Totals

PACKAGE = "constellation-eo"
PREFIX = "constellation_"
BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
METHODS = ("GET", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS")
ELSEWHERE = "elsewhere"  # a path that is no operation's: what people make up is no label


class Requests:
    """Requests of this process, by operation."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._answered = Counter(
            f"{PREFIX}http_requests",
            "Requests answered",
            ("method", "path", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            f"{PREFIX}http_seconds",
            "Until an answer began",
            ("method", "path"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.open = Gauge(
            f"{PREFIX}connections_open",
            "Requests and sockets under way",
            ("kind",),
            registry=self.registry,
        )
        release = Gauge(f"{PREFIX}build", "The release", ("version",), registry=self.registry)
        release.labels(version(PACKAGE)).set(1)

    def note(self, scope: Scope, status: int, seconds: float) -> None:
        """An answer has begun."""
        route = getattr(scope.get("route"), "path", ELSEWHERE)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._answered.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class Measured:
    """Notes what is answered."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.note(scope, message["status"], time.perf_counter() - began)
            await send(message)

        with self._requests.open.labels(scope["type"]).track_inprogress():
            await self._app(scope, receive, noting if scope["type"] == "http" else send)


class Held(Collector):
    """What the database and the devices said, as metrics. `totals` is None without a database."""

    def __init__(
        self, totals: Totals | None, devices: Sequence[DeviceStatus], samples: Samples
    ) -> None:
        self._totals = totals
        self._devices = devices
        self._samples = samples

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of them."""
        yield gauge("database_up", "Whether the database answers", float(self._totals is not None))
        if self._totals is not None:
            yield from of_totals(self._totals)
            yield from of_devices([(one, self._samples.latest(one.uuid)) for one in self._devices])


def of_totals(found: Totals) -> Iterator[GaugeMetricFamily]:
    """Jobs, runs, queue, leases, events, tiles."""
    for name, counts in (("jobs", found.jobs), ("runs_open", found.runs)):
        family = GaugeMetricFamily(f"{PREFIX}{name}", f"{name} by state", labels=["state"])
        for state, count in sorted(counts.items()):
            family.add_metric([state], count)
        yield family
    yield gauge("runs_queued", "Runs that wait for a device", found.queued)
    yield gauge("oldest_queued_seconds", "How long the first of them has", found.oldest_queued_s)
    yield gauge("leases_live", "Runs that hold a device", found.leases)
    yield gauge("events_unpublished", "Events that NATS does not have yet", found.unpublished)
    yield gauge("tiles_estimate", "About how many tiles there are", found.tiles)


def of_devices(found: Sequence[tuple[DeviceStatus, Sample | None]]) -> Iterator[GaugeMetricFamily]:
    """Each device: whether it works, what holds it, its latest sample."""
    labels = ["uuid", "host", "name", "simulated"]

    def family(name: str, help: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{PREFIX}gpu_{name}", help, labels=labels)

    ready, healthy, runs = (
        family("ready", "Whether its engine answers"),
        family("healthy", "0 where it is in quarantine"),
        family("runs", "Runs that hold it"),
    )
    use, memory, heat, power = (
        family("utilisation_ratio", "Share of the time that it computes"),
        family("memory_used_bytes", "Memory in use"),
        family("temperature_celsius", "Its temperature"),
        family("power_watts", "What it draws"),
    )
    for device, sample in found:
        who = [device.uuid, device.host, device.name, str(device.simulated).lower()]
        ready.add_metric(who, float(device.engine_ready))
        healthy.add_metric(who, float(device.health == "ok"))
        runs.add_metric(who, device.runs)
        if sample is None:
            continue
        for one, value in (
            (use, scaled(sample.utilisation_pct, 0.01)),
            (memory, scaled(sample.mem_used_mb, 2**20)),
            (heat, sample.temperature_c),
            (power, sample.power_w),
        ):
            if value is not None:
                one.add_metric(who, value)
    yield from (ready, healthy, runs, use, memory, heat, power)


def scaled(value: float | None, factor: float) -> float | None:
    """In the base unit."""
    return None if value is None else value * factor


def gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    """One number."""
    return GaugeMetricFamily(f"{PREFIX}{name}", help, value=value)


def exposed(requests: Requests, held: Held) -> bytes:
    """Prometheus' text of both."""
    now = CollectorRegistry()
    now.register(held)
    return bytes(generate_latest(requests.registry) + generate_latest(now))
