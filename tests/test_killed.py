"""kill -9 at any moment: the search resumes to the identical result and asks nothing twice."""

import json
import signal
import sqlite3
import time
from collections import Counter
from functools import lru_cache
from random import Random

import pytest
from killed import job_in, search
from support import forkserver, sweep

from dapa.store.database import FILE

COSTS = {
    "speculative", "prompts_judged", "prompts_spared", "recalled", "recalled_tokens", "tokens",
    "seconds", "phases", "gpu_seconds", "eta_error", "work",
}  # fmt: skip
"""What an interruption may change: the costs, never the result."""


def essence(report):
    return {key: value for key, value in report.as_dict().items() if key not in COSTS}


@lru_cache
def whole():
    """The search that nobody killed, and its duration in seconds."""
    import tempfile

    began = time.monotonic()
    report = job_in(tempfile.mkdtemp()).run()
    return essence(report), time.monotonic() - began


def killed(folder, share):
    """Start the search in a process and kill it after about that share of its time.

    A busy machine may let it end before; then the folder is another and the kill comes earlier.
    """
    seconds = share * whole()[1]
    for attempt in range(12):
        place = folder / str(attempt)
        process = forkserver().Process(target=search, args=(place, seconds))
        process.start()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return place
        assert process.exitcode == 0, "it must be killed or end well"
        seconds /= 2
    raise AssertionError("it could not be killed")


def read(folder, query):
    with sqlite3.connect(folder / FILE) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize(("seed",), sweep([(seed,) for seed in range(20)]))
def test_a_killed_search_resumes_to_the_same_result_and_asks_nothing_twice(seed, tmp_path):
    folder = killed(tmp_path, Random(seed).uniform(0.02, 0.95))
    kept = set(read(folder, "select context, mode, mask, prompt from verdicts"))
    runs = read(folder, "select id, state from runs")
    assert [state for _, state in runs] == ["running"]
    counted = Counter((mode, mask) for _, mode, mask, _ in kept)
    for (body,) in read(folder, "select body from trials"):  # every question that was answered
        trial = json.loads(body)
        if trial["phase"] in ("opening", "search", "certificate", "superset"):
            assert counted["opening", trial["mask"]] >= trial["judged"], "its verdicts are kept"
    job = job_in(folder, runs[0][0])
    asked = []
    for split in (job._driver.split, job._driver.held_out):
        memory = split.memory.kept
        commit = memory.commit

        def noted(mode, mask, prompt, *said, memory=memory, commit=commit):
            asked.append((memory._context, mode, mask.key, memory._keys[prompt]))
            commit(mode, mask, prompt, *said)

        memory.commit = noted
    report = job.run()
    assert essence(report) == whole()[0]
    assert not kept & set(asked), "what was known is not asked again"
    assert report.costs.recalled <= len(kept)
    assert set(read(folder, "select state from runs")) == {("done",)}
