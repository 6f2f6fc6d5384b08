"""`torch.export` programs: what runs, and what is refused before anything of it does."""

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.domain.model import ModelCard
from constellation_pipelines.inference.exported import Program, load_exported
from constellation_pipelines.inference.exported_archive import ExportedArchive
from constellation_pipelines.inference.exported_graph import read_graph
from tests.inference.exports import Document, Entries, Tiny, export, spoil, spoil_json, tiny
from tests.inference.packages import card_of
from tests.inference.test_resnet import lively

CARD = card_of(bands=3, chip_px=16, classes=4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return export(tiny(), tmp_path_factory.mktemp("export") / "tiny.pt2").read_bytes()


@pytest.fixture
def archive(tmp_path: Path, exported: bytes) -> Path:
    """An archive of this test's own."""
    path = tmp_path / "model.pt2"
    path.write_bytes(exported)
    return path


def load(path: Path, card: ModelCard = CARD) -> nn.Module:
    return load_exported(path, card)


class Doubled(nn.Module):
    """One norm that can be folded, one whose convolution is used twice, one without gain."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1, bias=False)
        self.three = nn.Conv2d(4, 4, 1, groups=2)
        self.norms = nn.ModuleList(
            [nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)]
        )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norms[0](self.one(x)))
        z = self.two(y)
        return torch.relu(self.norms[2](self.three(self.norms[1](z) + z))).mean((2, 3))


def test_norms_are_folded_where_nothing_else_sees_what_they_take(tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = lively(Doubled())
    path = export(network, tmp_path / "m.pt2")
    with ExportedArchive(path) as archive:
        graph = read_graph(archive, archive.json(f"models/{archive.model}.json"))
    program = load(path)
    assert isinstance(program, Program)
    assert sum(step.operator == "batch_norm" for step in graph.steps) == 3
    assert sum(step.operator == "batch_norm" for step in program.graph.steps) == 1
    chips = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(program(chips), network(chips), atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_program_computes_what_the_network_did(archive: Path, count: int) -> None:
    chips = torch.randn(count, 3, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(load(archive)(chips), tiny()(chips), atol=1e-6)


def test_it_runs_in_bfloat16_as_other_networks_do(archive: Path) -> None:
    chips = torch.randn(2, 3, 16, 16)
    program = load(archive).to(torch.bfloat16)
    with torch.inference_mode():
        found = program(chips.to(torch.bfloat16))
        assert found.dtype == torch.bfloat16
        assert torch.allclose(found.float(), tiny()(chips), atol=0.05)


class Stubborn(nn.Module):
    """Names float32 itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.linspace(0, 1, 4, dtype=torch.float32)
        result: Tensor = self.conv(x).mean((2, 3)) * ramp
        return result


def test_a_program_that_names_float32_keeps_it(tmp_path: Path) -> None:
    program = load(export(Stubborn().eval(), tmp_path / "m.pt2")).to(torch.bfloat16)
    with torch.inference_mode():
        assert program(torch.zeros(2, 3, 16, 16, dtype=torch.bfloat16)).dtype == torch.float32


def test_a_fixed_batch_is_filled_up(tmp_path: Path) -> None:
    program = load(export(tiny(), tmp_path / "m.pt2", batch=4))
    chips = torch.randn(6, 3, 16, 16)
    with torch.inference_mode():
        assert torch.allclose(program(chips), tiny()(chips), atol=1e-6)


def test_a_program_for_other_chips_than_the_cards_is_refused(archive: Path) -> None:
    with pytest.raises(ModelRefused, match="exported for input") as refusal:
        load(archive, card_of(bands=4, chip_px=16, classes=4))
    assert refusal.value.field == "properties.mlm:input[0].input.shape"


def test_a_network_in_training_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="eval"):
        load(export(Tiny().train(), tmp_path / "m.pt2"))


class Forgetful(nn.Module):
    """Changes what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(2, 3).relu_().mean((2, 3))


def test_a_program_that_changes_its_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"in place|change nothing"):
        load(export(Forgetful(), tmp_path / "m.pt2"))


# ---- nothing of an archive is ever run ----


class Marker:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (str(self.path),)


def test_sample_inputs_are_left_unread(archive: Path, tmp_path: Path) -> None:
    """Every archive of torch.export.save has this pickle, so it may be there; nobody opens it."""

    def poison(entries: Entries) -> None:
        (name,) = [entry for entry in entries if "sample_inputs" in entry]
        buffer = io.BytesIO()
        torch.save(Marker(tmp_path / "marker"), buffer)
        entries[name] = buffer.getvalue()

    spoil(archive, poison)
    load(archive)
    assert not (tmp_path / "marker").exists()


def test_an_archive_without_sample_inputs_is_enough(archive: Path) -> None:
    def drop(entries: Entries) -> None:
        (name,) = [entry for entry in entries if "sample_inputs" in entry]
        del entries[name]

    spoil(archive, drop)
    load(archive)


def evil_entry(name: str) -> Callable[[Entries, Path], None]:
    def change(entries: Entries, marker: Path) -> None:
        root = next(iter(entries)).partition("/")[0]
        entries[name.replace("ROOT", root)] = pickle.dumps(Marker(marker))

    return change


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ROOT/data/constants/custom_obj_0", "a pickled object"),
        ("ROOT/data/constants/opaque_obj_0", "a pickled object"),
        ("ROOT/data/weights/model.pt", "a pickle"),
        ("ROOT/data/constants/model.pt", "a pickle"),
        ("ROOT/data/aotinductor/model/x.so", "compiled code"),
        ("ROOT/extra/notes.txt", "not part of"),
        ("ROOT/data.pkl", "not part of"),
        ("ROOT/models/second.json", "programs"),
        ("ROOT/../../etc/cron.d/evil", "not part of"),
        ("ROOT/models/../../evil.json", "not part of"),
        ("/etc/passwd", "outside its folder"),
        ("../evil", "outside its folder"),
        ("other/data/weights/weight_0", "outside its folder"),
    ],
)
def test_what_has_no_place_in_an_archive_is_refused_unread(
    archive: Path, tmp_path: Path, name: str, reason: str
) -> None:
    marker = tmp_path / "marker"
    spoil(archive, lambda entries: evil_entry(name)(entries, marker))
    with pytest.raises(ModelRefused, match=reason):
        load(archive)
    assert not marker.exists()
    assert sorted(tmp_path.iterdir()) == [archive]


def test_weights_that_are_said_to_be_pickled_are_refused_unread(
    archive: Path, tmp_path: Path
) -> None:
    def poison(entries: Entries) -> None:
        (name,) = [entry for entry in entries if entry.endswith("/weight_0")]
        buffer = io.BytesIO()
        torch.save(Marker(tmp_path / "marker"), buffer)
        entries[name] = buffer.getvalue()

    spoil(archive, poison)

    def say_so(document: Document) -> None:
        next(iter(document["config"].values()))["use_pickle"] = True

    spoil_json(archive, "weights_config.json", say_so)
    with pytest.raises(ModelRefused, match="never opened"):
        load(archive)
    assert not (tmp_path / "marker").exists()


EXPRESSIONS = [
    "__import__('pathlib').Path('MARKER').touch()",
    "exec('import pathlib; pathlib.Path(\"MARKER\").touch()')",
    "(lambda: open('MARKER', 'w'))()",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_are_never_evaluated(archive: Path, tmp_path: Path, expression: str) -> None:
    """Torch evaluates them as Python; here they stand beside shapes and nobody looks at them."""
    marker = tmp_path / "marker"
    text = expression.replace("MARKER", str(marker))

    def poison(value: Any) -> None:
        if isinstance(value, dict):
            for key, member in value.items():
                if key == "expr_str":
                    value[key] = text
                else:
                    poison(member)
        elif isinstance(value, list):
            for member in value:
                poison(member)

    spoil_json(archive, "models/model.json", poison)
    with torch.inference_mode():
        load(archive)(torch.zeros(1, 3, 16, 16))
    assert not marker.exists()


def nodes(document: Document) -> list[Document]:
    return list(document["graph_module"]["graph"]["nodes"])


TARGETS = [
    "os.system",
    "torch.ops.aten.from_file.default",
    "torch.ops.aten.set_.source_Storage",
    "torch.ops.aten.empty.memory_format",
    "torch.ops.aten.rand.default",
    "torch.ops.aten.add.out",
    "torch.ops.aten.__class__.default",
    "torch.ops.aten.relu.__init__",
    "torch.ops.aten.relu",
    "torch.ops.aten.relu.default.redispatch",
    "torch.ops.inductor.resize_storage_bytes_.default",
    "torch.ops.higher_order.cond",
    "torch.load",
    "builtins.eval",
    "_operator.pow",
    "_operator.attrgetter",
    "math.factorial",
    "#custom_obj_0",
    "",
]


@pytest.mark.parametrize("target", TARGETS)
def test_only_listed_operators_run(archive: Path, target: str) -> None:
    def change(document: Document) -> None:
        (relu,) = [node for node in nodes(document) if ".relu." in node["target"]]
        relu["target"] = target

    spoil_json(archive, "models/model.json", change)
    with pytest.raises(ModelRefused, match="not among the operators"):
        load(archive)


def set_in_first(document: Document, change: dict[str, Any]) -> None:
    next(iter(document["config"].values()))["tensor_meta"].update(change)


@pytest.mark.parametrize(
    "change",
    [
        {"sizes": [{"as_int": 10**9}, {"as_int": 3}, {"as_int": 3}, {"as_int": 3}]},
        {
            "sizes": [{"as_int": 10**9}, {"as_int": 3}, {"as_int": 3}, {"as_int": 3}],
            "strides": [{"as_int": 0}] * 4,
        },
        {"sizes": [{"as_int": 0}, {"as_int": 1 << 47}] * 2, "strides": [{"as_int": 0}] * 4},
        {"sizes": [{"as_int": -1}, {"as_int": 3}, {"as_int": 3}, {"as_int": 3}]},
        {"sizes": [{"as_int": 2**70}] * 4},
        {"sizes": [{"as_int": 8}]},
        {"sizes": [{"as_int": 1}] * 100, "strides": [{"as_int": 1}] * 100},
        {"sizes": [{"as_expr": {"expr_str": "__import__('os')"}}] * 4},
        {"sizes": "8333"},
        {"strides": [{"as_int": 10**12}] * 4},
        {"strides": [{"as_int": -27}, {"as_int": 9}, {"as_int": 3}, {"as_int": 1}]},
        {"storage_offset": {"as_int": 1}},
        {"storage_offset": {"as_int": True}},
        {"storage_offset": None},
        {"dtype": 8},
        {"dtype": 9},
        {"dtype": "7"},
        {"layout": 1},
    ],
)
def test_numbers_must_lie_where_the_archive_has_them(archive: Path, change: dict[str, Any]) -> None:
    spoil_json(archive, "weights_config.json", lambda document: set_in_first(document, change))
    with pytest.raises(ModelRefused):
        load(archive)


@pytest.mark.parametrize("path_name", ["../constants/tensor_0", "model_weights_config.json", 7, ""])
def test_numbers_come_from_entries_of_numbers(archive: Path, path_name: Any) -> None:
    def change(document: Document) -> None:
        next(iter(document["config"].values()))["path_name"] = path_name

    spoil_json(archive, "weights_config.json", change)
    with pytest.raises(ModelRefused, match="no numbers"):
        load(archive)


def test_nan_among_the_weights_is_refused(archive: Path) -> None:
    def change(entries: Entries) -> None:
        (name,) = [entry for entry in entries if entry.endswith("/weight_0")]
        entries[name] = struct.pack("<f", float("nan")) + entries[name][4:]

    spoil(archive, change)
    with pytest.raises(ModelRefused, match="no numbers"):
        load(archive)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(archive: Path) -> None:
    def bomb(entries: Entries) -> None:
        (name,) = [entry for entry in entries if entry.endswith("/weight_0")]
        entries[name] = bytes(64 << 20)

    spoil(archive, bomb, zipfile.ZIP_DEFLATED)
    assert archive.stat().st_size < 1 << 20
    with pytest.raises(ModelRefused, match=r"compressed|larger than itself"):
        load(archive)


def test_entries_that_overlap_are_refused(archive: Path) -> None:
    """A bomb needs no compression where many entries share their bytes."""
    content = archive.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as whole:
        (weight,) = [entry for entry in whole.infolist() if entry.filename.endswith("/weight_0")]
        start = whole.start_dir
    size_at = content.index(weight.filename.encode(), start) - 46 + 20
    for at in (size_at, size_at + 4):  # both sizes in the listing
        content = content[:at] + struct.pack("<I", 1 << 30) + content[at + 4 :]
    archive.write_bytes(content)
    with pytest.raises(ModelRefused, match="larger than itself"):
        load(archive)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 0.999])
def test_a_truncated_archive_is_refused(archive: Path, share: float) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelRefused):
        load(archive)


def test_another_version_of_the_format_is_refused(archive: Path) -> None:
    def change(document: Document) -> None:
        document["schema_version"]["major"] = 9

    spoil_json(archive, "models/model.json", change)
    with pytest.raises(ModelRefused, match="version 9"):
        load(archive)


def test_sizes_that_grow_without_bound_are_refused(archive: Path) -> None:
    def change(document: Document) -> None:
        size = next(node for node in nodes(document) if "sym_size" in node["target"])
        name = size["outputs"][0]["as_sym_int"]["as_name"]
        grown = []
        for turn in range(200):
            said = {"as_sym_int": {"as_name": name}}
            name = f"grown_{turn}"
            inputs = [{"name": "a", "arg": said, "kind": 1}, {"name": "b", "arg": said, "kind": 1}]
            outputs = [{"as_sym_int": {"as_name": name}}]
            node = {"target": "_operator.mul", "inputs": inputs, "outputs": outputs}
            grown.append({**node, "metadata": {}})
        graph = document["graph_module"]["graph"]
        at = graph["nodes"].index(size) + 1
        graph["nodes"][at:at] = grown

    spoil_json(archive, "models/model.json", change)
    with pytest.raises(ValueError, match="out of range"):
        load(archive)(torch.zeros(3, 3, 16, 16))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_program_it_is_read_or_refused(
    archive: Path, exported: bytes, data: st.DataObject
) -> None:
    archive.write_bytes(exported)
    rubbish: st.SearchStrategy[Any] = (
        st.none() | st.integers() | st.text(max_size=8) | st.just([]) | st.just({})
    )

    def change(document: Document) -> None:
        place: Any = document
        for _ in range(data.draw(st.integers(1, 8))):
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
                place[key] = data.draw(rubbish)
                return
            place = place[key]

    spoil_json(archive, "models/model.json", change)
    with suppress(ModelRefused):
        load(archive)
