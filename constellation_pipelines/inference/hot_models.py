"""The networks an engine keeps on its device."""

from collections import OrderedDict
from pathlib import Path

import torch  # noqa: TID253 - only the engine imports this module

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference.network import Network, load_module
from constellation_pipelines.inference.package import load_package

CAPACITY = 4


class HotModels:
    """Loads networks on first use and keeps the most recently used. For one thread at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._networks: OrderedDict[str, Network] = OrderedDict()

    @property
    def references(self) -> list[str]:
        """`name@version` of what is loaded, least recently used first."""
        return [network.card.reference for network in self._networks.copy().values()]

    def preload(self, folder: Path) -> None:
        """Load a package, whatever its digest."""
        model = load_package(folder)
        self._load(model.digest, folder)

    def get(self, folder: Path, digest: str) -> Network:
        """The network with this digest. Raises ModelRefused if the folder holds another by now."""
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
        network = Network(load_module(folder, model.card), model.card, self._device)
        network.warm_up()
        while len(self._networks) >= CAPACITY:
            self._networks.popitem(last=False)
        self._networks[digest] = network
        return network
