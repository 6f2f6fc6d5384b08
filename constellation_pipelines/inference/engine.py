"""The engine: the long-lived process that owns one device and keeps networks on it.

    python -m constellation_pipelines.inference.engine --device UUID --socket PATH
        [--simulated [--index N] [--simulation PATH]]

Its parent sets CUDA_VISIBLE_DEVICES to the device's uuid, so a real device is always cuda:0 here.
A simulated device computes on the processor, and fails as its file tells it. SIGTERM ends the
process cleanly.
"""

import argparse
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import torch  # noqa: TID253 - this is the process that owns torch

from constellation_pipelines.domain.errors import ConstellationError, EngineFailed
from constellation_pipelines.domain.simulation import SimulationFile
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.allocator import tune_allocator
from constellation_pipelines.inference.computing import Computing
from constellation_pipelines.inference.faulty_device import DeviceLost, FaultyDevice
from constellation_pipelines.inference.hot_models import HotModels
from constellation_pipelines.inference.predict import Cancelled, predict
from constellation_pipelines.inference.protocol import (
    OUT_OF_MEMORY,
    REFUSED,
    VERSION,
    Lines,
    Message,
    PredictOrder,
    tile_to_json,
    windows_to_json,
)

REQUEST_TIMEOUT_S = 30.0  # for a client that connects and says nothing, or does not read
POLL_S = 0.25
GOODBYE_S = 2.0
EX_DEVICE_LOST = 70
NO_ROOM = "the device has no room for this model, not even for one chip at a time"

log = logging.getLogger(__name__)


class ClientLeft(Exception):
    """The client has closed its connection, or does not read."""


class Engine:
    """One device: its networks, and one batch at a time."""

    def __init__(
        self, device_uuid: str, faulty: FaultyDevice | None, models_mb: float | None = None
    ) -> None:
        """`faulty` is what a simulated device is told; None for a real one. `models_mb` is the room
        for weights, None for the device's own.
        """
        if faulty is None and not torch.cuda.is_available():
            raise EngineFailed(f"device {device_uuid} cannot be reached through CUDA")
        self.device_uuid = device_uuid
        self.simulated = faulty is not None
        device = torch.device("cpu" if self.simulated else "cuda:0")
        self.computing = Computing(device, faulty)
        self.models = HotModels(device, self.computing.take, models_mb)
        self.stopping = threading.Event()
        self.predictions = 0
        self._counting = threading.Lock()

    def preload(self, folders: list[Path]) -> None:
        """Load packages before the first request; one that is refused is logged and left."""
        for folder in folders:
            try:
                self.models.preload(folder)
            except ConstellationError as error:
                log.warning("package %s not preloaded: %s", folder.name, error)

    def hello(self) -> Message:
        """Who this is."""
        return {
            "version": VERSION,
            "device": self.device_uuid,
            "simulated": self.simulated,
            "pid": os.getpid(),
            "torch": str(torch.__version__),
            "models": self.models.references,
        }

    def ping(self) -> Message:
        """That the process lives, whether it has predictions to make, and for how long already the
        present batch has been on the device.
        """
        return {"busy": self.predictions > 0, "batch_s": self.computing.turns.busy_s}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a prediction while it lasts."""
        with self._counting:
            self.predictions += 1
        try:
            yield
        finally:
            with self._counting:
                self.predictions -= 1

    def probe(self) -> Message:
        """Whether the device computes what it should."""
        began = time.perf_counter()
        reason = self.computing.probe()
        ms = 1000 * (time.perf_counter() - began)
        return {"ok": reason is None, "reason": reason, "ms": ms, "simulated": self.simulated}


class Conversation:
    """One client's connection."""

    def __init__(self, engine: Engine, connection: socket.socket) -> None:
        self.engine = engine
        self.connection = connection
        connection.settimeout(REQUEST_TIMEOUT_S)
        self.lines = Lines(connection)
        self._sending = threading.Lock()  # the reader's thread speaks as well

    def run(self) -> None:
        """Answer requests until the client leaves."""
        with self.connection:
            try:
                while (request := self.lines.receive()) is not None:
                    self._answer(request)
            except EngineFailed as error:  # what came is no request: say so and hang up
                log.warning("refused: %s", error)
                with suppress(ClientLeft):
                    self._say_error(REFUSED, error.message)
            except (OSError, ClientLeft):
                log.info("a client left")

    def _answer(self, request: Message) -> None:
        if request.get("version") != VERSION:
            self._say_error(REFUSED, f"this engine speaks version {VERSION}")
        elif "hello" in request:
            self._say({"hello": self.engine.hello()})
        elif "ping" in request:
            self._say({"ping": self.engine.ping()})
        elif "probe" in request:
            self._say({"probe": self.engine.probe()})
        elif isinstance(request.get("predict"), dict):
            self._predict(request["predict"])
        else:
            self._say_error(REFUSED, "the request is none of hello, ping, probe, predict")

    def _predict(self, content: Message) -> None:
        try:
            order = PredictOrder.from_json(content)
            with self.engine.counted():
                summary = self._stream(order)
            self._say({"done": summary})
        except Cancelled:
            self._say_error(EngineFailed.code, "the engine is stopping")
        except ConstellationError as error:
            own = isinstance(error, EngineFailed)  # trying again would not help
            self._say_error("engine_error" if own else error.code, error.message)
        except torch.OutOfMemoryError:
            self._say_error(OUT_OF_MEMORY, NO_ROOM)
        except DeviceLost as error:
            log.error("the device is lost: %s", error)
            os._exit(EX_DEVICE_LOST)  # nothing in this process can be trusted any more
        except ClientLeft:
            raise
        except Exception:
            log.exception("prediction of run %s failed", content.get("run_id"))
            self._say_error("engine_error", "the engine met an error of its own; its log has more")

    def _stream(self, order: PredictOrder) -> Message:
        """Send each tile's result; return what to say at the end."""
        began = time.perf_counter()
        network = self.engine.models.get(Path(order.model_folder), order.model_digest)
        ready = time.perf_counter()
        results: list[TileResult] = []
        results_of = predict(
            order,
            network,
            cancelled=self._cancelled,
            device=self.engine.computing,
            listener=Teller(self._say),
        )
        for result in results_of:
            self._say({"tile": tile_to_json(result)})
            results.append(result)
        return {
            "tiles": len(results),
            "load_ms": 1000 * (ready - began),
            "read_ms": sum(result.read_ms for result in results),
            "infer_ms": sum(result.infer_ms for result in results),
            "wall_ms": 1000 * (time.perf_counter() - began),
            "batch": network.batch,
            "mem_mb": round(network.mem_mb) or None,  # None where no chip was inferred
            "mem_simulated": self.engine.computing.simulated,
        }

    def _cancelled(self) -> bool:
        """True once the client has hung up or the engine is told to stop."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        if self.engine.stopping.is_set():
            return True
        try:
            return bool(poll.poll(0)) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def _say(self, message: Message) -> None:
        try:
            with self._sending:
                self.lines.send(message)
        except OSError as error:
            raise ClientLeft from error

    def _say_error(self, code: str, message: str) -> None:
        self._say({"error": {"code": code, "message": message}})


class Teller:
    """Tells the client which tiles are in flight, so that it knows the suspects of a death."""

    def __init__(self, say: Callable[[Message], None]) -> None:
        self._say = say

    def reading(self, windows: Iterable[Window]) -> None:
        """From the reader's thread: a client that has left is the other thread's business."""
        with suppress(ClientLeft):
            self._say({"reading": windows_to_json(windows)})

    def computing(self, windows: Iterable[Window]) -> None:
        """Before and after each batch."""
        self._say({"computing": windows_to_json(windows)})

    def halved(self, refused: int, batch: int) -> None:
        """When a batch had no room."""
        log.warning("a batch of %d chips has no room on the device; %d from now on", refused, batch)
        self._say({"halved": {"refused": refused, "batch": batch}})


def serve(engine: Engine, path: Path) -> None:
    """Answer clients until the engine is told to stop. Only the socket's owner can connect."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(64)
        listener.settimeout(POLL_S)
        while not engine.stopping.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            conversation = Conversation(engine, connection)
            threading.Thread(target=conversation.run, daemon=True).start()
        path.unlink(missing_ok=True)
    engine.computing.turns.wait_idle(GOODBYE_S)  # let the batch in progress end


def main() -> int:
    """Entry point of the engine process."""
    parser = argparse.ArgumentParser(prog="engine", description="Own one device and infer on it.")
    parser.add_argument("--device", required=True, help="uuid of the device")
    parser.add_argument("--socket", required=True, type=Path, help="path to listen on")
    parser.add_argument("--simulated", action="store_true", help="compute on the processor")
    parser.add_argument("--index", type=int, default=0, help="the device's number on its host")
    parser.add_argument("--simulation", type=Path, help="file that tells simulated devices to fail")
    parser.add_argument("--models-mb", type=float, help="memory for the weights of all models")
    parser.add_argument("--preload", nargs="*", type=Path, default=[], help="packages to load")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    tune_allocator()
    faulty = None
    if arguments.simulated:
        script = SimulationFile(arguments.simulation)
        faulty = FaultyDevice(arguments.device, arguments.index, script)
    try:
        engine = Engine(arguments.device, faulty, arguments.models_mb)
    except EngineFailed as error:
        log.error("%s", error)
        return 1

    def stop(_signal: int, _frame: FrameType | None) -> None:
        engine.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    engine.preload(arguments.preload)
    serve(engine, arguments.socket)
    return 0


if __name__ == "__main__":
    exit_code = main()
    logging.shutdown()
    sys.stdout.flush()
    # Not sys.exit: a thread may still be inside torch, and tearing torch down under it aborts.
    os._exit(exit_code)
