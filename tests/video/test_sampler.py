import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamkv_cli.video.sampler import EPSILON, Sampler, sample

# Times in milliseconds and grids in whole milliseconds keep the oracle free of rounding.
millis = st.lists(st.integers(0, 20_000), min_size=1, max_size=60).map(sorted)
steps = st.sampled_from([1, 10, 33, 40, 250, 500, 1000, 2000, 7000])


def oracle(times: list[int], end: int, step: int, start: int, first: int) -> list[tuple[int, int]]:
    """For every grid point, look through all pictures for the last one not after it."""
    found = []
    k = 0
    while (at := times[0] + k * step) < end or at == times[0]:
        if at >= start and k >= first:
            on_screen = [i for i, time in enumerate(times) if time <= at]
            found.append((k, on_screen[-1]))
        k += 1
    return found


@given(millis, steps, st.integers(1, 3000), st.integers(0, 10_000), st.integers(0, 20))
def test_sample_is_the_last_picture_not_after_the_grid_point(
    times: list[int], step: int, length: int, start: int, first: int
) -> None:
    end = times[-1] + length
    got = sample(
        [t / 1000 for t in times], end / 1000, 1000 / step, start=start / 1000, first=first
    )
    assert list(got) == oracle(times, end, step, start, first)


@given(millis, steps)
def test_every_grid_point_is_sampled_once_in_order(times: list[int], step: int) -> None:
    taken = [k for k, _ in sample([t / 1000 for t in times], times[-1] / 1000 + 1, 1000 / step)]
    assert taken == list(range(len(taken)))
    assert taken


@given(millis, steps, st.integers(0, 10_000))
def test_start_only_leaves_out(times: list[int], step: int, start: int) -> None:
    seconds = [t / 1000 for t in times]
    full = list(sample(seconds, seconds[-1] + 1, 1000 / step))
    late = list(sample(seconds, seconds[-1] + 1, 1000 / step, start=start / 1000))
    assert late == full[len(full) - len(late) :]


@pytest.mark.parametrize("rate", [24, 25, 30, 30000 / 1001, 60, 12.5])
def test_sampling_at_the_picture_rate_takes_every_picture(rate: float) -> None:
    times = [n / rate for n in range(10_000)]
    assert list(sample(times, 10_000 / rate, rate)) == [(n, n) for n in range(10_000)]


def test_rounded_time_stamps_still_meet_their_grid_point() -> None:
    times = [n / 10 + (EPSILON / 2 if n % 2 else 0) for n in range(100)]
    assert list(sample(times, 10.0, 10)) == [(n, n) for n in range(100)]


def test_single_picture_of_no_length_is_sampled() -> None:
    assert list(sample([3.0], 3.0, 0.5)) == [(0, 0)]


def test_no_picture_gives_no_sample() -> None:
    assert list(sample([], 5.0, 1.0)) == []


def test_falling_times_are_refused() -> None:
    sampler = Sampler(1.0)
    sampler.push(5.0)
    with pytest.raises(ValueError, match="must not fall"):
        sampler.push(4.0)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_rates_are_refused(fps: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        Sampler(fps)
