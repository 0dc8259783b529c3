"""One look into the ledger reaches so far and no further, and the next one goes on where it ended."""

from hypothesis import given
from hypothesis import strategies as st

from kannon.core.deliveries import DeliveryId
from kannon.core.slices import Extent, Slice, reach


def test_a_look_ends_where_its_room_does() -> None:
    batches = [Extent(9, 2), Extent(8, 0), Extent(7, 5), Extent(6, 1)]
    first = reach(batches, None, 4)
    assert first.slices == (Slice(9, 0, 2), Slice(7, 0, 2))
    assert first.next == DeliveryId(7, 2)
    second = reach(batches[2:], first.next, 4)
    assert second.slices == (Slice(7, 2, 5), Slice(6, 0, 1))
    assert second.next is None


def test_a_start_behind_the_end_of_its_batch_begins_with_the_next_batch() -> None:
    assert reach([Extent(9, 2), Extent(8, 1)], DeliveryId(9, 2), 5).slices == (Slice(8, 0, 1),)


@given(st.lists(st.integers(0, 12), max_size=8), st.integers(1, 15))
def test_looks_reach_everything_once_and_in_order(sizes: list[int], room: int) -> None:
    batches = [Extent(number, size) for number, size in enumerate(sizes)]
    seen: list[DeliveryId] = []
    start: DeliveryId | None = None
    while True:
        left = [batch for batch in batches if start is None or batch.batch >= start.batch]
        look = reach(left, start, room)
        found = [DeliveryId(part.batch, seq) for part in look.slices for seq in range(part.first, part.end)]
        assert len(found) <= room
        assert found or look.next is None
        seen.extend(found)
        start = look.next
        if start is None:
            break
    assert seen == [DeliveryId(batch.batch, seq) for batch in batches for seq in range(batch.recipients)]
