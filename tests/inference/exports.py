"""Small networks exported with torch.export, and archives spoilt in many ways."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Document = dict[str, Any]


class Tiny(nn.Module):
    """Convolution, norm, a buffer, a constant, a shape that depends on the batch."""

    gain: Tensor

    def __init__(self, bands: int = 3, classes: int = 4) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bands, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)
        self.register_buffer("gain", torch.rand(1, bands, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x * self.gain)))
        y = y.view(y.shape[0], 8, -1).mean(2)
        result: Tensor = self.head(y) + torch.tensor(0.25)
        return result


def tiny(bands: int = 3, classes: int = 4) -> Tiny:
    """A seeded network in eval mode."""
    torch.manual_seed(7)
    network = Tiny(bands, classes)
    network.norm.running_mean = torch.randn(8) * 0.1
    return network.eval()


def export(
    network: nn.Module, path: Path, *, bands: int = 3, chip_px: int = 16, batch: int | None = None
) -> Path:
    """Save a network as torch.export does; a `batch` fixes that size."""
    chips = torch.zeros(batch or 2, bands, chip_px, chip_px)
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, (chips,), dynamic_shapes=shapes), path)
    return path


Entries = dict[str, bytes]


def spoil(
    path: Path, change: Callable[[Entries], None], compression: int = zipfile.ZIP_STORED
) -> None:
    """Write an archive anew after a change of its entries."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    path.write_bytes(buffer.getvalue())


def spoil_json(path: Path, name: str, change: Callable[[Document], None]) -> None:
    """Change a JSON entry whose name ends so."""

    def edit(entries: Entries) -> None:
        (full,) = [entry for entry in entries if entry.endswith(name)]
        document = json.loads(entries[full])
        change(document)
        entries[full] = json.dumps(document).encode()

    spoil(path, edit)
