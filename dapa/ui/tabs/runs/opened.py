"""One stored run as HTML: what a search found, or an evaluation's table."""

from __future__ import annotations

from typing import Any

from dapa.core.html import Html, html
from dapa.core.records import Mask, Rate, Trial
from dapa.ui import replay
from dapa.ui.belonging import is_ours
from dapa.ui.dashboard import Dashboard
from dapa.ui.parts import note, rate, seconds, table, title
from dapa.ui.tabs.runs import evaluated
from dapa.ui.tabs.runs.listing import how, pair_of
from dapa.ui.tabs.search import certified, certifying, result
from dapa.workbench import AGAIN, KIND, Run, SearchReport, kinds_from


def opened(dashboard: Dashboard, run: Run) -> Html:
    """Its result and what it cost."""
    head = title(run.title, f"{pair_of(run.settings)} · {run.id}")
    try:
        return head + _told(dashboard, run)
    except (LookupError, TypeError, ValueError, AttributeError):
        return head + note("What is stored of this run cannot be read; delete it below.", "fail")


def _told(dashboard: Dashboard, run: Run) -> Html:
    if run.outcome == "nothing found":
        return _nothing(run)
    if run.state == "failed":
        return note((run.result or {}).get("error") or "it failed", "fail")
    if run.kind == KIND:
        if not (run.result or {}).get("models"):
            return _unfinished(dashboard, run)
        return evaluated.draw(run)
    found = result.report_of(run)
    if found is None or not found.units:
        return _unfinished(dashboard, run)
    return _search(dashboard, run, found)


def mask_of(run: Run) -> Mask | None:
    """What a press may put on the strip; None where the run has nothing to put there."""
    if run.kind == KIND:
        return evaluated.mask_of(run) or None
    found = result.report_of(run)
    return found.mask if found and found.units else None


def _nothing(run: Run) -> Html:
    """A search that ended with the finding that there is nothing here to find."""
    told = run.result or {}
    scores = table(
        ("DSR", ""),
        [(words, rate(Rate(**told[key]))) for key, words in _BOTH if told.get(key)],
    )
    plain = str(told.get("error") or "").removeprefix("nothing to localize: ")
    why = plain.partition(" (student DSR")[0].partition("; try --")[0]
    return title("Nothing found", f"{why[:1].upper() + why[1:]}.") + scores


_BOTH = (("student", "student"), ("full", "every unit"))


def _unfinished(dashboard: Dashboard, run: Run) -> Html:
    way = "resume it below" if is_ours(dashboard, run) else "load its pair to resume it"
    if run.kind == KIND:
        way = "start it again in Evaluate"
    return note(
        html(
            "This run has no result: it is still going, or it was killed; nothing that was judged "
            "is lost. You can {}, or with "
            "<code>python -m dapa runs resume {}</code>.",
            way,
            run.id,
        )
    )


def _search(dashboard: Dashboard, run: Run, found: SearchReport) -> Html:
    searched = str(run.settings.get("kind") or "gate")
    kind = result.kind_of(found.mask, searched)
    limit = run.settings.get("max_new_tokens")
    if found.confidence is not None:
        again = dashboard.workbench.store.rating(AGAIN, run.id)
        return certified.head(found, kind, limit, again)
    share, total = _share(dashboard, run, kind, found)
    costs = found.costs
    cost = (
        f"{costs.tests} tests, {costs.prompts_judged:,} prompts judged, {costs.tokens:,} tokens, "
        f"{seconds(costs.seconds)}"
    )
    kinds = kinds_from(run.result)
    return result.draw(found, kind, total, share, limit=limit, kinds=kinds) + note(cost)


def below(run: Run) -> Html:
    """What stands under a confidence search's picture."""
    found = result.report_of(run) if run.kind == "search" else None
    if found is None or found.confidence is None:
        return html("")
    kind = result.kind_of(found.mask, str(run.settings.get("kind") or "gate"))
    return certified.below(found, kind, kinds_from(run.result))


def picture(dashboard: Dashboard, run_id: str, dark: bool) -> Any:
    """A stored confidence search's picture; hidden for any other run."""
    run = dashboard.workbench.store.run(run_id) if run_id else None
    found = result.report_of(run) if run is not None and run.kind == "search" else None
    if run is None or found is None:
        return certifying.picture(None, None, ("", ""), dark)
    student = found.rates.get("student_held_out") or found.rates.get("student")
    where = f"{run.title} · seed {run.settings.get('seed', 0)} · {run.id}"
    return certifying.picture(found.confidence, student, (run.id, where), dark)


def replayed(dashboard: Dashboard, run: Run) -> str:
    """A stored search's tests for the picture."""
    if run.kind != "search":
        return ""
    trials = [Trial.from_dict(trial) for trial in dashboard.workbench.store.trials(run.id)]
    found = result.report_of(run)
    tests = found.costs.tests if found else None
    target = found.target if found else None
    return replay.encode(run.id, how(run), trials, target=target, tests=tests)


def _share(
    dashboard: Dashboard, run: Run, kind: str, found: SearchReport
) -> tuple[float | None, int]:
    """Share of parameters and number of units; None and 0 where neither run nor pair tells."""
    if found.moves:
        return float(found.moves["fraction"]), int(found.moves["units"])
    if not is_ours(dashboard, run):
        return None, 0
    pair = dashboard.workbench.pair
    return pair.share(found.mask).fraction, len(pair.differs.get(kind, ()))
