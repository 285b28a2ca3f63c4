"""kill -9 at any moment of an evaluation: resumed, the table is the same, nothing asked twice."""

import json
import signal
import sqlite3
import tempfile
import time
from functools import lru_cache
from random import Random

import pytest
from evaluated import evaluate, table_in
from support import forkserver, sweep

from dapa.store.database import FILE
from dapa.store.replies import ReplyStore


def essence(table):
    told = {key: value for key, value in table.as_dict().items() if key != "run"}
    return json.dumps(told, sort_keys=True), [each.as_dict() for each in table.replies]


@lru_cache
def whole():
    """The evaluation that nobody killed, and its duration in seconds."""
    began = time.monotonic()
    table = table_in(tempfile.mkdtemp())
    return essence(table), time.monotonic() - began


def killed(folder, share):
    """Start it in a process and kill it after about that share of its time."""
    seconds = share * whole()[1]
    for attempt in range(12):
        place = folder / str(attempt)
        process = forkserver().Process(target=evaluate, args=(place, seconds))
        process.start()
        process.join()
        if process.exitcode == -signal.SIGKILL and (place / FILE).exists():
            return place
        assert process.exitcode in (0, -signal.SIGKILL), "it must be killed or end well"
        seconds *= 0.5 if process.exitcode == 0 else 1.5
    raise AssertionError("it could not be killed")


def read(folder, query):
    """The rows of a killed one's store; none where it was killed before its tables were made."""
    with sqlite3.connect(folder / FILE) as connection:
        made = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        table = query.partition(" from ")[2]
        return connection.execute(query).fetchall() if (table,) in made else []


@pytest.mark.parametrize(("seed",), sweep([(seed,) for seed in range(20)]))
def test_a_killed_evaluation_resumes_to_the_same_table_and_asks_nothing_twice(
    seed, tmp_path, monkeypatch
):
    folder = killed(tmp_path, Random(seed).uniform(0.05, 0.95))
    kept = set(read(folder, "select context, mask, prompt from replies"))
    runs = read(folder, "select id, state from runs")
    assert [state for _, state in runs] in ([], ["running"])
    asked, keep = [], ReplyStore.keep

    def noted(self, context, mask, prompt, said):
        asked.append((context, mask, prompt))
        keep(self, context, mask, prompt, said)

    monkeypatch.setattr(ReplyStore, "keep", noted)
    table = table_in(folder, runs[0][0] if runs else None)
    assert essence(table) == whole()[0]
    assert not kept & set(asked), "what was known is not asked again"
    assert {state for _, state in read(folder, "select id, state from runs")} == {"done"}
