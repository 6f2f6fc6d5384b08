"""Chips on their way to the device."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation_pipelines.domain.window import Window
from constellation_pipelines.inference.batch import Batch, Cut
from constellation_pipelines.inference.pinned import Pinned
from constellation_pipelines.inference.stream import padded

lengths = st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=5)


def cut_of(first: int, count: int, holed: bool) -> Cut:
    """Chips whose pixels are their number; holed ones have data where the number is even. They
    stand in rows of three.
    """
    numbers = np.arange(first, first + count)
    pixels = np.broadcast_to(numbers[:, None, None, None], (count, 2, 4, 4))
    holes = pixels[:, 0] % 2 == 0 if holed else None
    rows = [pixels[start : start + 3] for start in range(0, count, 3)]
    return Cut(rows, holes, [(Window(n, 0, 1, 1),) for n in numbers.tolist()], None)


def batch_of(parts: list[tuple[int, bool]]) -> Batch:
    runs, first = [], 0
    for count, holed in parts:
        runs.append((cut_of(first, count, holed), 0, count))
        first += count
    return Batch(tuple(runs))


@given(lengths, st.data())
def test_a_part_has_the_chips_between_its_ends(
    parts: list[tuple[int, bool]], data: st.DataObject
) -> None:
    batch = batch_of(parts)
    start = data.draw(st.integers(0, len(batch) - 1))
    end = data.draw(st.integers(start + 1, len(batch)))
    part = batch.part(start, end)
    held, valid = Pinned(pin=False).hold(part)
    pixels, holes = held.numpy(), None if valid is None else valid.numpy()
    assert (pixels == np.arange(start, end)[:, None, None, None]).all()
    assert [tile.row_off_px for tile in part.tiles] == list(range(start, end))
    holed = [flag for count, flag in parts for _ in range(count)][start:end]
    if holes is None:
        assert not any(holed)
    else:
        expected = [
            not flag or n % 2 == 0 for n, flag in zip(range(start, end), holed, strict=True)
        ]
        assert holes[:, 0, 0].tolist() == expected


def test_neighbours_are_not_copied() -> None:
    first, second = np.zeros((5, 2, 4, 4), np.uint16), np.zeros((3, 2, 4, 4), np.uint16)
    cut = Cut([first, second], None, [()] * 8, None)
    (one, _), (other, _) = Batch(((cut, 2, 6),)).pieces()
    assert (len(one), len(other)) == (3, 1)
    assert np.shares_memory(one, first)
    assert np.shares_memory(other, second)


def test_pinned_memory_serves_batches_of_any_size_and_type() -> None:
    room = Pinned(pin=False)
    at = []
    for count, kind in ((5, np.uint16), (2, np.uint8), (3, np.float32), (5, np.int16)):
        numbers = np.arange(count * 32).reshape(count, 2, 4, 4)
        pixels, valid = numbers.astype(kind), numbers[:, 0] > 7
        cut = Cut([pixels[:1], pixels[1:]], valid, [()] * count, None)
        held, holes = room.hold(Batch(((cut, 0, count),)))
        assert held.numpy().dtype == kind
        assert (held.numpy() == pixels).all()
        assert holes is not None
        assert (holes.numpy() == valid).all()
        at.append(held.data_ptr())
    assert at[1] == at[0], "a smaller batch lies where a larger one lay"
    assert at[3] == at[2]


@given(st.integers(1, 64), st.sampled_from([1, 2, 4, 8, 16, 32, 64]))
def test_sizes_are_powers_of_two_within_the_largest(count: int, batch: int) -> None:
    size = padded(min(count, batch), batch)
    assert size & (size - 1) == 0
    assert min(count, batch) <= size <= batch
