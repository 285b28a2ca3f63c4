"""Whose a result is: owners, the line that names another pair, a load told, runs kept in order."""

import json
from dataclasses import replace

import pytest
from searched import prompt_set

from dapa.chat.sessions import ChatSession, Talk
from dapa.core.owner import Owner
from dapa.core.records import EMPTY, Mask, NothingToLocalize, SettingError, StoreError, Unit
from dapa.core.statistics import wilson
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.planted.pairs import Planting, plant
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store, checked_title
from dapa.ui import belonging
from dapa.ui.belonging import is_ours
from dapa.ui.dashboard import Dashboard
from dapa.ui.session import Session
from dapa.ui.tabs.chat.links import link_query, read_link
from dapa.ui.tabs.presenter import found_run
from dapa.ui.tabs.runs import evaluated, listing, tables, taken
from dapa.ui.tabs.runs.opened import mask_of, opened
from dapa.ui.tabs.search.status import SearchStatus
from dapa.workbench import Run, Workbench


@pytest.fixture(scope="module")
def pairs():
    """Two pairs of one shape that need other layers."""
    return tuple(
        plant(Planting(6, needed)).pair(name) for needed, name in (((1, 4), "one"), ((0, 2), "two"))
    )


@pytest.fixture
def board(pairs, tmp_path):
    return Dashboard(Workbench(tmp_path, pairs[0]))


def searched(bench):
    job = SearchJob(bench.pair, prompt_set(), SearchSettings(max_new_tokens=12), bench.store)
    bench._jobs[job.id] = job
    job.run()
    return job


def test_evaluations_side_by_side_tell_what_is_no_share_of_replies_too():
    first, second = stored_table(patched=95), stored_table(patched=95)
    body = {"value": 28.4, "low": 27.9, "high": 28.9, "n": 4567, "text": "toy"}
    for run, value in ((first, 28.4), (second, 31.0)):
        told = {**body, "value": value, "low": value - 0.5, "high": value + 0.5}
        run.result["models"]["patched"]["perplexity"] = told
    drift = {"value": 0.0074, "low": None, "high": None, "n": 1}
    second.result["models"]["patched"]["kl"] = drift
    shown, folded = evaluated.beside(first, second, "a", "b").split("<details")
    assert "perplexity" in shown and "B clearly more" in shown and "4,567 tokens" in shown
    assert "0.0074" in shown and "not asked in both" in shown
    assert "[28.4" not in evaluated.draw(first) and "[27.9, 28.9]" in evaluated.draw(first)
    told = evaluated.figures(first, second)[1]
    assert [row["value"] for row in told if row["part"] == "mean"] == [31.0, 0.0074]


def stored_table(**rates):
    """An evaluation as the store holds it: column -> DSR out of 100."""
    columns = {name: {"dsr": wilson(hits, 100).as_dict()} for name, hits in rates.items()}
    return Run("r", 0.0, "evaluate", "t", {"mask": "1.gate"}, "done", {"models": columns}, 0.0)


def test_two_evaluations_side_by_side_show_what_differs_and_fold_the_rest():
    first = stored_table(student=2, patched=95, teacher=99)
    second = stored_table(student=2, patched=20, teacher=97)
    shown, folded = evaluated.beside(first, second, "a", "b").split("<details")
    assert shown.count("<tr>") == 3 and "A clearly more" in shown and "intervals overlap" in shown
    assert "1 figure is the same in both" in folded and "student" in folded


def test_owners_are_the_same_by_name_or_by_their_models_and_an_unknown_one_is_nobodys():
    named, other = Owner("a", "s", "t"), Owner("b", "s", "t")
    assert named.same(Owner("a", "elsewhere", "t")) and not named.same(other)
    assert Owner("", "s", "t").same(other) and not Owner("", "s", "x").same(other)
    assert not Owner().same(Owner()) and not Owner()
    assert Owner.read({"student": "s", "teacher": 3}) == Owner("", "s", "")


def test_the_number_of_a_pair_is_read_off_the_pair_itself(board, pairs):
    first = board.epoch
    assert board.epoch == first
    board.workbench._pair = pairs[1]
    assert board.epoch == first + 1 == board.epoch
    board.workbench._pair = pairs[0]
    assert board.epoch == first + 2


def test_what_is_another_pairs_says_whose_it_is_and_offers_to_load_it(board, pairs):
    mine, other = (belonging.owner_of(pair.spec) for pair in pairs)
    assert belonging.whose(board, mine, "This table") == ""
    told = belonging.whose(board, other, "This table")
    assert "<b>two</b>" in told and "one is loaded now" in told and "data-load=" in told
    assert "data-load" not in belonging.whose(board, Owner("x"), "It", ours=True)
    assert belonging.whose(board, Owner(), "It") == "", "nobody knows whose it is"
    evil = belonging.whose(board, Owner("<img src=x>", "'\"", "t"), "It")
    assert "<img" not in evil and "&lt;img" in evil


def test_other_models_in_a_pairs_place_are_another_pair_and_newer_libraries_are_not(
    board, pairs, monkeypatch
):
    bench, job = board.workbench, searched(board.workbench)
    run, mask = bench.store.run(job.id), job.report.mask
    assert is_ours(board, run) and found_run(board).id == run.id and bench.found_by(run.id, mask)
    assert bench.newest_found("gate")[0] == bench.newest_found()[0] == run.id
    new = belonging.current(board, Session())
    assert (new.found, new.found_by, new.chosen) == (mask, run.id, EMPTY), "a new page knows it"
    odd = bench.store.new_run("search", "toy", {"pair": 3, "kind": "gate"})
    bench.store.finish(odd.id, "done", {"units": [1]})
    assert bench.newest_found()[0] == run.id, "a damaged row hides nothing"
    newer = {**run.settings["made"], "libraries": "torch 0"}
    monkeypatch.setattr(bench.pair, "_parts", {**bench.pair.parts, "libraries": "torch 1"})
    assert is_ours(board, replace(run, settings={**run.settings, "made": newer}))
    bench._pair = plant(Planting(6, (0, 2))).pair("one")
    assert bench.pair.spec == pairs[0].spec and not is_ours(board, run)
    assert found_run(board) is None is bench.newest_found("gate")
    assert not bench.found_by(run.id, mask)
    with monkeypatch.context() as broken:
        broken.setattr(bench, "newest_found", lambda: (_ for _ in ()).throw(StoreError("gone")))
        assert belonging.current(board, Session()).epoch == board.epoch, "the page opens anyway"
    assert not belonging.current(board, Session()).found, "other models know nothing of that set"
    told = belonging.whose(board, belonging.owner_of(run.settings["pair"]), "This run", ours=False)
    assert "<b>one</b> as it was" in told and "data-load" not in told, "it is loaded already"


def test_a_table_of_other_layers_says_so_and_offers_them(board, pairs):
    mine, mask = belonging.owner_of(pairs[0].spec), Mask.of([Unit(1), Unit(4)])
    assert belonging.under(board, mine, mask, mask) == ""
    told = belonging.under(board, mine, mask, EMPTY)
    assert "layers 1, 4" in told and "no layer" in told and "1.gate,4.gate" in told
    half = belonging.under(board, mine, mask, Mask.of(mask.units, 0.5))
    assert "the strip says layers 1, 4 at strength 0.50 now" in half, "not the same words twice"
    other = belonging.owner_of(pairs[1].spec)
    assert belonging.under(board, other, mask, EMPTY) == "", "of another pair `whose` speaks"


def test_a_load_is_announced_to_everyone_and_says_who_did_it(board, pairs):
    before = belonging.loaded(board)
    assert belonging.announced(board, Owner(), "me") == "", "the page has only just opened"
    board.workbench._pair = pairs[1]
    board.loaded_by = "me"
    assert "You loaded <b>two</b>" in belonging.announced(board, before, "me")
    told = belonging.announced(board, before, "you")
    assert "Someone else loaded <b>two</b>" in told and "data-load" in told


def test_a_finished_search_is_used_by_its_own_pair_alone(board, pairs):
    job = searched(board.workbench)
    tail = SearchStatus(board, [None] * 18)

    def seen():
        made = tail.view(job, ())
        return made[-1], any(value.get("visible") for value in made[8:11])

    line, usable = seen()
    assert line == "" and usable
    drawn = tail.view(job, ())[-3]
    board.workbench._pair = pairs[1]
    assert tail.view(job, drawn)[-1], "another pair draws anew though the search stands still"
    line, usable = seen()
    assert "This search is of <b>one</b>" in line and not usable
    board.workbench._pair = pairs[0]
    assert seen() == ("", True)


def test_a_conversation_keeps_its_pair_through_undo_and_through_a_file():
    talk = Talk(owner=Owner("one", "s", "t"))
    assert talk.undone().owner == talk.owner
    saved = ChatSession(talk.owner.as_dict(), "", talk=talk, found="1.gate,4.gate")
    assert ChatSession.from_json(saved.to_json()).found == "1.gate,4.gate"
    older = json.loads(saved.to_json())
    del older["found"]
    assert ChatSession.from_dict(older).found == ""


def test_a_link_knows_its_tab_and_the_found_set():
    from urllib.parse import parse_qsl

    saved = ChatSession(Owner("one", "s", "t").as_dict(), "1.gate", found="1.gate,4.gate")
    query = dict(parse_qsl(link_query(saved, "chat")))
    assert query["tab"] == "chat" and read_link(query).found == "1.gate,4.gate"
    with pytest.raises(SettingError):
        read_link({**query, "found": "x"})


# -- runs ---------------------------------------------------------------------------------------


def test_a_run_is_renamed_and_deleted_and_its_verdicts_stay(tmp_path, pairs):
    store = Store(tmp_path)
    run = store.new_run("search", "plain", {})
    store.add_trials(run.id, 0, [{"index": 0}])
    assert store.rename(run.id, checked_title("  my \n run ")).title == "my run"
    store.delete(run.id)
    assert not store.runs() and not store.trials(run.id)
    for call in (lambda: store.delete(run.id), lambda: store.rename(run.id, "x")):
        with pytest.raises(StoreError, match="no run is called"):
            call()
    for wrong in ("", "   ", "x" * 201, None, ["x"]):
        with pytest.raises(SettingError):
            checked_title(wrong)


def test_a_search_that_found_nothing_is_no_failure(board, pairs):
    bench = board.workbench
    bench._pair = plant(Planting(4, (1,), inhibitor=2, antidote=3)).pair("none")
    job = SearchJob(bench.pair, prompt_set(), SearchSettings(max_new_tokens=1), bench.store)
    with pytest.raises(NothingToLocalize):
        job.run()
    run = bench.store.run(job.id)
    assert run.outcome == "nothing found"
    told = opened(board, run)
    assert "Nothing found" in told and "every unit" in told and "note fail" not in told
    bench.store.finish(job.id, "failed", {"error": "the disk is full"})
    failed = bench.store.run(job.id)
    assert failed.outcome == "failed" and "note fail" in opened(board, failed)


def test_evaluations_stand_among_the_runs_and_are_opened_compared_and_taken_away(board, pairs):
    bench = board.workbench
    asked = {"dsr": prompt_set(4).prompts}
    masks = ("1.gate,4.gate", "1.gate")
    told = [
        bench.evaluation(EvaluationSettings(mask=mask, max_new_tokens=12, kl=False), sets=asked)
        for mask in masks
    ]
    job = searched(bench)
    runs = listing.stored(board)
    assert [run.kind for run in runs] == ["search", "evaluate", "evaluate"]
    first, second = (bench.store.run(found.run) for found in told)
    page = listing.draw(runs, first.id, board)
    assert page.count('data-do="beside"') == 1, "only another evaluation is set beside one"
    assert "evaluation by refusal rules, version 6" in page and "rules/6" not in page
    assert "Prefix bisection" in page and "bisect," not in page and "gates · " in page
    assert 'class="chosen"' in page
    body = opened(board, first)
    assert 'data-model="patched" data-measure="dsr"' in body and "layers 1, 4" in body
    assert mask_of(first) == Mask.of([Unit(1), Unit(4)])
    side = evaluated.beside(first, second, "a", "b")
    for found in told:
        assert f"{100 * found.rate('patched', 'dsr').value:.0f}\u202f%" in side
    same = evaluated.beside(first, first, "a", "b")
    assert "Every figure is the same in both." in same and "difference" not in same
    _, heads, rows, _ = tables.beside(first, second)
    assert {row["run"] for row in rows} == {"A", "B"} and set().union(*rows) <= set(heads)
    at = ("B", "patched", "dsr")
    (given,) = [r["value"] for r in rows if (r["run"], r["model"], r["row"]) == at]
    assert given == told[1].rate("patched", "dsr").value, "as it was measured, not as it is shown"
    _, _, rows, _ = tables.listed([*runs, replace(runs[0], result={"units": 3})])
    assert [row["id"] for row in rows] == [run.id for run in (*runs, runs[0])]
    assert rows[0]["layers"] == "layers 1, 4" and rows[1]["dsr"] is not None
    trials = bench.store.trials(first.id)
    name, text = taken.as_csv(first, trials)
    assert name.endswith(".csv") and len(text.splitlines()) == 2 + len(trials)
    body = json.loads(taken.as_json(bench.store.run(job.id), bench.store.trials(job.id))[1])
    assert body["outcome"] == "done" and len(body["trials"]) == len(job.report.trials)
    assert is_ours(board, first)
    bench._pair = pairs[1]
    assert not is_ours(board, first) and 'class="other"' in listing.draw(runs, dashboard=board)
