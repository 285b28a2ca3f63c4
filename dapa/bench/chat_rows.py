"""d: the first visible text of three panes, against three streamers one after another."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

from dapa.bench.rivals import Copied, one_after_another
from dapa.bench.row import BenchRow, share, wrong
from dapa.bench.scene import Scene, own_gates
from dapa.bench.timing import now
from dapa.chat.conversation import PANES, Voice, converse
from dapa.core.records import Mask
from dapa.judges.base import judges
from dapa.model.decode.sampling import Decoding
from dapa.model.template import encode, render
from dapa.prompts.format import Turn

RIVAL = "three TextIteratorStreamers, one after another"


def _ours(scene: Scene, text: str, mask: Mask, judge: Any) -> tuple[dict[str, float], dict]:
    first: dict[str, float] = {}
    texts: dict[str, str] = {}
    start = now(scene.device)
    turns = {name: [Turn("user", text)] for name in PANES}
    decoding = Decoding(scene.size.tokens)
    for exchange in converse(scene.pair, turns, mask, judge, Voice(scene.how, decoding)):
        for pane in exchange.panes:
            if pane.text.strip() and pane.name not in first:
                first[pane.name] = now(scene.device) - start
            texts[pane.name] = pane.text
    return first, texts


def _theirs(
    scene: Scene, text: str, models: dict[str, Any]
) -> tuple[dict[str, float], dict[str, str]]:
    start = now(scene.device)
    ids = encode(scene.pair, render(scene.pair, [Turn("user", text)], scene.how), scene.how)
    spent = now(scene.device) - start
    first, texts = one_after_another(models, scene.tokenizer, ids, scene.size.tokens)
    return {name: seconds + spent for name, seconds in first.items()}, texts


def rows(scene: Scene, goals: tuple[str, str] = ("<= 0.7", "<= 0.6")) -> Iterator[BenchRow]:
    """d1 the first pane, d2 the last of three; the planted gates are patched."""
    mask, judge, text = Mask.of(scene.planting.units), judges["rules"](), scene.texts[0]
    student, teacher = scene.rivals
    patched = Copied(own_gates(student), teacher, scene.pair.family)
    patched.transplant(set(scene.planting.needed))
    models = dict(zip(PANES, (student, patched.model, teacher), strict=True))
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    same = True
    for turn in range(1 + scene.rounds):
        mine, said = _ours(scene, text, mask, judge)
        other, told = _theirs(scene, text, models)
        same = same and all(said[n].strip() == told[n].strip() for n in PANES)
        if turn:
            ours.append((min(mine.values()), max(mine.values())))
            theirs.append((min(other.values()), max(other.values())))
    what = f"first visible text of the {{}} pane, three replies of up to {scene.size.tokens} tokens"
    for i, (name, place) in enumerate((("d1", "first"), ("d2", "last"))):
        if not same:
            yield wrong(name, what.format(place), "s", RIVAL, goals[i], "the replies differ")
            continue
        mine_s, theirs_s = (median(x[i] for x in side) for side in (ours, theirs))
        yield share(name, what.format(place), mine_s, RIVAL, theirs_s, goals[i], "s")
