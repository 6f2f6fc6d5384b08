"""The networks an engine keeps on its device."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch  # noqa: TID253 - only the engine imports this module
from torch import nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.letting_go import letting_go
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import MEBIBYTE, Network
from constellation_pipelines.inference.package import load_package

MODELS_MB = 2048  # on the processor, where nobody says otherwise
SHARE_OF_DEVICE = 0.7  # of a GPU's memory, for weights; batches take the rest


class HotModels:
    """Loads networks on first use and keeps the most recently used, as many as have room.

    One loads at a time; whoever computes meanwhile goes on. A network larger than the room for all
    is kept alone.
    """

    def __init__(
        self,
        device: torch.device,
        take: Callable[[Callable[[], Network]], Network] = lambda work: work(),
        budget_mb: float | None = None,
    ) -> None:
        """`budget_mb` is the room for weights, None for the device's own. `take` brings a network
        onto the device in a turn of its own, so that no batch's memory is measured meanwhile;
        weights are read from disk before that.
        """
        self._device = device
        self._budget_mb = budget_mb or room_mb(device)
        self._take = take
        self._networks: OrderedDict[str, Network] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def references(self) -> list[str]:
        """`name@version` of what is loaded, least recently used first."""
        return [network.card.reference for network in self._networks.copy().values()]

    def preload(self, folder: Path) -> None:
        """Load a package, whatever its digest."""
        with self._lock:
            model = load_package(folder)
            self._load(model.digest, folder)

    def get(self, folder: Path, digest: str) -> Network:
        """The network with this digest. Raises ModelRefused if the folder holds another by now."""
        with self._lock:
            if digest in self._networks:
                self._networks.move_to_end(digest)
                return self._networks[digest]
            return self._load(digest, folder)

    def _load(self, digest: str, folder: Path) -> Network:
        model = load_package(folder)
        if model.digest != digest:
            raise ModelRefused(
                f"the package of {model.card.reference} has changed since it was registered; "
                "register it again"
            )
        module = load_module(folder, model.card)
        try:
            with letting_go():
                network = self._take(lambda: self._ready(module, model.card))
        except torch.OutOfMemoryError:  # others may be in its way; who uses one still holds it
            self._networks.clear()
            torch.cuda.empty_cache()
            network = self._take(lambda: self._ready(module, model.card))
        held_mb = [kept.weights_mb for kept in self._networks.values()]
        for _ in range(leaving(held_mb, network.weights_mb, self._budget_mb)):
            self._networks.popitem(last=False)
        self._networks[digest] = network
        return network

    def _ready(self, module: nn.Module, card: ModelCard) -> Network:
        """A network on the device, warmed up with the largest batch that has room there."""
        network = Network(module, card, self._device)
        while True:
            try:
                with letting_go():
                    network.warm_up()
                    network.tune()
                return network
            except torch.OutOfMemoryError:
                if network.batch == 1:
                    raise
                network.batch //= 2
                torch.cuda.empty_cache()


def room_mb(device: torch.device) -> float:
    """The room for weights where nobody says otherwise."""
    if device.type != "cuda":
        return MODELS_MB
    return SHARE_OF_DEVICE * torch.cuda.get_device_properties(device).total_memory / MEBIBYTE


def leaving(held_mb: Sequence[float], new_mb: float, budget_mb: float) -> int:
    """How many of those that are held, least recently used first, go so that a new one has room."""
    over_mb = sum(held_mb) + new_mb - budget_mb
    count = 0
    while over_mb > 0 and count < len(held_mb):
        over_mb -= held_mb[count]
        count += 1
    return count
