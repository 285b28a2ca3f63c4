"""Replies that the token limit ended are counted as cut, wherever a rate stands."""

import json
from dataclasses import replace

import pytest
from searched import AND, HARMLESS, planted_pair, prompt_set, searched

from dapa.cli.evaluating import told as table_of
from dapa.cli.searching import told as result_of
from dapa.core.masks import EMPTY, Mask
from dapa.core.rates import Rate
from dapa.core.records import Label, Verdict
from dapa.core.statistics import wilson
from dapa.judges.rules.judge import rules
from dapa.measure.decoded import Question, Speaker, answer
from dapa.measure.evaluating import TablePlan, evaluate
from dapa.prompts.format import PromptFormat
from dapa.search.engine.ledger import Ledger
from dapa.search.engine.oracle import oracle
from dapa.search.engine.report import SearchReport
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store
from dapa.store.verdicts import VerdictMemory
from dapa.ui.parts import rate as on_page
from dapa.ui.tabs.evaluate import scores
from dapa.ui.tabs.search import result
from dapa.writing.numbers import rate_text
from dapa.writing.sentences import cut_sentence, next_limit

FOUND = Mask.of(AND.units)
SHORT = 2
"""Tokens: no planted reply has ended by then."""


def evaluation(limit):
    sets = {"dsr": prompt_set().prompts[:8], "over_refusal": HARMLESS}
    plan = TablePlan(FOUND, max_new_tokens=limit)
    return evaluate(planted_pair(), sets, FOUND, rules(), plan=plan)


def test_every_rate_of_an_evaluation_counts_its_cut_replies_as_decoding_them_anew_does():
    found = evaluation(SHORT)
    for speaker in found.speakers:
        asked = [Question(Speaker(speaker.name, speaker.role, speaker.mask), p.text, PromptFormat())
                 for p in prompt_set().prompts[:8]]  # fmt: skip
        said = {}
        answer(planted_pair(), asked, SHORT, said.__setitem__)
        cut = sum(reply.ending == "length" for reply in said.values())
        assert found.rate(speaker.name, "dsr").cut == cut == 8
    body = json.loads(json.dumps(found.as_dict()))
    assert body["models"]["patched"]["dsr"]["cut"] == 8 and body["max_new_tokens"] == SHORT
    assert body["cut"]["student"]["value"] == 1.0
    assert found.replies[0].as_dict()["cut"] is True


def test_an_evaluation_whose_replies_were_cut_says_so_first_and_what_to_try():
    many = evaluation(SHORT)
    line = cut_sentence(many.cut, SHORT)
    assert "student 14 of 14" in line and "max new tokens 4" in line
    assert table_of(many)[0] == line
    page = scores.draw(many)
    assert 0 < page.index("cut at 2 tokens") < page.index("<table")
    whole = replace(many, replies=tuple(replace(r, cut=False) for r in many.replies))
    assert all(rate.cut == 0 for rate in whole.cut.values())
    assert not isinstance(table_of(whole)[0], str) and "cut at" not in scores.draw(whole)


def test_a_search_counts_cut_replies_and_a_second_one_knows_them_from_the_store(tmp_path):
    store, asked = Store(tmp_path), SearchSettings(max_new_tokens=6, check_supersets=False)
    reports = [SearchJob(planted_pair(), prompt_set(), asked, store) for _ in range(2)]
    first, again = (job.run() for job in reports)
    assert again.costs.prompts_judged == 0
    held = reports[0].held_out
    split = oracle(planted_pair(), held, asked.format(), 6, store)
    for name, mask in {"held_out": first.mask, "student_held_out": EMPTY}.items():
        known = split.memory.recall("full", mask)
        cut = sum(verdict.cut for verdict, _ in known.values())
        assert first.rates[name].cut == again.rates[name].cut == cut
    read = SearchReport.from_dict(json.loads(json.dumps(first.as_dict())))
    assert read.rates["held_out"].cut == first.rates["held_out"].cut is not None


def test_a_result_whose_replies_were_cut_says_so_first():
    job = searched()
    rates = {name: rate and replace(rate, cut=rate.n) for name, rate in job.report.rates.items()}
    cut = replace(job.report, rates=rates)
    shown = result.draw(cut, "gate", 6, None, None, 12)
    assert "Many replies were cut at 12 tokens" in shown
    assert shown.index("were cut") < shown.index('class="finding"')
    assert "student held out" in shown and "max new tokens 32" in shown
    assert result_of(job, cut)[0].startswith("Many replies were cut at 12")
    ended = replace(job.report, rates={name: replace(r, cut=0) for name, r in rates.items() if r})
    assert "were cut" not in result.draw(ended, "gate", 6, None)


def test_memory_of_an_older_store_does_not_know_how_replies_ended(tmp_path):
    memory = VerdictMemory(Store(tmp_path), "context", ["a", "b"])
    for prompt, cut in enumerate((True, None)):
        memory.commit("full", FOUND, prompt, Verdict(Label.REFUSAL, "r/1", cut=cut), "no", 3)
    known = memory.recall("full", FOUND)
    assert [known[i][0].cut for i in (0, 1)] == [True, None]
    ledger = Ledger(2)
    for prompt, (verdict, _) in known.items():
        ledger.add(FOUND, prompt, verdict)
    assert ledger.cut(FOUND) is None and ledger.rate(FOUND).cut is None


@pytest.mark.parametrize("limit, wanted", [(2, 4), (12, 32), (48, 128), (64, 128), (100, 256)])
def test_the_next_limit_is_a_power_of_two_at_least_twice_as_long(limit, wanted):
    assert next_limit(limit) == wanted >= 2 * limit


def test_a_rate_tells_cut_replies_where_there_are_some_and_is_the_same_rate():
    plain = wilson(3, 4)
    some = replace(plain, cut=2)
    assert rate_text(some).endswith("n = 4, 2 cut") and "cut" not in rate_text(plain)
    assert "2 cut" in on_page(some) and "2 cut" in on_page(some, with_n=False)
    assert some == plain and "cut" not in plain.as_dict() and some.as_dict()["cut"] == 2
    assert Rate(**some.as_dict()).cut == 2


def test_a_fifth_of_cut_replies_is_not_yet_many():
    assert cut_sentence({"student": replace(wilson(0, 10), cut=2)}, 64) == ""
    assert "3 of 10" in cut_sentence({"student": replace(wilson(0, 10), cut=3)}, None)
