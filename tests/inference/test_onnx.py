"""ONNX models: what runs, and what is refused before a runtime sees it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference.onnx_file import check_onnx
from tests.inference.packages import card_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
CARD = card_of(bands=3, chip_px=16, classes=4, weights="model.onnx")


def model(*, batch: Any = "batch", bands: int = 3, **changes: Any) -> Any:
    """The mean of each band through a matrix of known numbers."""
    helper = onnx.helper
    matrix = np.arange(bands * 4, dtype=np.float32).reshape(bands, 4) / 10
    domain = changes.get("domain", "")
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["chips"], ["means"]),
            helper.make_node("Flatten", ["means"], ["flat"]),
            helper.make_node("MatMul", ["flat", "matrix"], ["scores"], domain=domain),
        ],
        "small",
        [helper.make_tensor_value_info("chips", onnx.TensorProto.FLOAT, [batch, bands, 16, 16])],
        [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [batch, 4])],
        [onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    opsets = [helper.make_opsetid("", 17)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def save(made: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def load(path: Path) -> torch.nn.Module:
    from constellation_pipelines.inference.onnx_network import load_onnx

    return load_onnx(path, CARD)


@pytest.mark.parametrize("batch", ["batch", 4])
def test_it_computes_what_the_graph_says(tmp_path: Path, batch: Any) -> None:
    chips = torch.randn(6, 3, 16, 16)
    expected = chips.mean((2, 3)) @ (torch.arange(12).reshape(3, 4) / 10)
    assert torch.allclose(load(save(model(batch=batch), tmp_path))(chips), expected, atol=1e-5)


def test_an_engine_may_copy_it_and_ask_for_another_type(tmp_path: Path) -> None:
    import copy

    network = copy.deepcopy(load(save(model(), tmp_path))).to(torch.bfloat16)
    assert network(torch.zeros(2, 3, 16, 16, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_model_for_other_chips_than_the_cards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="takes input of") as refusal:
        load(save(model(bands=4), tmp_path))
    assert refusal.value.field == "properties.mlm:input[0].input.shape"


def test_numbers_in_another_file_are_refused(tmp_path: Path) -> None:
    made = model()
    onnx.external_data_helper.convert_model_to_external_data(
        made, location="../secret", size_threshold=0
    )
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(bytes(48))
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    with pytest.raises(ModelRefused, match="another file"):
        load(save(made, tmp_path / "inner"))


def test_numbers_in_another_file_are_found_in_subgraphs_too(tmp_path: Path) -> None:
    made = model()
    inner = model().graph
    inner.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    made.graph.node[0].attribute.append(onnx.helper.make_attribute("body", inner))
    with pytest.raises(ModelRefused, match="another file"):
        check_onnx(save(made, tmp_path))


def test_operators_of_a_library_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="evil"):
        check_onnx(save(model(domain="com.evil"), tmp_path))


@pytest.mark.parametrize("content", [b"", b"\x00", b"onnx", b"\xff" * 100, b"\x3a\xff\x7f"])
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelRefused, match="not an ONNX file"):
        check_onnx(tmp_path / "model.onnx")


def test_a_graph_that_the_runtime_cannot_run_is_refused_in_one_line(tmp_path: Path) -> None:
    made = model()
    made.graph.node[2].op_type = "NoSuchOperator"
    with pytest.raises(ModelRefused, match="cannot load") as refusal:
        load(save(made, tmp_path))
    assert "\n" not in refusal.value.message


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    made = model().graph
    for _ in range(15):
        outer = model().graph
        outer.node[0].attribute.append(onnx.helper.make_attribute("body", made))
        made = outer
    whole = model()
    whole.graph.CopyFrom(made)
    with pytest.raises(ModelRefused, match="deeply"):
        check_onnx(save(whole, tmp_path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), byte=st.integers(0, 255), cut=st.integers(0, 400))
def test_a_damaged_file_is_looked_through_or_refused(
    tmp_path: Path, at: int, byte: int, cut: int
) -> None:
    content = bytearray(model().SerializeToString())
    content[at % len(content)] = byte
    (tmp_path / "model.onnx").write_bytes(content[: len(content) - cut])
    try:
        check_onnx(tmp_path / "model.onnx")
    except ModelRefused:
        return
