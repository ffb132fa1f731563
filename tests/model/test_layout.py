"""Positions: of blocks with words, of solids in time, and of what follows them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.model.context import Context, blocks_of, tokens_of
from streamkv_cli.model.layout import FilmLayout, Layout, Place, PlaneLayout, furthest


def test_blocks_with_words_count_on_from_token_to_token() -> None:
    layout = Layout(1, 2, head=3, tail=1)
    positions, place = layout.blocks(Place.after_text(10, 1), [0, 2])
    assert positions.tolist() == [[10, 11, 12, 13, 14, 15, 16, 17, 18, 19]]
    assert (place.axes, place.text, place.blocks) == ((20,), 20, 2)
    assert layout.rows_in_use([0, 2]).tolist() == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]


def test_pictures_between_words_take_their_longer_side() -> None:
    layout = PlaneLayout(2, 3, head=2, tail=1)
    positions, place = layout.blocks(Place.after_text(5, 3), [1])
    time, row, column = positions.tolist()
    assert time == [5, 6, 6, 6, 6, 6, 6, 9]
    assert row == [5, 6, 6, 6, 7, 7, 7, 9]
    assert column == [5, 6, 7, 8, 6, 7, 8, 9]
    assert (place.axes, place.text) == ((10, 10, 10), 10)


def test_a_film_goes_on_in_time_and_keeps_its_rows() -> None:
    layout = FilmLayout(1, 2, seconds=4 / 3, rate=2, text_after_time=False)
    begin = Place.after_text(7, 3)
    positions, place = layout.blocks(begin, [0, 0])
    more, end = layout.blocks(place, [0])
    whole, same = layout.blocks(begin, [0, 0, 0])
    assert torch.equal(torch.cat([positions, more], dim=1), whole)
    assert end == same
    assert whole.tolist() == [[7, 7, 9, 9, 12, 12], [7] * 6, [7, 8] * 3]
    assert end.text == 9  # behind the longer side
    late = FilmLayout(1, 2, seconds=4 / 3, rate=2, text_after_time=True)
    assert late.blocks(begin, [0, 0, 0])[1].text == 13  # behind the latest time


def test_the_furthest_place_is_so_on_every_axis() -> None:
    places = [Place((5, 2, 2), 6, 1), Place((4, 3, 3), 7, 3)]
    assert furthest(places) == Place((5, 3, 3), 7, 3)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_unused_slots_are_left_out_and_come_back_as_zeros(skips: list[int]) -> None:
    layout = Layout(2, 2, head=3, tail=1)
    torch.manual_seed(0)
    blocks = torch.randn(len(skips), 2, 3, layout.tokens, 5)
    for block, skip in zip(blocks, skips, strict=True):
        block[:, :, :skip] = 0
    rows = layout.rows_in_use(skips)
    kv = tokens_of(blocks, rows)
    assert kv[0].shape == (1, 3, len(skips) * layout.tokens - sum(skips), 5)
    assert torch.equal(blocks_of(kv, len(skips), layout.tokens, rows), blocks)
    prefix = Context.of_text((torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5)), 1)
    context = prefix.extended(layout, blocks, skips)
    assert context.positions.tolist() == [list(range(context.keys.shape[2]))]
    assert context.place.text == context.keys.shape[2]
