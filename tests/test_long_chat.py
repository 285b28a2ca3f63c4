"""A session of a thousand turns: neither the server's process nor the tab's own state grows."""

import gc
import inspect
import pickle

import psutil

from dapa.chat.sessions import Talk
from dapa.core.records import Mask, Unit
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.ui.dashboard import Dashboard
from dapa.ui.page import build
from dapa.ui.session import Session
from dapa.workbench import ChatSettings, Workbench

WARM, TURNS = 100, 1000
SETTINGS = {**ChatSettings().kept(), "tokens": 3}


def used():
    gc.collect()
    return psutil.Process().memory_info().rss


def test_a_thousand_turns_leave_memory_as_it_was(planted_pair, tmp_path):
    dashboard = Dashboard(Workbench(tmp_path, planted_pair))
    page = build(dashboard)
    (send,) = [row.fn for row in page.fns.values() if row.api_name == "chat_send"]
    assert next(iter(inspect.signature(send).parameters)) == "request"
    prompts = [*harmful_prompts(20), *harmless_prompts(20)]
    talk = Talk()

    def turns(first, count):
        nonlocal talk
        for i in range(first, first + count):
            mask = Mask.of(Unit(layer) for layer in (1, 2) if i >> layer & 1)
            here = Session(dashboard.epoch, mask)
            *_, last = send(None, prompts[i % len(prompts)], talk, here, **SETTINGS)
            talk = last[0]
        assert len(talk.last.panes) == 3 and all(pane.ending for pane in talk.last.panes)

    turns(0, WARM)
    before, kept = used(), len(pickle.dumps(talk))
    turns(WARM, TURNS)
    after = used()
    assert after <= 1.05 * before, f"{before / 2**20:.0f} MiB grew to {after / 2**20:.0f} MiB"
    assert len(pickle.dumps(talk)) <= 2 * kept and len(talk.rounds) == 1
