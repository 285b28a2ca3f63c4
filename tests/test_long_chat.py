"""A session of a thousand turns: neither the server's process nor the tab's own state grows."""

import gc
import inspect
import pickle
import tempfile

import gradio as gr
import psutil
import pytest

from dapa.chat.sessions import Talk
from dapa.core.records import Mask, Unit
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.ui.dashboard import Dashboard
from dapa.ui.page import build
from dapa.ui.session import Session
from dapa.workbench import ChatSettings, Workbench

WARM = 60
SETTINGS = {**ChatSettings().kept(), "tokens": 3}


def used():
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize("many", [140, pytest.param(1000, marks=pytest.mark.full)])
def test_a_long_session_leaves_memory_as_it_was(planted_pair, tmp_path, many):
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
    turns(WARM, many)
    after = used()
    assert after <= 1.05 * before, f"{before / 2**20:.0f} MiB grew to {after / 2**20:.0f} MiB"
    assert len(pickle.dumps(talk)) <= 2 * kept and len(talk.rounds) == 1


@pytest.mark.parametrize("turns", [150, pytest.param(1000, marks=pytest.mark.full)])
def test_a_conversation_that_goes_on_keeps_memory_and_temporary_files_bounded(
    planted_pair, tmp_path, monkeypatch, turns, capsys
):
    """It fills its context again and again; then it is told so, and cleared."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    dashboard = Dashboard(Workbench(tmp_path / "runs", planted_pair))
    (send,) = [r.fn for r in build(dashboard).fns.values() if r.api_name == "chat_send"]
    prompts = [*harmful_prompts(20), *harmless_prompts(20)]
    here = Session(dashboard.epoch, Mask.of([Unit(1)]))
    talk, full, longest, before = Talk(), 0, 0, 0
    for i in range(turns):
        try:
            *_, last = send(None, prompts[i % 40], talk, here, **{**SETTINGS, "goes_on": True})
            talk = last[0]
        except gr.Error as error:
            assert "the conversation is full" in str(error.message)
            full, talk = full + 1, Talk()
        longest = max(longest, len(talk.rounds))
        if i == turns // 5:
            before = used()
    after = used()
    assert full > 1 and longest > 3, "it went on, and filled its context"
    assert after <= 1.1 * before, f"{before / 2**20:.0f} MiB grew to {after / 2**20:.0f} MiB"
    assert not list(folder.rglob("*"))
    with capsys.disabled():
        print(f"\n{turns:,} turns, {full} conversations filled: {before / 2**20:.0f} MiB, then "
              f"{after / 2**20:.0f} MiB, no temporary file")  # fmt: skip
