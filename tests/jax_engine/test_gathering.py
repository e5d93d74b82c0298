"""Calls of threads are joined without one waiting for somebody who does not come."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from turbulence_data.solver.jax._engine import Gathering


def calls_together(gathering, members, rounds, work, key="same"):
    """Each member calls so many times; returns its results."""

    def run(member):
        try:
            return [
                gathering.call(member, key, (member, number), work)
                for number in range(rounds[member])
            ]
        finally:
            gathering.leave(member)

    for member in members:
        gathering.join(member)
    with ThreadPoolExecutor(len(members)) as pool:
        return list(pool.map(run, members))


def test_all_at_work_go_together_and_get_their_own_results():
    sizes = []

    def work(items):
        sizes.append(len(items))
        return [("done", *item) for item in items]

    results = calls_together(Gathering(8, 60.0), range(3), [5, 5, 2], work)
    assert results == [
        [("done", member, number) for number in range(count)]
        for member, count in enumerate([5, 5, 2])
    ]
    assert sizes == [3, 3, 2, 2, 2]


def test_a_group_is_never_larger_than_its_size():
    sizes = []

    def work(items):
        sizes.append(len(items))
        return items

    calls_together(Gathering(2, 60.0), range(4), [3] * 4, work)
    assert max(sizes) <= 2
    assert sum(sizes) == 12


def test_other_work_is_not_joined():
    def work(items):
        return [len({item[0] for item in items})] * len(items)

    gathering = Gathering(8, 60.0)
    barrier = threading.Barrier(2)

    def run(member):
        gathering.join(member)
        barrier.wait()
        found = gathering.call(member, f"key {member}", (member,), work)
        gathering.leave(member)
        return found

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, range(2))) == [1, 1]


def test_who_does_not_call_is_waited_for_once():
    gathering, sizes = Gathering(8, 0.05), []
    gathering.join(99)  # never calls

    def work(items):
        sizes.append(len(items))
        return items

    calls_together(gathering, [0], {0: 3}, work)
    assert sizes == [1, 1, 1]
    assert gathering._at_work == set()


def test_an_error_reaches_everybody():
    def work(items):
        raise ArithmeticError("overflow")

    gathering = Gathering(2, 60.0)
    gathering.join(0)
    gathering.join(1)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(gathering.call, m, "key", m, work) for m in range(2)]
        for future in futures:
            with pytest.raises(ArithmeticError, match="overflow"):
                future.result()
