"""Stretches that take turns, their length, and ratios; on a clock that counts calls."""

import time
from collections import Counter

import pytest
import torch

from zoomexp.metrics import speed
from zoomexp.metrics.speed import clock, interleaved, ratio

CPU = torch.device("cpu")


@pytest.fixture
def work(monkeypatch):
    """Variants of known seconds a call, on a clock that only they move; `work.calls` is the order of the calls."""

    class Work:
        now, calls = 0.0, []

        def variant(self, name, *seconds):
            left = list(seconds)

            def call():
                self.calls.append(name)
                self.now += left.pop(0) if len(left) > 1 else left[0]

            return call

    one = Work()
    one.calls = []
    monkeypatch.setattr(speed, "clock", lambda device: one.now)
    return one


def test_variants_take_turns_after_one_call_that_is_not_counted(work):
    times = interleaved({"a": work.variant("a", 9.0, 1.0, 2.0), "b": work.variant("b", 8.0, 3.0)}, 2, CPU)
    assert times == {"a": [1.0, 2.0], "b": [3.0, 3.0]}
    assert work.calls == ["a", "b"] + ["a", "b"] * 2


def test_what_is_quick_is_called_several_times_in_a_stretch(work):
    variants = {"quick": work.variant("quick", 9.0, 0.25), "slow": work.variant("slow", 9.0, 2.0)}
    assert interleaved(variants, 3, CPU, least=1.0) == {"quick": [0.25] * 3, "slow": [2.0] * 3}
    assert Counter(work.calls) == {"quick": 2 + 3 * 4, "slow": 2 + 3}
    assert work.calls[4:9] == ["quick"] * 4 + ["slow"]


def test_a_call_of_no_time_at_all_ends(work):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "_stretch", lambda variant, calls, device: 0.0)
        assert interleaved({"nothing": lambda: None}, 1, CPU, least=1e-6) == {"nothing": [0.0]}


def test_the_cpus_clock_does_not_run_while_others_work():
    started = clock(CPU)
    time.sleep(0.2)
    assert clock(CPU) - started < 0.1


def test_ratios_are_those_of_neighbouring_stretches():
    assert ratio([1.0, 4.0, 9.0, 2.0], [1.0, 2.0, 3.0, 4.0]) == (1.5, 0.5, 3.0)
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0], [1.0, 2.0])
