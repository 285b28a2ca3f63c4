"""The layer strip: the product's steering wheel, drawn as buttons and obeyed by every tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dapa.core.html import Html, html, joined, when
from dapa.core.masks import HEADS
from dapa.core.records import EMPTY, ENDS, OUTSIDE, Mask, SettingError
from dapa.ui.dashboard import Dashboard, piece
from dapa.ui.parts import count_of, percent, titled
from dapa.ui.session import Session, Shape, entire, parts_of, state
from dapa.workbench import KIND_TITLES
from dapa.writing.numbers import size_text
from dapa.writing.unit_names import kind_text

_MOST = 6
"""Parts of a layer that its tip names."""
MANY = 40
"""Beyond so many layers cells are narrow, and every fifth is numbered."""
_PRESSED = {"none": "false", "part": "mixed", "all": "true"}
_TIPS = {"none": "student", "part": "partly transplanted", "all": "transplanted"}
_LINKS = ("none", "all", "found", "released", "invert", "undo", "redo")
_ORDER = (
    "layer", "mlp", "gate", "up", "down", "experts", "router", "shared", "shared_gate", "attention",
    "q", "k", "v", "qkv", "o", "q_norm", "k_norm", "norms", "input_layernorm",
    "post_attention_layernorm", "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)  # fmt: skip
_EXAMPLE = "3.head[7],4.kv[1],5.gate[0:64],6.mlp~8,7.attention@0.5"
_WRITTEN = (
    "Units by name: an attention head, a key and value head, neurons 0 to 63 of a gate, an MLP at "
    "rank 8, half of an attention. Enter applies."
)
_WORDS = {"released": "paper’s range"}
"""Links that are not called by their operation's name."""
_HINTS = {
    "found": "the layers that the last search found",
    "released": "whole MLPs of the paper's released scripts: a fixed range, scaled by depth where "
    "none was published",
}


def build() -> gr.HTML:
    """The strip, waiting for a pair."""
    with gr.Column(elem_id="strip-bar"):
        return piece(
            empty("The layers appear here once a pair is loaded."), "strip.js", elem_id="strip"
        )


def empty(line: str) -> Html:
    """The strip without a pair."""
    return html(
        '<section class="strip" aria-label="Transplanted layers"><div class="strip-top">'
        '<h2>Transplanted layers</h2></div><p class="strip-empty">{}</p></section>',
        line,
    )


def draw(dashboard: Dashboard, session: Session) -> Html:
    """The strip as HTML for this session's choices."""
    if not dashboard.workbench.loaded:
        return empty("The layers appear here once a pair is loaded.")
    pair = dashboard.workbench.pair
    try:
        moved = dashboard.workbench.share(session.mask)
    except SettingError:  # the pair was swapped a moment ago; the next tick draws anew
        moved = dashboard.workbench.share(EMPTY)
    share, size = percent(moved.fraction), size_text(moved.bytes)
    if any(unit.cut for unit in session.chosen.units):
        share = f"{moved.parameters:,} ({share})"
    if moved.energy is not None:
        size = html(
            "{}</b>, ranks keep <b>{}</b> of the squared difference<b>",
            size,
            percent(moved.energy),
        )
    return render(pair, session, share, size)


def render(pair: Shape, session: Session, share: str, size: str) -> Html:
    """The strip's HTML: counts, share, bytes, links, strength, and one row or a row per kind.

    `share` and `size` are written into bold tags.
    """
    totals = {kind: len(list(layers)) for kind, layers in pair.differs.items()}
    if session.chosen.entries:
        count = count_of(session.chosen.units, totals, pair.n_layers)
    else:
        count = html("<b>0</b> of {} {}", totals[session.kind], kind_text(session.kind, 2))
    rows = _row(pair, session, session.kind, "layer")
    equal = _equal(pair) if session.opened else ""
    caret = "Hide kinds of site" if session.opened else "Show kinds of site"
    if session.opened:
        there = [kind for kind in _ORDER if pair.differs.get(kind)]
        rows += joined(_row(pair, session, kind, KIND_TITLES[kind]) for kind in there)
        rows += _ends(pair, session)
    head, line = titled(session.mask)
    return html(
        '<section class="strip" aria-label="Transplanted layers" '
        'data-mask="{key}" data-head="{head}" data-line="{line}">'
        '<div class="strip-top">'
        '<button class="caret" data-op="open" aria-expanded="{opened}" '
        'aria-label="{caret}" title="{caret}">{sign}</button>'
        '<h2>Transplanted layers</h2><span class="count" role="status">{count} · <b>{share}</b> '
        "of parameters, <b>{size}</b></span>{links}{strength}{kinds}</div>"
        '<div class="strip-grid{open}{many}" role="grid" '
        'aria-label="Layers; arrows move, space toggles, shift extends" '
        'style="--n:{n}">{rows}</div>{equal}{named}</section>',
        key=session.mask.key, head=head, line=line, opened=str(session.opened).lower(), caret=caret,
        sign="▾" if session.opened else "▸", count=count, share=share, size=size,
        links=_links(pair, session), strength=_strength(session), kinds=_kinds(pair, session),
        open=" opened" if session.opened else "", many=" many" if pair.n_layers > MANY else "",
        n=pair.n_layers, rows=rows, equal=equal, named=_named(session),
    )  # fmt: skip


def _links(pair: Shape, session: Session) -> Html:
    able = {
        "found": bool(session.found.entries),
        "undo": bool(session.past),
        "redo": bool(session.future),
        "none": bool(session.chosen.entries),
        "released": bool(list(pair.differs.get("mlp", ()))),
    }
    buttons = [
        html(
            '<button class="link" data-op="{op}" title="{hints}"{able}>{word}</button>',
            op=op, word=_WORDS.get(op, op), hints=_HINTS.get(op, ""),
            able=when(not able.get(op, True), " disabled"),
        )
        for op in _LINKS
    ]  # fmt: skip
    return html('<span class="links">{}</span>', joined(buttons, " · "))


def _strength(session: Session) -> Html:
    value = f"{session.strength:.2f}"
    return html(
        '<label class="strength">strength <input type="range" min="0" max="1" step="0.05" '
        'value="{}" data-value="{}" aria-label="Strength of the transplant">'
        "<output>{}</output></label>",
        value, value, value,
    )  # fmt: skip


def _kinds(pair: Shape, session: Session) -> Html:
    if not session.opened:
        return html("")
    options = joined(
        html(
            '<option value="{}"{}{}>{}</option>',
            kind, when(kind == session.kind, " selected"), when(not list(layers), " disabled"),
            KIND_TITLES[kind],
        )
        for kind, layers in pair.differs.items()
        if kind not in (*ENDS, *HEADS)
    )  # fmt: skip
    return html(
        '<label>a layer is its <select data-kinds aria-label="Kind">{}</select></label>', options
    )


def _named(session: Session) -> Html:
    """The pressed units as text that can be changed: heads, blocks, ranks and blends have no cell.

    Empty while the strip is closed.
    """
    if not session.opened:
        return html("")
    key = session.chosen.key
    return html(
        '<label class="named">units <input type="text" data-units value="{key}" '
        'data-value="{key}" spellcheck="false" autocomplete="off" placeholder="{example}" '
        'title="{written}"></label>',
        key=key, example=_EXAMPLE, written=_WRITTEN,
    )  # fmt: skip


def _row(pair: Shape, session: Session, kind: str, label: str) -> Html:
    cells = joined(_cell(pair, session, layer, kind, label) for layer in range(pair.n_layers))
    whole = label == "layer" or len(parts_of(pair, kind)) > 1
    head = html('<span class="kind{}" role="rowheader">{}</span>', "" if whole else " one", label)
    sub = "" if label == "layer" else " sub"
    return html('<div class="strip-row{}" role="row">{}{}</div>', sub, head, cells)


def _ends(pair: Shape, session: Session) -> Html:
    """One row for what stands in no layer, a cell each; empty where none of it differs."""
    kinds = [kind for kind in ENDS if pair.differs.get(kind)]
    if not kinds:
        return html("")
    cells = joined(_cell(pair, session, OUTSIDE, kind, "end") for kind in kinds)
    return html(
        '<div class="strip-row sub ends" role="row">'
        '<span class="kind" role="rowheader">outside</span>{}</div>',
        cells,
    )


def _equal(pair: Shape) -> Html:
    """The kinds that no mask moves, greyed."""
    kinds = [KIND_TITLES[kind] for kind in _ORDER + ENDS if pair.differs.get(kind) == []]
    line = f"Equal in both models, never searched: {', '.join(kinds)}." if kinds else ""
    return html('<p class="strip-empty">{}</p>', line) if kinds else html("")


def _cell(pair: Shape, session: Session, layer: int, kind: str, label: str) -> Html:
    how = state(pair, session.chosen, layer, kind)
    if label == "layer" and how == "none" and layer in session.chosen.layers:
        how = "part"
    able = layer in pair.differs[kind]
    what = f"layer {layer}" if label == "layer" else f"layer {layer}, {KIND_TITLES[kind]}"
    if label == "end":
        what = KIND_TITLES[kind]
    tip = f"{what}: {_TIPS[how]}" if able else f"{what}: equal in both models"
    tip += _parts(session, layer) if how == "part" and label == "layer" else ""
    text = str(layer) if label == "layer" else {"none": "", "part": "part", "all": "✓"}[how]
    if pair.n_layers > MANY and label != "end":
        text = str(layer) if label == "layer" and layer % 5 == 0 else ""
    text = f"{what} {text}" if label == "end" else text
    disabled = when(not able, ' aria-disabled="true"')
    return html(
        '<span role="gridcell"><button type="button" aria-pressed="{pressed}" '
        'data-layer="{layer}" data-kind="{kind}" tabindex="-1" aria-label="{tip}"{disabled}>'
        "{text}</button></span>",
        pressed=_PRESSED[how], layer=layer, kind=kind, tip=tip, disabled=disabled, text=text,
    )  # fmt: skip


def _parts(session: Session, layer: int) -> str:
    """What a layer's cell cannot show, by name: ` (3.head[7], 3.gate@0.5)`; empty without."""
    fine = Mask(
        tuple((u, at) for u, at in session.chosen.entries if u.layer == layer and not entire(u, at))
    )
    names = fine.key.split(",") if fine.entries else []
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f" ({', '.join(names[:_MOST])}{more})" if names else ""


def operation(event: gr.EventData) -> dict[str, Any]:
    """What the browser asked for; SettingError if it is no operation at all."""
    data = getattr(event, "_data", None)
    if not isinstance(data, dict):
        raise SettingError("that was not an operation on layers; press one of the strip's cells")
    return data
