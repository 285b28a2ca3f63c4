"""What was committed survives: kills, threads, processes, full disks and foreign files."""

import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace

import pytest

from dapa.core.records import EMPTY, Label, Manner, Mask, StoreError, Unit, Verdict
from dapa.store.database import FILE, SCHEMA, digest
from dapa.store.replies import ReplyStore
from dapa.store.runs import Store
from dapa.store.verdicts import VerdictMemory

REFUSAL = Verdict(Label.REFUSAL, "opening/1", (0, 8), "opens by declining")
MASK = Mask.of([Unit(3), Unit(5)])


def test_a_run_is_kept_with_its_settings_trials_and_result(tmp_path):
    store = Store(tmp_path)
    run = store.new_run("search", "toy", {"seed": 1})
    store.add_trials(run.id, 0, [{"a": 1}, {"a": 2}])
    store.add_trials(run.id, 2, [{"a": 3}])
    store.finish(run.id, "done", {"layers": [3]})
    again = Store(tmp_path)
    kept = again.run(run.id)
    assert (kept.settings, kept.state, kept.result) == ({"seed": 1}, "done", {"layers": [3]})
    assert again.trials(run.id) == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert [r.id for r in again.runs()] == [run.id]


def test_a_reopened_run_logs_its_trials_anew(tmp_path):
    store = Store(tmp_path)
    run = store.new_run("search", "toy", {})
    store.add_trials(run.id, 0, [{}, {}])
    store.finish(run.id, "stopped", None)
    assert store.reopen(run.id).state == "running"
    assert store.trials(run.id) == []


@pytest.mark.parametrize("name", ["", "none", "../../etc/passwd", "a/b", "'; drop table runs; --"])
def test_a_run_that_is_not_there_is_told_whatever_its_name(name, tmp_path):
    with pytest.raises(StoreError, match="no run is called"):
        Store(tmp_path).run(name)


def test_a_verdict_is_recalled_only_under_its_context_mode_and_mask(tmp_path):
    memory = VerdictMemory(Store(tmp_path), "c", ["one", "two"])
    memory.commit("opening", MASK, 1, REFUSAL, "I cannot \ud800", 7)
    assert memory.recall("opening", MASK) == {1: (REFUSAL, 7)}
    assert memory.recall("full", MASK) == {} == memory.recall("opening", EMPTY)
    assert VerdictMemory(Store(tmp_path), "d", ["one", "two"]).recall("opening", MASK) == {}
    assert memory.reply("opening", MASK, 1) == "I cannot ?"
    assert memory.reply("opening", MASK, 0) is None


def test_a_verdict_follows_its_prompt_into_another_order_and_to_equal_prompts(tmp_path):
    store = Store(tmp_path)
    VerdictMemory(store, "c", ["one", "two"]).commit("full", MASK, 1, REFUSAL, "", 1)
    found = VerdictMemory(store, "c", ["two", "three", "two"]).recall("full", MASK)
    assert found == {0: (REFUSAL, 1), 2: (REFUSAL, 1)}


def test_the_first_verdict_stays(tmp_path):
    memory = VerdictMemory(Store(tmp_path), "c", ["one"])
    memory.commit("full", MASK, 0, REFUSAL, "a", 1)
    memory.commit("full", MASK, 0, Verdict(Label.COMPLIANCE, "opening/1"), "b", 2)
    assert memory.recall("full", MASK) == {0: (REFUSAL, 1)}


def test_a_later_ruling_replaces_an_earlier_one(tmp_path):
    store = Store(tmp_path)
    key = digest("prompt", "reply")
    store.rate("ruling", key, {"label": "unclear"})
    store.rate("ruling", key, {"label": "refusal"})
    store.rate("vote", key, {"pane": 1})
    assert Store(tmp_path).ratings("ruling") == {key: {"label": "refusal"}}


WRITER = """
    import sys
    from dapa.core.records import Label, Mask, Unit, Verdict
    from dapa.store.runs import Store
    from dapa.store.verdicts import VerdictMemory
    store = Store(sys.argv[1])
    memory = VerdictMemory(store, "c", [str(i) for i in range(100_000)])
    for i in range(int(sys.argv[2]), int(sys.argv[3])):
        memory.commit("full", Mask.of([Unit(3)]), i, Verdict(Label.REFUSAL, "j"), "r" * 500, 1)
        print(i, flush=True)
"""


def _writer(folder, first, last):
    code = textwrap.dedent(WRITER)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(first), str(last)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_kill_loses_nothing_that_was_committed(tmp_path):
    process = _writer(tmp_path, 0, 100_000)
    told = [process.stdout.readline() for _ in range(50)]
    process.send_signal(signal.SIGKILL)
    told += process.stdout.read().splitlines(keepends=True)
    process.wait()
    committed = {int(line) for line in told if line.endswith("\n")}
    kept = VerdictMemory(Store(tmp_path), "c", [str(i) for i in range(100_000)])
    found = set(kept.recall("full", Mask.of([Unit(3)])))
    assert len(committed) >= 50 and committed <= found
    assert len(found - committed) <= 1
    kept.commit("full", MASK, 0, REFUSAL, "", 1)  # and it can be written again


def test_two_processes_and_eight_threads_write_one_store(tmp_path):
    processes = [_writer(tmp_path, 0, 150), _writer(tmp_path, 150, 300)]
    store = Store(tmp_path)
    memory = VerdictMemory(store, "c", [str(i) for i in range(400)])
    failed = []

    def work(part):
        try:
            for i in range(300 + part, 400, 8):
                memory.commit("full", Mask.of([Unit(3)]), i, REFUSAL, "", 1)
                memory.recall("full", MASK)
        except Exception as error:  # noqa: BLE001 - the main thread tells
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [p.communicate()[0].count("\n") for p in processes] == [150, 150]
    assert not failed
    assert len(memory.recall("full", Mask.of([Unit(3)]))) == 400


@pytest.mark.parametrize("version", [SCHEMA + 1, 99])
def test_another_schema_is_told_and_left_as_it_is(version, tmp_path):
    Store(tmp_path).new_run("search", "kept", {})
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute(f"pragma user_version = {version}")
    with pytest.raises(StoreError, match=f"schema {version} .*another folder"):
        Store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as connection:
        assert connection.execute("select title from runs").fetchall() == [("kept",)]


def test_a_store_without_the_ratings_table_gains_it(tmp_path):
    Store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("drop table ratings")
    assert Store(tmp_path).ratings("ruling") == {}


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", "/proc/no/such"):
        with pytest.raises(StoreError, match="cannot be used .*; name another"):
            Store(folder)


def test_a_store_that_became_read_only_is_told(tmp_path):
    store = Store(tmp_path)
    store._connection().execute("pragma query_only = 1")
    with pytest.raises(StoreError, match="readonly.*--run-dir"):
        store.new_run("search", "toy", {})
    assert store.runs() == []


def test_a_full_disk_is_told_and_what_was_committed_stays(tmp_path):
    store = Store(tmp_path)
    memory = VerdictMemory(store, "c", [str(i) for i in range(2000)])
    memory.commit("full", MASK, 0, REFUSAL, "kept", 1)
    connection = store._connection()
    (pages,) = connection.execute("pragma page_count").fetchone()
    connection.execute(f"pragma max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="full.*free disk space"):
        for i in range(1, 2000):
            memory.commit("full", MASK, i, REFUSAL, "x" * 2000, 1)
    assert VerdictMemory(Store(tmp_path), "c", ["0"]).reply("full", MASK, 0) == "kept"


def test_ten_thousand_verdicts_are_recalled_at_once(tmp_path):
    memory = VerdictMemory(Store(tmp_path), "c", [str(i) for i in range(10_000)])
    connection = memory._store._connection()
    connection.execute("begin")
    for i in range(10_000):
        memory.commit("full", MASK, i, REFUSAL, "", 1)
    connection.execute("commit")
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    assert len(memory.recall("full", MASK)) == 10_000
    connection.set_trace_callback(None)
    assert len(asked) == 1, "in one question, not in one for each"


def test_the_manner_of_a_verdict_is_kept_and_a_store_without_one_still_opens(tmp_path):
    store = Store(tmp_path)
    memory = VerdictMemory(store, "c", ["a", "b"])
    told = Verdict(Label.REFUSAL, "rules/9", (0, 3), "why", manner=Manner.REDIRECTS)
    memory.commit("full", MASK, 0, told, "no, instead", 3)
    memory.commit("full", MASK, 1, replace(told, manner=None), "no", 1)
    known = memory.recall("full", MASK)
    assert known[0][0] == told and known[1][0].manner is None
    replies = ReplyStore(store)
    replies.rule({("a", "no"): told})
    assert replies.judged("rules/9", [("a", "no")])[0] == told
    with store.plainly() as connection:  # as a version before wrote them
        for table in ("verdicts", "judgements"):
            connection.execute(f"alter table {table} drop column manner")
    older = VerdictMemory(Store(tmp_path), "c", ["a", "b"])
    assert older.recall("full", MASK)[0][0] == replace(told, manner=None)
    again = ReplyStore(Store(tmp_path)).judged("rules/9", [("a", "no")])
    assert again[0] == replace(told, manner=None)
