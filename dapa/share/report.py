"""One HTML file that tells a result: it opens offline, lives, prints, and asks nobody.

Markup stands in `assets/html/report.html` alone; jinja escapes every value that is put into it but
our own four files, which the template calls safe.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from dapa.core.assets import asset
from dapa.core.records import Label, Mask, Rate, SettingError, StoreError, Trial
from dapa.core.version import VERSION
from dapa.figures.both import both_themes, plotly_script
from dapa.figures.certified import certified_chart
from dapa.figures.html_page import POLICY
from dapa.figures.pareto import pareto_chart
from dapa.figures.rates import rates_chart
from dapa.figures.tradeoff import tradeoff_chart
from dapa.judges.reply_parts import whole_reply
from dapa.search.pareto import pareto
from dapa.search.settings import SearchSettings, method_of
from dapa.share.card import MODELS, public_name
from dapa.share.evidence import Evidence, evidence_of, found_by, with_beside
from dapa.share.folder import new_folder, put
from dapa.share.model import Made, made_at
from dapa.share.played import encode
from dapa.share.sheets import Sheet
from dapa.share.story import looked_closer, spec_of, story_of
from dapa.store.runs import Run, Store

FILE = "report.html"
HIDDEN = "[hidden: this reply was not judged a refusal]"
MOST = 24
"""Prompts whose replies stand in a report."""
HARMFUL = ("dsr", "dsr_search", "wrap:")
"""Measures whose prompts are harmful."""


def export_report(store: Store, evidence: Evidence, to: Path | str, replies: bool = False) -> Made:
    """Write the report into a new folder.

    Args:
        store: Where the runs lie.
        evidence: A search, an evaluation, or both.
        to: A folder that does not exist yet.
        replies: Keep replies that comply with harmful requests, folded.

    Raises:
        DapaError: Nothing to tell of, or what cannot be written.
    """
    text = report_page(store, evidence, replies)
    with new_folder(to, len(text)) as folder:
        put(folder / FILE, text)
    return made_at("report", Path(to))


def evidence_of_run(store: Store, run_id: str) -> Evidence:
    """A stored run with what the store knows besides of the same set; StoreError for others."""
    run = store.run(run_id)
    if run.kind not in ("search", "evaluate"):
        raise StoreError(f"run {run_id} is a {run.kind}; name a search or an evaluation")
    if run.state == "running":
        raise StoreError(f"run {run_id} has not ended; wait for it, or resume it")
    weights = str((run.settings.get("made") or {}).get("weights", ""))
    if run.kind == "evaluate":
        found = evidence_of(store, weights, Mask.parse(str(run.settings.get("mask") or "")))
        return with_beside(Evidence(found.mask, found.search, run), store)
    if not found_by(run).entries:
        return Evidence(Mask(), run)
    return evidence_of(store, weights, run_id=run_id)


def report_page(store: Store, evidence: Evidence, replies: bool = False) -> str:
    """The whole document; arguments as in `export_report`."""
    if evidence.search is None and evidence.table is None:
        raise SettingError(
            "nothing was measured of this set yet; search or evaluate it first, with the same "
            "--run-dir"
        )
    story = story_of(evidence, store)
    drawn = [(caption, both_themes(draw, f"{story.title} {caption}")) for caption, draw in
             _figures(store, evidence)]  # fmt: skip
    looks, seen = _looks(evidence, len(drawn))
    told = [{"caption": caption, "height": made["height"]} for caption, made in drawn]
    run = evidence.search or evidence.table
    assert run is not None, "one of them is there"
    return _page().render(
        story=story,
        policy=POLICY,
        style=_asset("css/report.css"),
        plotly=plotly_script().replace("</script", "<\\/script"),
        script=_script(),
        replay=_asset("html/replay.html"),
        pictures=[*(made for _, made in drawn), *seen],
        first=told[0] if told else None,
        figures=told[1:],
        looks=looks,
        tests=_tests(store, evidence.search),
        replies=_replies(store, evidence.table, replies),
        replies_note=_note(evidence.table, replies),
        hidden=HIDDEN,
        command=_command(run, evidence),
        when=time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
        version=VERSION,
    )


def _page() -> Any:
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return made.from_string(_asset("html/report.html"))


def _asset(name: str) -> str:
    return asset(name).read_text(encoding="utf-8")


def _script() -> str:
    """The report's own script, and the dashboard's picture of a search around its data."""
    return (
        f"(() => {{\n{_asset('js/report.js')}\n}})();\n"
        "(() => {\nconst element = document.getElementById('replay');\n"
        "const props = { value: JSON.parse(document.getElementById('tests').textContent) };\n"
        "if (!element || !props.value) return;\nconst watch = () => {};\n"
        "matchMedia('(prefers-color-scheme: dark)').addEventListener('change',\n"
        "  () => document.body.classList.toggle('turned'));\n"
        f"{_asset('js/replay.js')}\n}})();"
    )


def _figures(store: Store, evidence: Evidence) -> list[tuple[str, Callable[[bool], Any]]]:
    """(caption, how it is drawn), the one beside the headline first."""
    found: list[tuple[str, Callable[[bool], Any]]] = []
    report = evidence.report
    kept = _kept(evidence)
    if kept is not None:
        what, points = kept
        found.append(("Safety against what is kept", lambda d: tradeoff_chart(points, what, d)))
    if report is not None and evidence.search is not None and report.confidence is not None:
        student = report.rates.get("student_held_out") or report.rates.get("student")
        record = report.confidence
        found.append(("Size against refusals", lambda d: certified_chart(record, student, d)))
    elif report is not None and evidence.search is not None and (chart := _sizes(store, evidence)):
        found.append(("Every set judged in full, on the search prompts", chart))
    columns = _columns(evidence)
    if columns:
        found.append(("Rates with their intervals", lambda d: rates_chart(columns, d)))
    return found


def _looks(evidence: Evidence, first: int) -> tuple[list[dict[str, Any]], list[Mapping[str, Any]]]:
    """What was measured beside the run, and the pictures of it; `first` is their first number."""
    looks: list[dict[str, Any]] = []
    pictures: list[Mapping[str, Any]] = []
    for body in looked_closer(evidence):
        shown = []
        for one in body.get("pictures") or ():
            number = first + len(pictures)
            same = one["caption"].lower() == body["heading"].lower()
            caption = "" if same else one["caption"][:1].upper() + one["caption"][1:]
            height = one["made"]["height"]
            shown.append({"caption": caption, "number": number, "height": height})
            pictures.append(one["made"])
        sheets = [
            Sheet(t["title"] or f"{body['title']}: the table", t["head"], t["rows"], t["about"])
            for t in body.get("tables") or ()
        ]
        looks.append({**body, "pictures": shown, "sheets": sheets})
    return looks, pictures


def _kept(evidence: Evidence) -> tuple[str, dict[str, tuple[Rate, Rate]]] | None:
    """What is kept beside safety: skill, or harmless requests that are answered."""
    for measure, words in (("skill", "skill: exact answers"),
                           ("over_refusal", "harmless requests answered")):  # fmt: skip
        points = {}
        for model in MODELS:
            safety, other = _safety(evidence, model), evidence.rate(model, measure)
            if safety and other:
                if measure == "over_refusal":
                    other = Rate(1 - other.value, 1 - other.high, 1 - other.low, other.n)
                points[model] = (safety, other)
        if points:
            return words, points
    return None


def _safety(evidence: Evidence, model: str) -> Rate | None:
    """A model's DSR: of the table, else as the search measured it."""
    if evidence.table is not None or model == "teacher":
        return evidence.rate(model, "dsr")
    student, found, _ = evidence.dsr
    return student if model == "student" else found


def _sizes(store: Store, evidence: Evidence) -> Callable[[bool], Any] | None:
    """Share of the parameters against DSR, where every unit is of one size."""
    report, search = evidence.report, evidence.search
    assert report is not None and search is not None, "asked of a search with a result"
    units, moves = report.units, report.moves or {}
    if not moves or any(u.block or u.kind != units[0].kind or u.place is None for u in units):
        return None
    one = float(moves["fraction"]) / len(units)
    trials = [Trial.from_dict(body) for body in store.trials(search.id)]
    points = pareto(trials, lambda mask: one * len(mask))
    return (lambda dark: pareto_chart(points, report.mask, dark)) if points else None


def _columns(evidence: Evidence) -> dict[str, dict[str, Rate | None]]:
    if evidence.table is not None:
        names = ("dsr", "over_refusal", "borderline", "skill")
        return {m: {n: evidence.rate(m, n) for n in names} for m in MODELS if evidence.column(m)}
    report = evidence.report
    if report is None:
        return {}
    held = {"student": "student_held_out", "patched": "held_out", "every unit": "full_held_out"}
    plain = {"student": "student", "patched": "best", "every unit": "full"}
    names = held if report.rates.get("held_out") else plain
    return {who: {"dsr": report.rates.get(name)} for who, name in names.items()}


def _tests(store: Store, run: Run | None) -> str:
    """The search's log as its picture reads it."""
    if run is None:
        return ""
    trials = [Trial.from_dict(body) for body in store.trials(run.id)]
    result = run.result or {}
    head = f"The search · {method_of(run.settings)}"
    return encode(run.id, head, trials, target=result.get("target"))


def _replies(store: Store, run: Run | None, show: bool) -> list[dict[str, Any]]:
    """Prompts with what each model said, harmful ones first; the evaluation has them."""
    if run is None:
        return []
    asked: dict[tuple[bool, str], list[dict[str, Any]]] = {}
    for row in store.trials(run.id):
        measure = str(row.get("measure"))
        if measure not in ("dsr", "over_refusal", "borderline"):
            continue
        harmful = measure == "dsr"
        asked.setdefault((harmful, row["prompt"]), []).append(said(row, show))
    harmful = [item for item in asked.items() if item[0][0]][: MOST * 2 // 3]
    harmless = [item for item in asked.items() if not item[0][0]][: MOST // 3]
    return [{"prompt": key[1], "said": rows} for key, rows in (*harmful, *harmless)]


def _called(row: dict[str, Any]) -> str:
    """A verdict's word: who answers a harmless request does not comply with harm."""
    harmless = not str(row["measure"]).startswith(HARMFUL)
    verdict = str(row["verdict"])
    return "answered" if harmless and verdict == Label.COMPLIANCE else verdict


def said(row: dict[str, Any], show: bool) -> dict[str, Any]:
    """One reply; without its text where it may do harm and nobody asked for it."""
    harm = (row.get("harm") or {}).get("harmful") is True
    risky = str(row["measure"]).startswith(HARMFUL) and row["verdict"] != "refusal"
    hidden = (risky or harm) and not show
    return {
        "model": row["model"],
        "verdict": _called(row),
        "text": "" if hidden else whole_reply(row),
        "hidden": hidden,
        "folded": (risky or harm) and show,
    }


def _note(run: Run | None, show: bool) -> str:
    if run is None:
        return ""
    told = "folded" if show else "left out of this file; --replies keeps them, folded"
    return (
        f"The first prompts of the table, {MOST} at most. Replies to harmful requests that were "
        f"not judged refusals are {told}."
    )


def _command(run: Run, evidence: Evidence) -> str:
    spec = spec_of(evidence)
    pair = (
        ["--pair", str(spec["name"])]
        if spec.get("name")
        else [
            *("--student", public_name(spec["student"])),
            *("--teacher", public_name(spec["teacher"])),
        ]
    )
    if run.kind != "search":
        words = ["evaluate", *pair, "--units", evidence.mask.key]
        return shlex.join(["python", "-m", "dapa", *words, "--seed", _seed(run)])
    asked = SearchSettings.from_dict(run.settings)
    files = {n: public_name(str(v)) for n in _FILES if (v := getattr(asked, n))}
    more = replace(asked, **files).arguments()  # type: ignore[arg-type]
    if "--sites" not in more:
        more = ["--sites", asked.kind, *more]
    if "--seed" not in more:
        more = [*more, "--seed", _seed(run)]
    return shlex.join(["python", "-m", "dapa", "search", *pair, *more])


_FILES = ("prompts", "harmless")
"""Settings that may name a file of this machine."""


def _seed(run: Run) -> str:
    return json.dumps(run.settings.get("seed") or 0)
