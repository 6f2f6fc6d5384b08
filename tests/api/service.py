"""A real API server for tests, and small things to ask it for."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
from fastapi import FastAPI

from api.live.sockets import SERVING
from api.main import create_app
from constellation_pipelines.dispatcher.relay import run_relay
from constellation_pipelines.domain.card import parse_card
from constellation_pipelines.domain.ids import new_id
from constellation_pipelines.domain.model import Model
from constellation_pipelines.settings import Settings
from constellation_pipelines.store import models
from constellation_pipelines.store.database import Database

MODEL = "landcover@1"
WEST_M, NORTH_M = 500_000.0, 5_000_000.0  # EPSG:32633, near 15 E 45.15 N


@dataclass(frozen=True)
class Service:
    """A running server, its database and the folder its scenes may come from."""

    url: str
    database: Database
    scenes: Path
    http: httpx.Client

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/api/v1/stream"


@contextmanager
def listening(app: FastAPI, **options: Any) -> Iterator[str]:
    """Serve an app from a thread with a loop of its own, as the stack does save for `options`."""
    how = {**SERVING, **options}
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2, **how)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def serving(
    database_url: str, nats_url: str | None, folder: Path, **more: Any
) -> Iterator[Service]:
    """Serve the API, with more settings than the tests need to run."""
    scenes = folder / "scenes"
    scenes.mkdir(exist_ok=True)
    settings = Settings(
        database_url=database_url,
        nats_url=nats_url,
        scene_roots=(scenes,),
        data_dir=folder,
        **more,
    )
    database = Database(database_url)
    try:
        with (
            listening(create_app(settings)) as url,
            httpx.Client(base_url=f"{url}/api/v1", timeout=30) as http,
        ):
            yield Service(url, database, scenes, http)
    finally:
        database.close()


@contextmanager
def away(database_url: str) -> Iterator[None]:
    """Let a database take no connections, and end those that there are, until the block ends."""
    name = database_url.partition("?")[0].rpartition("/")[2]
    with psycopg.connect(database_url.replace(f"/{name}", "/postgres"), autocommit=True) as admin:
        admin.execute(f"alter database {name} allow_connections false")
        try:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,)
            )
            yield
        finally:
            admin.execute(f"alter database {name} allow_connections true")


@contextmanager
def relaying(database_url: str, nats_url: str) -> Iterator[None]:
    """Relay events from a thread with a loop of its own, as the dispatcher does."""
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            loop.run_until_complete(run_relay(database_url, nats_url, stop))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
        assert not failures


def save_model(database: Database, name: str = "landcover") -> Model:
    """Register a card without weights: the API never loads any."""
    document = card(name)
    model = Model(new_id(), "d" * 64, "/models/none", parse_card(document), document)
    with database.transaction() as connection:
        return models.save(connection, model)


def card(name: str) -> dict[str, Any]:
    scaling = {"type": "z-score", "mean": 0.4, "stddev": 0.2}
    classes = [
        {"value": value, "name": name, "color_hint": "00ff00"}
        for value, name in enumerate(("water", "land"))
    ]
    return {
        "type": "Feature",
        "properties": {
            "mlm:name": name,
            "version": "1",
            "mlm:architecture": "small",
            "mlm:tasks": ["scene-classification"],
            "mlm:input": [
                {
                    "bands": ["red", "green", "blue"],
                    "input": {"shape": [-1, 3, 64, 64]},
                    "value_scaling": [scaling] * 3,
                }
            ],
            "mlm:output": [{"result": {"shape": [-1, 2]}, "classification:classes": classes}],
            "constellation:architecture_options": {},
            "constellation:chip_px": 64,
            "constellation:halo_px": 0,
            "constellation:gsd_min_m": 5,
            "constellation:gsd_max_m": 20,
            "constellation:reflectance_white": 0.3,
        },
        "assets": {"weights": {"href": "weights.safetensors", "file:checksum": "1220" + "a" * 64}},
    }


def write_raster(
    path: Path,
    *,
    bands: int = 3,
    size_px: int = 1024,
    pixel_m: float = 10.0,
    west_m: float = WEST_M,
    north_m: float = NORTH_M,
    crs: str = "EPSG:32633",
    dtype: str = "uint8",
) -> Path:
    """A small GeoTIFF whose content depends on its name, so that no two have one digest."""
    import numpy as np
    import rasterio

    noise = np.random.default_rng(list(path.name.encode()))
    pixels = noise.integers(0, 255, (bands, size_px, size_px)).astype(dtype)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=size_px,
        height=size_px,
        count=bands,
        dtype=dtype,
        crs=crs,
        transform=rasterio.Affine(pixel_m, 0, west_m, 0, -pixel_m, north_m),
        tiled=True,
        photometric="RGB" if bands == 3 else None,
    ) as raster:
        raster.write(pixels)
    return path


def add_scene(service: Service, name: str, **how: Any) -> str:
    """Register a new small scene; return its key."""
    about = {key: how.pop(key) for key in ("bands_named", "scale", "offset") if key in how}
    path = write_raster(service.scenes / f"{name}.tif", **how)
    body = {"path": str(path)} | {key.replace("_named", ""): value for key, value in about.items()}
    response = service.http.post("/scenes", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["key"])


def square(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    """A GeoJSON Polygon of these bounds."""
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
