"""ONNX models through onnxruntime, behind the face of a torch module."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch  # noqa: TID253 - only the engine imports this module
from torch import Tensor, nn  # noqa: TID253

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.fixed_batch import FixedBatch
from constellation_pipelines.inference.onnx_file import check_onnx

FLOAT = "tensor(float)"
INSTALL = "ONNX models need the onnxruntime package: pip install 'constellation-eo[onnx]'"


def load_onnx(path: Path, card: ModelCard) -> nn.Module:
    """The model in a file. Raises ModelRefused without onnxruntime, or for what it cannot run."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelRefused(INSTALL, field="assets.weights.href") from error

    check_onnx(path)
    content = path.read_bytes()
    try:
        network = OnnxNetwork(content, card)
    except ModelRefused:
        raise
    except Exception as error:  # onnxruntime raises classes of its own, of no common base
        reason = str(error).splitlines()[0][:300]
        raise ModelRefused(
            f"onnxruntime {onnxruntime.__version__} cannot load {path.name}: {reason}"
        ) from error
    batch = network.sizes[0]
    return FixedBatch(network, batch) if isinstance(batch, int) else network


class OnnxNetwork(nn.Module):
    """A session on the processor, or on the GPU where the installed onnxruntime has one.

    It computes in float32 whatever the chips' type, and keeps its weights to itself: `to` moves
    nothing.
    """

    def __init__(self, content: bytes, card: ModelCard) -> None:
        super().__init__()
        self._content = content
        self._session = session(content)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelRefused(
                f"the ONNX model of {card.reference} has {len(inputs)} inputs and {len(outputs)} "
                "outputs, and it must be one of each"
            )
        if (inputs[0].type, outputs[0].type) != (FLOAT, FLOAT):
            raise ModelRefused(
                f"the ONNX model of {card.reference} takes {inputs[0].type} and gives "
                f"{outputs[0].type}; both must be {FLOAT}"
            )
        self.sizes: list[Any] = list(inputs[0].shape)
        expected = [len(card.bands), card.chip_px, card.chip_px]
        said = self.sizes[1:]
        if len(said) != 3 or any(
            isinstance(size, int) and size != wanted
            for size, wanted in zip(said, expected, strict=True)
        ):
            raise ModelRefused(
                f"the ONNX model takes input of {self.sizes}, and the card says {[-1, *expected]}",
                field="properties.mlm:input[0].input.shape",
            )
        self._names = inputs[0].name, outputs[0].name

    def forward(self, chips: Tensor) -> Tensor:
        """Normalised chips (n, bands, px, px) -> float32 on the chips' device."""
        taken, given = self._names
        pixels = chips.detach().to("cpu", torch.float32).contiguous().numpy()
        (result,) = self._session.run([given], {taken: pixels})
        return torch.from_numpy(np.ascontiguousarray(result)).to(chips.device)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """A session cannot be copied, and holds nothing that changes: two may share it."""
        return self


def session(content: bytes) -> Any:
    """A session that takes one thread, reads no other file and knows no operators of others."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # In float32 as such, not rounded to 10 bits of mantissa.
    wanted: tuple[tuple[str, dict[str, str]], ...] = (
        ("CUDAExecutionProvider", {"use_tf32": "0"}),
        ("CPUExecutionProvider", {}),
    )
    there = onnxruntime.get_available_providers()
    providers = [one for one in wanted if one[0] in there]
    return onnxruntime.InferenceSession(content, options, providers=providers)
