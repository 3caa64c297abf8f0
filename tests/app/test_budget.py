"""So many pixels at a time."""

import threading

import pytest

from ferlib.app.budget import Budget


def test_no_more_than_the_total_is_lent_and_all_come_through():
    budget, lock = Budget(10), threading.Lock()
    now, most = 0, 0

    def borrow(amount):
        nonlocal now, most
        for _ in range(200):
            with budget.hold(amount, 30):
                with lock:
                    now, most = now + amount, max(most, now + amount)
                with lock:
                    now -= amount

    threads = [threading.Thread(target=borrow, args=(amount,)) for amount in (1, 2, 3, 5, 6, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert budget.free == 10 and now == 0 and 0 < most <= 10


def test_a_small_part_overtakes_a_large_one_that_waits():
    budget = Budget(10)
    with budget.hold(8, 1):
        with pytest.raises(TimeoutError), budget.hold(3, 0.05):
            pass
        with budget.hold(2, 0.05):
            assert budget.free == 0
    with budget.hold(99, 0.05):  # more than there is takes all
        assert budget.free == 0
    assert budget.free == 10
