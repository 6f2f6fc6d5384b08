"""The networks an engine keeps on its device."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch  # noqa: TID253 - only the engine imports this module
from torch import nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.loading import load_module
from constellation_pipelines.inference.network import Network
from constellation_pipelines.inference.package import load_package

CAPACITY = 4


class HotModels:
    """Loads networks on first use and keeps the most recently used.

    One loads at a time; whoever computes meanwhile goes on.
    """

    def __init__(
        self,
        device: torch.device,
        take: Callable[[Callable[[], Network]], Network] = lambda work: work(),
    ) -> None:
        """`take` brings a network onto the device in a turn of its own, so that no batch's memory
        is measured meanwhile; weights are read from disk before that.
        """
        self._device = device
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
            network = self._take(lambda: self._ready(module, model.card))
        except torch.OutOfMemoryError:  # others may be in its way; who uses one still holds it
            self._networks.clear()
            torch.cuda.empty_cache()
            network = self._take(lambda: self._ready(module, model.card))
        while len(self._networks) >= CAPACITY:
            self._networks.popitem(last=False)
        self._networks[digest] = network
        return network

    def _ready(self, module: nn.Module, card: ModelCard) -> Network:
        """A network on the device, warmed up with the largest batch that has room there."""
        network = Network(module, card, self._device)
        while True:
            try:
                network.warm_up()
                return network
            except torch.OutOfMemoryError:
                if network.batch == 1:
                    raise
                network.batch //= 2
                torch.cuda.empty_cache()
