"""The engine: the long-lived process that owns one device and keeps networks on it.

    python -m constellation_pipelines.inference.engine --device UUID --socket PATH [--simulated]

Its parent sets CUDA_VISIBLE_DEVICES to the device's uuid, so a real device is always cuda:0 here.
A simulated device computes on the processor. SIGTERM ends it cleanly.
"""

import argparse
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import torch  # noqa: TID253 - this is the process that owns torch

from constellation_pipelines.domain.errors import ConstellationError, EngineFailed
from constellation_pipelines.domain.tile import TileResult
from constellation_pipelines.inference.hot_models import HotModels
from constellation_pipelines.inference.predict import Cancelled, predict
from constellation_pipelines.inference.protocol import (
    REFUSED,
    VERSION,
    Lines,
    Message,
    PredictOrder,
    tile_to_json,
)

REQUEST_TIMEOUT_S = 30.0  # for a client that connects and says nothing, or does not read
POLL_S = 0.25
GOODBYE_S = 2.0

log = logging.getLogger(__name__)


class ClientLeft(Exception):
    """The client has closed its connection, or does not read."""


class Engine:
    """One device: its networks, and one inference at a time."""

    def __init__(self, device_uuid: str, *, simulated: bool) -> None:
        if not simulated and not torch.cuda.is_available():
            raise EngineFailed(f"device {device_uuid} cannot be reached through CUDA")
        self.device_uuid = device_uuid
        self.simulated = simulated
        self.device = torch.device("cpu" if simulated else "cuda:0")
        self.models = HotModels(self.device)
        self.turn = threading.Lock()
        self.stopping = threading.Event()

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
        """That the process lives, and whether the device is in use."""
        return {"busy": self.turn.locked()}

    def peak_mem_mb(self) -> float:
        """Most memory used so far: of the device, or of this process where it is simulated."""
        if self.simulated:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return torch.cuda.max_memory_allocated(self.device) / 1e6


class Conversation:
    """One client's connection."""

    def __init__(self, engine: Engine, connection: socket.socket) -> None:
        self.engine = engine
        self.connection = connection
        connection.settimeout(REQUEST_TIMEOUT_S)
        self.lines = Lines(connection)

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
        elif isinstance(request.get("predict"), dict):
            self._predict(request["predict"])
        else:
            self._say_error(REFUSED, "the request is none of hello, ping, predict")

    def _predict(self, content: Message) -> None:
        try:
            order = PredictOrder.from_json(content)
            with self._turn():
                self._say({"done": self._stream(order)})
        except Cancelled:
            self._say_error(EngineFailed.code, "the engine is stopping")
        except ConstellationError as error:
            own = isinstance(error, EngineFailed)  # trying again would not help
            self._say_error("engine_error" if own else error.code, error.message)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self._say_error("out_of_memory", "the device's memory does not suffice for this model")
        except ClientLeft:
            raise
        except Exception:
            log.exception("prediction of run %s failed", content.get("run_id"))
            self._say_error("engine_error", "the engine met an error of its own; its log has more")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait for the device, which serves one at a time; stop waiting once the client leaves."""
        if not self.engine.turn.acquire(blocking=False):
            self._say({"waiting": {}})
            while not self.engine.turn.acquire(timeout=POLL_S):
                if self._cancelled():
                    raise Cancelled
        try:
            yield
        finally:
            self.engine.turn.release()

    def _stream(self, order: PredictOrder) -> Message:
        """Send each tile's result; return what to say at the end."""
        began = time.perf_counter()
        network = self.engine.models.get(Path(order.model_folder), order.model_digest)
        ready = time.perf_counter()
        results: list[TileResult] = []
        for result in predict(order, network, cancelled=self._cancelled):
            self._say({"tile": tile_to_json(result)})
            results.append(result)
        return {
            "tiles": len(results),
            "chips": sum(sum(result.class_counts.values()) for result in results),
            "load_ms": 1000 * (ready - began),
            "read_ms": sum(result.read_ms for result in results),
            "infer_ms": sum(result.infer_ms for result in results),
            "wall_ms": 1000 * (time.perf_counter() - began),
            "peak_mem_mb": self.engine.peak_mem_mb(),
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
            self.lines.send(message)
        except OSError as error:
            raise ClientLeft from error

    def _say_error(self, code: str, message: str) -> None:
        self._say({"error": {"code": code, "message": message}})


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
    engine.turn.acquire(timeout=GOODBYE_S)  # let the batch in progress end


def main() -> int:
    """Entry point of the engine process."""
    parser = argparse.ArgumentParser(prog="engine", description="Own one device and infer on it.")
    parser.add_argument("--device", required=True, help="uuid of the device")
    parser.add_argument("--socket", required=True, type=Path, help="path to listen on")
    parser.add_argument("--simulated", action="store_true", help="compute on the processor")
    parser.add_argument("--preload", nargs="*", type=Path, default=[], help="packages to load")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if arguments.simulated:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        engine = Engine(arguments.device, simulated=arguments.simulated)
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
