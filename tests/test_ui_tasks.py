"""Measurements nobody asked for give way to searches, replies and to what somebody asked for."""

import threading

from dapa.ui.tasks import Tasks
from dapa.ui.watching import clock, pace, progress_line, stage


def counting(steps: list[str], name: str, of: int = 100, each: float = 0.01):
    """Work of many short steps, which notes each."""

    def work(told, stop):
        for step in range(of):
            if stop.wait(each):
                break
            told(name, step / of)
            steps.append(name)
        return len(steps)

    return work


def held(task) -> bool:
    """Wait until it gives way."""
    for _ in range(500):
        if task.held:
            return True
        threading.Event().wait(0.01)
    return False


def test_what_nobody_asked_for_waits_while_a_search_or_a_reply_needs_the_models():
    engaged, steps = threading.Event(), list[str]()
    tasks = Tasks(engaged.is_set)
    task = tasks.begin("pair", "gap", counting(steps, "gap"), unasked=True)
    engaged.set()
    assert held(task)
    before = len(steps)
    assert "used for something else" in progress_line(task)
    assert not task.wait(0.5)
    assert len(steps) == before, "it went on"
    shown = stage(task)
    engaged.clear()
    assert task.wait(20)
    assert len(steps) == 100
    assert task.seconds < 20
    assert stage(task) != shown


def test_it_gives_way_to_what_somebody_asked_for_though_it_was_there_first():
    steps = list[str]()
    tasks = Tasks()
    first = tasks.begin("pair", "gap", counting(steps, "gap"), unasked=True)
    second = tasks.begin("pair", "single", counting(steps, "single", 50))
    assert second.wait(20)
    assert not first.over
    assert first.wait(20)
    assert steps.count("gap") == 100
    start, end = steps.index("single"), len(steps) - steps[::-1].index("single")
    assert "gap" not in steps[start + 1 : end], "one step in flight at most"


def test_what_waits_for_others_is_stopped_at_once():
    tasks = Tasks(lambda: True)
    task = tasks.begin("pair", "gap", counting([], "gap"), unasked=True)
    assert held(task)
    task.stop()
    assert task.wait(5)
    assert task.state == "stopped"


def test_what_somebody_asked_for_gives_way_to_nothing():
    tasks = Tasks(lambda: True)
    task = tasks.begin("pair", "gap", counting([], "gap", 5))
    assert task.wait(10)
    assert task.state == "done"


def test_a_page_looks_less_often_the_longer_something_takes():
    assert [pace(seconds) for seconds in (0, 4.9, 5, 19, 20, 9000)] == [0.5, 0.5, 1, 1, 2, 2]
    task = Tasks().begin("pair", "gap", counting([], "gap", 1))
    assert task.wait(10)
    assert clock(task).active is clock(None).active is False
