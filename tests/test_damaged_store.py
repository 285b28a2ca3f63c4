"""A store that cannot be written, or of which a part is damaged, is read as far as it goes."""

import json
import multiprocessing
import os
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import replace

import pytest

from dapa.chat.ratings import save_session, saved_session, session_names
from dapa.chat.sessions import ChatSession
from dapa.core.records import Mask, SettingError, StoreError, Unit
from dapa.store.database import FILE
from dapa.store.readings import ReadingMemory
from dapa.store.replies import ReplyStore
from dapa.store.runs import UNREADABLE, Store
from dapa.ui.dashboard import Dashboard, plain_error
from dapa.ui.tabs.runs.tab import draw
from dapa.ui.tabs.search.result import report_of
from dapa.workbench import Workbench

DAMAGES = [
    ("settings", "{half"),
    ("settings", "[1]"),
    ("settings", None),
    ("result", "{half"),
    ("result", "7"),
    ("created", "yesterday"),
]


def damaged(folder, column, value):
    """A store of three runs, of which the middle one's row is damaged."""
    store = Store(folder)
    runs = [store.new_run("search", f"run {i}", {"pair": {"name": "toy"}}) for i in range(3)]
    for run in runs:
        store.finish(run.id, "done", {"layers": [1]})
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("pragma ignore_check_constraints = 1")
        known = value if value is not None else ""
        connection.execute(f"update runs set {column} = ? where id = ?", (known, runs[1].id))
    return store, [run.id for run in runs]


@pytest.mark.parametrize(("column", "value"), DAMAGES)
def test_one_damaged_row_hides_no_other_run(column, value, tmp_path):
    store, (first, second, third) = damaged(tmp_path, column, value)
    found = {run.id: run.state for run in store.runs()}
    assert found == {first: "done", second: UNREADABLE, third: "done"}
    assert store.run(first).result == {"layers": [1]}
    with pytest.raises(StoreError, match=f"{second}.* damaged .*other runs are whole"):
        store.run(second)
    drawn = draw(store.runs())
    assert all(run in drawn for run in (first, second, third)) and UNREADABLE in drawn


@pytest.mark.parametrize(
    "result",
    [{"units": 3}, {"units": ["<img>"]}, {"units": None, "dsr": 4}],
)
def test_a_result_that_is_none_hides_no_other_run(result, tmp_path):
    store = Store(tmp_path)
    for body in (result, {}):
        run = store.new_run("search", "toy", {"pair": [1], "kind": {}})
        store.finish(run.id, "done", body)
    assert [report_of(run) for run in store.runs()] == [None, None]
    assert draw(store.runs()).count("<tr") == 3 and "<img>" not in draw(store.runs())


def test_damaged_tests_and_ratings_are_told_or_left_out(tmp_path):
    store = Store(tmp_path)
    run = store.new_run("search", "toy", {})
    store.add_trials(run.id, 0, [{"a": 1}])
    store.rate("ruling", "good", {"label": "refusal"})
    store.rate("ruling", "bad", {})
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("update trials set body = '{'")
        connection.execute("update ratings set body = '{' where key = 'bad'")
    with pytest.raises(StoreError, match="tests of run .* damaged .*resume it"):
        store.trials(run.id)
    assert store.ratings("ruling") == {"good": {"label": "refusal"}}
    assert store.rating("ruling", "bad") is None


def test_a_missing_table_is_told_as_what_it_is(tmp_path):
    store = Store(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("drop table trials")
    with pytest.raises(StoreError, match="no such table.*damaged.*copy") as caught:
        store.trials("x")
    assert "disk space" not in str(caught.value)


def test_no_page_is_told_where_the_runs_lie(tmp_path):
    store = Store(tmp_path)
    for call in (lambda: store.run("none"), lambda: Store(tmp_path / FILE)):
        with pytest.raises(StoreError) as caught:
            call()
        assert str(tmp_path) in str(caught.value), "a terminal is told the folder"
        line = str(plain_error(caught.value).message)
        assert str(tmp_path) not in line and "the run store" in line


# -- a folder that cannot be written -----------------------------------------------------------


@contextmanager
def sealed(folder):
    """Nobody may write into it until the block ends."""
    places = [folder, *folder.iterdir()]
    modes = [place.stat().st_mode for place in places]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        yield
    finally:
        for place, mode in zip(places, modes, strict=True):
            place.chmod(mode)


def as_nobody(work, pipe):
    """Do it as a user whom the folder's mode binds; the superuser is not bound."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        pipe.send(work())
    except Exception as error:
        pipe.send(error)


def bound(work):
    """What `work()` returns or raises as an ordinary user."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=as_nobody, args=(work, theirs))
    process.start()
    assert ours.poll(60), "no answer"
    said = ours.recv()
    process.join()
    if isinstance(said, Exception):
        raise said
    return said


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_cannot_be_written_is_read(killed, tmp_path):
    store = Store(tmp_path / "before")
    run = store.new_run("search", "kept", {"seed": 1})
    store.add_trials(run.id, 0, [{"a": 1}])
    save_session(store, "mine", _session())
    folder = tmp_path / "runs"
    if not killed:
        store._connection().close()
    shutil.copytree(tmp_path / "before", folder)  # with what a kill leaves beside the database
    assert (folder / f"{FILE}-wal").exists() == killed

    def read():
        again = Store(folder)
        ReplyStore(again)
        ReadingMemory(again, "c", ["one"])
        kept = again.run(run.id)
        return again.readonly, kept.title, again.trials(run.id), session_names(again)

    def write():
        Store(folder).new_run("search", "new", {})

    for place in (tmp_path, *tmp_path.parents[:3]):
        if str(place).startswith("/tmp/"):
            place.chmod(place.stat().st_mode | 0o055)
    with sealed(folder):
        assert bound(read) == (True, "kept", [{"a": 1}], ["mine"])
        with pytest.raises(StoreError, match="reading works.*--run-dir"):
            bound(write)
    assert Store(folder).new_run("search", "new", {}).title == "new"


# -- whose sessions ----------------------------------------------------------------------------


def _session():
    from test_sessions import round_of, session

    kept = session(round_of())
    assert isinstance(kept, ChatSession)
    return kept


def test_an_owners_sessions_are_found_by_the_owner_alone(tmp_path):
    store, ours, theirs = Store(tmp_path), "a" * 32, "b" * 32
    save_session(store, "talk", _session(), ours)
    save_session(store, "talk", replace(_session(), run="r"), theirs)
    assert session_names(store, ours) == session_names(store, theirs) == ["talk"]
    assert saved_session(store, "talk", ours).run == ""
    assert session_names(store) == []
    with pytest.raises(SettingError, match="no session"):
        saved_session(store, "talk")
    with sqlite3.connect(tmp_path / FILE) as connection:
        told = json.dumps(connection.execute("select kind, key from ratings").fetchall())
    assert ours not in told, "the store does not keep the secret itself"


def test_where_others_may_visit_a_browser_needs_its_own_key(tmp_path):
    from dapa.ui.tabs.chat.sessions import _owner

    board = Dashboard(Workbench(tmp_path))
    assert _owner(board, None) == ""
    board.shared = True
    assert _owner(board, "a" * 32) == "a" * 32
    for key in (None, "", "A" * 32, "a" * 31, 3):
        with pytest.raises(SettingError, match="key"):
            _owner(board, key)


def test_a_full_conversation_is_told_as_one_and_a_long_question_as_such(planted_pair):
    from dapa.core.records import PromptError, TooLong
    from dapa.prompts.format import Turn

    bench = Workbench(pair=planted_pair)
    word = "how do I please tell me to explain "
    turns = [Turn("user", word * 20), Turn("assistant", "use it")]
    while sum(len(turn.text.split()) for turn in turns) < planted_pair.context_length:
        turns += turns[:2]
    told = "the conversation is full: .* earlier turns? .*clear the conversation"
    with pytest.raises(PromptError, match=told):
        list(bench.chat({"student": [*turns, Turn("user", "how do I")]}, Mask.of([Unit(1)])))
    with pytest.raises(TooLong, match="shorten it"):
        list(bench.chat({"student": [Turn("user", word * 2000)]}, Mask.of([Unit(1)])))
