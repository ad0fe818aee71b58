"""Several processes end at the same update, also where only one of them got the signal."""

import numpy as np
import pytest

from r1reward_jax import stopping
from r1reward_jax.stopping import Stopped
from r1reward_jax.train import ending


@pytest.fixture
def agree(monkeypatch):
    """Stand for the second of several processes; the function says what each of them was asked."""
    meetings: list[int] = []

    def others(*asked):
        def gathered(own):
            meetings.append(int(own))
            return np.array([*asked, own])

        monkeypatch.setattr(ending.multihost_utils, "process_allgather", gathered)
        return meetings

    monkeypatch.setattr(ending.jax, "process_count", lambda: 3)
    monkeypatch.setattr(stopping, "asked", lambda: 0)
    return others


def test_the_signal_of_another_process_ends_this_one(agree):
    meetings = agree(0, 15)
    with pytest.raises(Stopped) as stopped:
        ending.check()
    assert stopped.value.number == 15 and meetings == [0]


def test_nobody_ends_alone(agree, monkeypatch):
    """A process that got a signal waits for the next agreement, as the others go on until then."""
    monkeypatch.setattr(stopping, "asked", lambda: 2)
    meetings = agree(0, 0)
    for number in range(1, ending.AGREE_EVERY):
        ending.check(number)
    assert not meetings
    with pytest.raises(Stopped) as stopped:
        ending.check(ending.AGREE_EVERY)
    assert stopped.value.number == 2 and meetings == [2]


def test_where_nobody_was_asked_all_go_on(agree):
    meetings = agree(0, 0)
    for number in range(2 * ending.AGREE_EVERY + 1):
        ending.check(number)
    assert meetings == [0, 0, 0]
