"""Work divided among threads: each thing once, and nothing goes on behind the back of whoever was told of a failure."""

from __future__ import annotations

import threading

import pytest

from warren.aggregator.threads import cores, everywhere, own_buffer


def test_each_thing_is_done_once() -> None:
    done: list[int] = []
    everywhere(done.append, range(1000))
    assert sorted(done) == list(range(1000))


def test_a_failure_is_raised_when_nobody_works_any_more() -> None:
    together, failing = threading.Barrier(cores()), threading.Event()
    begun: list[int] = []
    ended: list[int] = []

    def act(number: int) -> None:
        begun.append(number)
        if number < cores():
            together.wait(10)  # each thread has one
        if not number:
            failing.set()
            raise ValueError("the first")
        assert failing.wait(10)  # goes on after the one that fails
        ended.append(number)

    with pytest.raises(ValueError, match="the first"):
        everywhere(act, range(100_000))
    assert sorted([0, *ended]) == sorted(begun)
    assert len(begun) < 100_000


def test_a_thread_has_one_buffer_of_its_own() -> None:
    first = own_buffer(100)
    assert len(first) == 100
    assert own_buffer(50).data_ptr() == first.data_ptr()
    others: list[int] = []
    thread = threading.Thread(target=lambda: others.append(own_buffer(100).data_ptr()))
    thread.start()
    thread.join()
    assert others != [first.data_ptr()]
