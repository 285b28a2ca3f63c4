"""Curtailed, batched, resumed and plain searches of real planted pairs end alike."""

from random import Random

import pytest
from support import BASE, sweep

from dapa.judges.base import judges
from dapa.model.template import encode, render
from dapa.planted.pairs import harmful_prompts, plant
from dapa.planted.planting import random_planting
from dapa.prompts.format import PromptFormat, Turn
from dapa.search.algorithms import algorithms
from dapa.search.engine.contract import Notebook, Workload
from dapa.search.engine.control import Control
from dapa.search.engine.driver import Driver
from dapa.search.engine.pair_runner import PairRunner
from dapa.search.settings import SearchRules

KINDS = ("and", "or", "inhibitor", "distractors")
NAMES = ("ddmin", "ddmin-complement", "bisect", "probdd", "hierarchical")
CASES = [(KINDS[i % 4], BASE[i // 4 % len(BASE)], NAMES[i % len(NAMES)], i) for i in range(50)]
PROMPTS = 7
COSTS = {
    "speculative", "prompts_judged", "prompts_spared", "recalled", "recalled_tokens", "tokens",
    "seconds", "phases", "gpu_seconds", "eta_error", "work", "settings",
}  # fmt: skip


class Cut(Notebook):
    """Stops the search after so many verdicts."""

    def __init__(self, control, verdicts):
        super().__init__()
        self.control, self.left = control, verdicts

    def commit(self, *said):
        super().commit(*said)
        self.left -= 1
        if self.left == 0:
            self.control.stop()


@pytest.mark.parametrize(("kind", "family", "name", "seed"), sweep(CASES))
def test_the_ways_of_driving_agree(kind, family, name, seed):
    planting = random_planting(seed, kind, layers=6 + seed % 4)
    pair = plant(planting, family, seed).pair(f"{kind}-{seed}")
    texts, how = harmful_prompts(PROMPTS, seed), PromptFormat()
    ids = [encode(pair, render(pair, [Turn("user", text)], how), how) for text in texts]

    def drive(rows, memory=None, control=None, **chosen):
        runner = PairRunner(pair, texts, ids, judges["opening"](), judges["rules"](), 12, rows)
        split = Workload(PROMPTS, runner, memory or Notebook())
        report = Driver(
            algorithms[name](seed=seed),
            pair.units("gate"),
            split,
            settings=SearchRules(full_length=False, **chosen),
            control=control,
            algorithm=name,
        ).run()
        return report, {k: v for k, v in report.as_dict().items() if k not in COSTS}

    plain_report, plain = drive(PROMPTS, curtail=False, eager=False)  # one candidate at a time
    assert plain["one_minimal"]
    assert planting.refuses(set(plain["layers"]))
    assert not any(planting.refuses(set(plain["layers"]) - {n}) for n in plain["layers"])
    assert drive(3, eager=False)[1] == plain, "curtailed"
    batched_report, batched = drive(16, lookahead=2)
    assert batched == plain, "batched"
    assert batched_report.costs.prompts_judged <= plain_report.costs.prompts_judged * 2
    control = Control()
    memory = Cut(control, Random(seed).randrange(1, batched_report.costs.prompts_judged))
    drive(16, memory, control)
    resumed_report, resumed = drive(16, memory)
    assert resumed == plain, "resumed"
    assert resumed_report.costs.recalled > 0
