"""The graph of a `torch.export` program: JSON -> steps, each of an allowed operator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch  # noqa: TID253 - only the engine imports this module

from constellation_pipelines.domain.errors import ModelRefused
from constellation_pipelines.inference import exported_operators as operators
from constellation_pipelines.inference.exported_archive import ExportedArchive, shown

SCHEMA = 8  # torch.export's version of its format; another major version means other things
MOST_STEPS = 100_000
KEYWORD = 2  # the kind of an argument that is passed by name
FLOATS = {6: torch.float16, 7: torch.float32, 8: torch.float64, 13: torch.bfloat16}
TYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    12: torch.bool,
    **FLOATS,
}
MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    4: torch.preserve_format,
}


@dataclass(frozen=True, slots=True)
class Value:
    """A value by its name; `is_device` stands for the device that the program runs on."""

    name: str
    is_device: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One operator and where its arguments come from and its results go.

    `several` results come as a tuple or list. `last_uses` are values that no later step needs.
    """

    function: Callable[..., Any]
    operator: str
    arguments: list[Any]
    keywords: dict[str, Any]
    outputs: tuple[str, ...]
    several: bool
    last_uses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps from `input` and the `held` tensors to `output`.

    `held` names each tensor's source: `weights` or `constants`, and its name there. `batch` is the
    one size of batch that the program takes, None where it takes any. `input_sizes` has None for
    a size that may vary. `names_types`: it says float32 itself, so it cannot run in another type.
    """

    input: str
    held: Mapping[str, tuple[str, str]]
    steps: tuple[Step, ...]
    output: str
    input_sizes: tuple[int | None, ...]
    batch: int | None
    names_types: bool


class Reader:
    """Reads one program; every refusal names the file."""

    def __init__(self, archive: ExportedArchive) -> None:
        self.archive = archive
        self.known: set[str] = set()
        self.shared: set[str] = set()  # values that share memory with what must not change
        self.names_types = False

    def refused(self, reason: str) -> ModelRefused:
        """An error about the archive."""
        return self.archive.refused(reason)

    def read(self, document: Any) -> Graph:
        """The graph, steps in their order. Raises KeyError and its like for what is no program."""
        version = document["schema_version"]["major"]
        if version != SCHEMA:
            raise self.refused(
                f"is in version {version} of torch.export's format; version {SCHEMA} is read: "
                "export it again with a torch that writes that"
            )
        graph = document["graph_module"]["graph"]
        signature = document["graph_module"]["signature"]
        name, held = self._inputs(signature["input_specs"])
        self.known = {name, *held}
        self.shared = set(self.known)
        nodes = graph["nodes"]
        if len(nodes) > MOST_STEPS:
            raise self.refused(f"has more than {MOST_STEPS} steps")
        steps = [step for node in nodes if (step := self._step(node)) is not None]
        output = self._output(signature["output_specs"])
        sizes = tuple(size_of(size) for size in graph["tensor_values"][name]["sizes"])
        batch = sizes[0] if sizes else None
        if batch == 0:
            raise self.refused("was exported for an empty batch")
        return Graph(
            name, held, with_last_uses(steps, output), output, sizes, batch, self.names_types
        )

    def _inputs(self, specs: list[Any]) -> tuple[str, dict[str, tuple[str, str]]]:
        """The name of the one input, and where each other tensor comes from."""
        inputs: list[str] = []
        held: dict[str, tuple[str, str]] = {}
        for spec in specs:
            ((kind, said),) = spec.items()
            if kind == "user_input":
                inputs.append(str(said["arg"]["as_tensor"]["name"]))
            elif kind == "parameter":
                held[str(said["arg"]["name"])] = ("weights", str(said["parameter_name"]))
            elif kind == "buffer":
                source = "weights" if said["persistent"] else "constants"
                held[str(said["arg"]["name"])] = (source, str(said["buffer_name"]))
            elif kind == "tensor_constant":
                held[str(said["arg"]["name"])] = ("constants", str(said["tensor_constant_name"]))
            else:
                raise self.refused(f"takes an input of kind {shown(str(kind))}")
        if len(inputs) != 1:
            raise self.refused(f"takes {len(inputs)} inputs, and it must be one tensor of chips")
        return inputs[0], held

    def _output(self, specs: list[Any]) -> str:
        kinds = [next(iter(spec)) for spec in specs]
        if kinds != ["user_output"]:
            raise self.refused(
                "must give one tensor and change nothing of its own; export the network in eval "
                f"mode with one output (it has: {', '.join(map(str, kinds))[:200]})"
            )
        name = str(specs[0]["user_output"]["arg"]["as_tensor"]["name"])
        if name not in self.known:
            raise self.refused("names an output that nothing computes")
        return name

    def _step(self, node: Any) -> Step | None:
        target = str(node["target"])
        base, _ = operators.name_of(target)
        if base in operators.CHECKS:
            return None
        function = operators.find(target)
        if function is None:
            raise self.refused(
                f"computes with {shown(target)}, which is not among the operators that may run"
            )
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for member in node["inputs"]:
            value = self._argument(member["arg"])
            if member.get("kind") == KEYWORD:
                keywords[str(member["name"])] = value
            else:
                positional.append(value)
        self._check_eval(base, node["inputs"])
        outputs, several = self._outputs(node["outputs"])
        changed = positional[0] if positional else keywords.get("self")
        self._note_sharing(base, target, changed, outputs)
        self.names_types |= base in operators.MAKERS
        self.known.update(outputs)
        return Step(function, base or target, positional, keywords, outputs, several)

    def _check_eval(self, base: str, inputs: list[Any]) -> None:
        """Refuse what behaves as in training: results would depend on chance or on the batch."""
        said = {member["name"]: member["arg"].get("as_bool") for member in inputs}
        trains = {"batch_norm": "training", "dropout": "train", "dropout_": "train"}
        if said.get(trains.get(base, ""), False):
            raise self.refused("was exported in training mode: call .eval() before torch.export")

    def _outputs(self, said: list[Any]) -> tuple[tuple[str, ...], bool]:
        if len(said) == 1 and "as_tensors" in said[0]:
            return tuple(str(member["name"]) for member in said[0]["as_tensors"]), True
        return tuple(output_name(member) for member in said), len(said) != 1

    def _note_sharing(self, base: str, target: str, first: Any, outputs: tuple[str, ...]) -> None:
        """Keep in mind what shares memory with weights or input, and refuse to change that."""
        touches = isinstance(first, Value) and first.name in self.shared
        if base in operators.IN_PLACE and touches:
            raise self.refused(
                f"changes its weights or its input in place by {shown(target)}: call .eval() "
                "before torch.export, and work on copies"
            )
        if touches and base in operators.VIEWS | operators.IN_PLACE:
            self.shared.update(outputs)

    def _argument(self, said: Any) -> Any:
        ((kind, value),) = said.items()
        if kind in ("as_tensor", "as_sym_int", "as_sym_bool"):
            return self._named(value)
        if kind in ("as_tensors", "as_sym_ints", "as_optional_tensors"):
            return [self._named(member) for member in value]
        if kind == "as_optional_tensor":
            return self._named(value)
        if kind in LITERALS:
            return literal(kind, value)
        if kind == "as_none":
            return None
        if kind == "as_device":
            return Value("", is_device=True)
        if kind == "as_layout":
            return torch.strided
        if kind == "as_memory_format":
            return MEMORY_FORMATS[value]
        if kind == "as_scalar_type":
            self.names_types |= value in FLOATS
            return TYPES[value]
        raise self.refused(f"has an argument of kind {shown(str(kind))}")

    def _named(self, said: Any) -> Any:
        """A reference to a value: `{"name"}`, `{"as_name"}`, `{"as_tensor": ...}`, or a literal."""
        if "as_int" in said:
            return literal("as_int", said["as_int"])
        if "as_bool" in said:
            return literal("as_bool", said["as_bool"])
        if "as_none" in said:
            return None
        if "as_tensor" in said:
            return self._named(said["as_tensor"])
        name = str(said["name"] if "name" in said else said["as_name"])
        if name not in self.known:
            raise self.refused(f"uses {shown(name)}, which nothing has computed")
        return Value(name)


LITERALS: Mapping[str, type | tuple[type, ...]] = {
    "as_int": int,
    "as_ints": int,
    "as_float": (int, float),
    "as_floats": (int, float),
    "as_bool": bool,
    "as_bools": bool,
    "as_string": str,
}


def literal(kind: str, value: Any) -> Any:
    """A plain value of the type that its kind says. Raises TypeError for another."""
    if value in ("Infinity", "-Infinity", "NaN") and kind == "as_float":
        return float(str(value).lower())  # how the format writes them
    members = value if kind.endswith("s") and isinstance(value, list) else [value]
    if not all(isinstance(member, LITERALS[kind]) for member in members):
        raise TypeError(f"{kind} holds {type(value).__name__}")
    return list(value) if isinstance(value, list) else value


def read_graph(archive: ExportedArchive, document: Any) -> Graph:
    """The graph of a program. Raises ModelRefused, saying what is not allowed or not understood."""
    try:
        return Reader(archive).read(document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise archive.refused(
            f"does not follow torch.export's format: {type(error).__name__} at {error}"
        ) from error


def size_of(said: Any) -> int | None:
    """A size, None for one that may vary: what its expression says is not looked at."""
    if "as_int" in said:
        return int(said["as_int"])
    if "as_expr" in said:
        return None
    raise ValueError("a size is neither number nor expression")


def output_name(said: Any) -> str:
    """The name of one of a step's results."""
    ((kind, value),) = said.items()
    if kind == "as_tensor":
        return str(value["name"])
    if kind in ("as_sym_int", "as_sym_bool"):
        return str(value["as_name"])
    raise ValueError(f"a result of kind {kind}")


def with_last_uses(steps: list[Step], output: str) -> tuple[Step, ...]:
    """The steps, each with what can be forgotten after it: nothing that the output needs."""
    seen = {output}
    marked = []
    for step in reversed(steps):
        used = {value.name for value in values_in([*step.arguments, *step.keywords.values()])}
        last = (used | set(step.outputs)) - seen
        seen |= used | set(step.outputs)
        marked.append(replace(step, last_uses=tuple(sorted(last))))
    return tuple(reversed(marked))


def values_in(arguments: list[Any]) -> list[Value]:
    """The values that arguments name, however deep."""
    found: list[Value] = []
    for argument in arguments:
        if isinstance(argument, list):
            found += values_in(argument)
        elif isinstance(argument, Value) and not argument.is_device:
            found.append(argument)
    return found
