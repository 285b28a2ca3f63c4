"""What a search would cost: told before it starts, near to what it then takes, and not in vain."""

import json
import tempfile
from dataclasses import replace
from itertools import count
from threading import Event

import pytest
from searched import prompt_set, searched

from dapa.core.records import Mask, Unit
from dapa.search.algorithms import algorithms
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.control import Halted
from dapa.search.engine.predicate import PredicateRunner
from dapa.search.estimate import ReplyPace, estimate, simulated, timed
from dapa.search.job import SearchJob
from dapa.search.settings import SearchRules, SearchSettings
from dapa.store.runs import Store
from dapa.writing.sentences import estimate_sentence

UNITS = tuple(Unit(layer) for layer in range(16))
FULL = Mask.of(UNITS)
PACE = ReplyPace(compliance=30.0, opening=10.0, whole=20.0, seconds=0.01, cost=1.0)


def costs(name="bisect", prompts=40, held_out=20, rules=None, **chosen):
    return simulated(
        name, lambda prior: algorithms[name](prior=prior), UNITS, prompts, held_out,
        rules or SearchRules(), PACE, rows=16, **chosen,
    )  # fmt: skip


def test_timing_tells_lengths_and_pace_and_keeps_the_verdicts():
    memory, ticks = Notebook(), count()
    runner = PredicateRunner(
        lambda mask, prompt, mode: mask == FULL,
        rows=4,
        steps=lambda job: 3 if job.mask == FULL else 9,
    )
    pace = timed(Workload(6, runner, memory), FULL, clock=lambda: float(next(ticks)))
    assert (pace.compliance, pace.opening, pace.whole) == (9.0, 3.0, 3.0)
    assert pace.seconds == pace.cost / (6 * (9 + 3 + 3)) and pace.cost == 1.0
    assert len(memory.recall("opening", FULL)) == 6
    again = timed(Workload(6, runner, memory), FULL)
    assert again.compliance == 9.0 and runner.started == 36  # it really decoded once more


def test_a_stopped_timing_ends():
    stop = Event()
    stop.set()
    with pytest.raises(Halted):
        timed(Workload(6, PredicateRunner(lambda *_: True), Notebook()), FULL, stop=stop)


@pytest.mark.parametrize("name", ["ddmin-complement", "bisect", "weighted", "probdd"])
def test_ranges_are_ordered_and_the_same_each_time(name):
    found = costs(name)
    for told in (found.tests, found.tokens, found.seconds):
        assert 0 < told.low <= told.middle <= told.high
    assert found == costs(name)
    assert found.seconds.high >= found.tokens.high * PACE.seconds  # dropped rows cost time too


def test_more_prompts_and_budgets_show():
    assert costs(prompts=400, held_out=200).tokens.middle > 8 * costs().tokens.middle
    assert costs(rules=SearchRules(max_tests=3)).tests.high == 3
    assert costs(prompts=2, held_out=0).tests.low > 0
    assert costs(rules=SearchRules(max_kl=0.1, max_tokens=5)) == costs()  # those are not simulated


def test_gpu_seconds_are_told_where_there_are_gpus():
    body = replace(costs(), devices=2).as_dict()
    assert body["gpu_seconds"]["high"] == 2 * body["seconds"]["high"]
    assert "GPU" in estimate_sentence(body) and "GPU" not in estimate_sentence(costs().as_dict())


def test_an_estimate_is_told_in_one_breath_with_its_time_first():
    told = estimate_sentence(costs().as_dict())
    assert told.startswith("About ") and told.index("on this machine") < told.index("tests")
    assert len(told) < 200 and "middle" not in told and "bisect" not in told


def test_a_pairs_estimate_holds_its_search_and_begins_none():
    store, pair = Store(tempfile.mkdtemp()), searched().pair
    settings = SearchSettings(algorithm="bisect", max_new_tokens=12)
    told = estimate(pair, prompt_set(), settings, store)
    assert store.runs() == [] and told.units == 6 and (told.prompts, told.held_out) == (12, 12)
    costs = SearchJob(pair, prompt_set(), settings, store).run().costs
    assert told.tests.low <= costs.tests <= told.tests.high
    asked = costs.tokens + 24 * 12  # the timing's verdicts were recalled
    assert 0.5 * told.tokens.low <= asked <= 2 * told.tokens.high
    assert costs.recalled >= 24


def test_the_command_tells_it_and_keeps_no_run(planted_folders, tmp_path, capsys):
    from dapa.cli import main
    from dapa.planted.pairs import harmful_prompts

    prompts = tmp_path / "harmful.txt"
    prompts.write_text("\n".join(harmful_prompts(20)))
    student, teacher = map(str, planted_folders)
    options = ["--student", student, "--teacher", teacher, "--prompts", str(prompts),
               "--run-dir", str(tmp_path / "runs")]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        main(["search", *options, "--estimate", "--json", "-"])
    body = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and body["tests"]["low"] >= 1 and body["gpu_seconds"]["high"] == 0
    with pytest.raises(SystemExit):
        main(["search", *options, "--estimate"])
    assert "on this machine" in capsys.readouterr().out
    assert Store(tmp_path / "runs").runs() == []
