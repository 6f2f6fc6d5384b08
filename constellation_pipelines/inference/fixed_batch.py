"""A network that takes batches of one size only, behind the face of one that takes any."""

import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor, nn  # noqa: TID253
from torch.nn.functional import pad  # noqa: TID253


class FixedBatch(nn.Module):
    """Cuts a batch into pieces of `size` chips, the last one filled up with zeros."""

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.module = module
        self.size = size

    def forward(self, chips: Tensor) -> Tensor:
        """Chips (n, ...) of any n -> results (n, ...)."""
        results = []
        for piece in torch.split(chips, self.size):
            missing = self.size - len(piece)
            whole = pad(piece, (0, 0) * (piece.dim() - 1) + (0, missing)) if missing else piece
            results.append(self.module(whole)[: len(piece)])
        return torch.cat(results)
