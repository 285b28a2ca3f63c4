"""The layer strip: the product's steering wheel, drawn as buttons and obeyed by every tab."""

from __future__ import annotations

from typing import Any

import gradio as gr

from dapa.core.masks import HEADS
from dapa.core.records import EMPTY, ENDS, OUTSIDE, Mask, SettingError
from dapa.ui.dashboard import Dashboard, piece
from dapa.ui.parts import count_of, esc, percent, titled
from dapa.ui.session import Session, Shape, entire, parts_of, state
from dapa.workbench import KIND_TITLES
from dapa.writing.sentences import kind_text, size_text

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


def empty(line: str) -> str:
    """The strip without a pair."""
    return (
        '<section class="strip" aria-label="Transplanted layers"><div class="strip-top">'
        f'<h2>Transplanted layers</h2></div><p class="strip-empty">{line}</p></section>'
    )


def draw(dashboard: Dashboard, session: Session) -> str:
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
        size += f"</b>, ranks keep <b>{percent(moved.energy)}</b> of the squared difference<b>"
    return render(pair, session, share, size)


def render(pair: Shape, session: Session, share: str, size: str) -> str:
    """The strip's HTML: counts, share, bytes, links, strength, and one row or a row per kind.

    `share` and `size` are written into bold tags.
    """
    totals = {kind: len(list(layers)) for kind, layers in pair.differs.items()}
    if session.chosen.entries:
        count = count_of(session.chosen.units, totals, pair.n_layers)
    else:
        count = f"<b>0</b> of {totals[session.kind]} {esc(kind_text(session.kind, 2))}"
    rows = _row(pair, session, session.kind, "layer")
    equal = _equal(pair) if session.opened else ""
    caret = "Hide kinds of site" if session.opened else "Show kinds of site"
    if session.opened:
        there = [kind for kind in _ORDER if pair.differs.get(kind)]
        rows += "".join(_row(pair, session, kind, KIND_TITLES[kind]) for kind in there)
        rows += _ends(pair, session)
    head, line = titled(session.mask)
    return (
        '<section class="strip" aria-label="Transplanted layers" '
        f'data-mask="{esc(session.mask.key)}" data-head="{esc(head)}" data-line="{esc(line)}">'
        '<div class="strip-top">'
        f'<button class="caret" data-op="open" aria-expanded="{str(session.opened).lower()}" '
        f'aria-label="{caret}" title="{caret}">{"▾" if session.opened else "▸"}</button>'
        f'<h2>Transplanted layers</h2><span class="count" role="status">{count} · <b>{share}</b> '
        f"of parameters, <b>{size}</b></span>{_links(pair, session)}{_strength(session)}"
        f"{_kinds(pair, session)}</div>"
        f'<div class="strip-grid{" opened" if session.opened else ""}'
        f'{" many" if pair.n_layers > MANY else ""}" role="grid" '
        f'aria-label="Layers; arrows move, space toggles, shift extends" '
        f'style="--n:{pair.n_layers}">{rows}</div>{equal}{_named(session)}</section>'
    )


def _links(pair: Shape, session: Session) -> str:
    able = {
        "found": bool(session.found.entries),
        "undo": bool(session.past),
        "redo": bool(session.future),
        "none": bool(session.chosen.entries),
        "released": bool(list(pair.differs.get("mlp", ()))),
    }
    buttons = [
        f'<button class="link" data-op="{op}" title="{_HINTS.get(op, "")}"'
        f"{'' if able.get(op, True) else ' disabled'}>"
        f"{op}</button>"
        for op in _LINKS
    ]
    return f'<span class="links">{" · ".join(buttons)}</span>'


def _strength(session: Session) -> str:
    value = f"{session.strength:.2f}"
    return (
        '<label class="strength">strength <input type="range" min="0" max="1" step="0.05" '
        f'value="{value}" data-value="{value}" aria-label="Strength of the transplant">'
        f"<output>{value}</output></label>"
    )


def _kinds(pair: Shape, session: Session) -> str:
    if not session.opened:
        return ""
    options = "".join(
        f'<option value="{kind}"{" selected" if kind == session.kind else ""}'
        f"{'' if list(layers) else ' disabled'}>{KIND_TITLES[kind]}</option>"
        for kind, layers in pair.differs.items()
        if kind not in (*ENDS, *HEADS)
    )
    return f'<label>a layer is its <select data-kinds aria-label="Kind">{options}</select></label>'


def _named(session: Session) -> str:
    """The pressed units as text that can be changed: heads, blocks, ranks and blends have no cell.

    Empty while the strip is closed.
    """
    if not session.opened:
        return ""
    key = esc(session.chosen.key)
    return (
        f'<label class="named">units <input type="text" data-units value="{key}" '
        f'data-value="{key}" spellcheck="false" autocomplete="off" placeholder="{_EXAMPLE}" '
        f'title="{_WRITTEN}"></label>'
    )


def _row(pair: Shape, session: Session, kind: str, label: str) -> str:
    cells = "".join(_cell(pair, session, layer, kind, label) for layer in range(pair.n_layers))
    whole = label == "layer" or len(parts_of(pair, kind)) > 1
    head = f'<span class="kind{"" if whole else " one"}" role="rowheader">{label}</span>'
    sub = "" if label == "layer" else " sub"
    return f'<div class="strip-row{sub}" role="row">{head}{cells}</div>'


def _ends(pair: Shape, session: Session) -> str:
    """One row for what stands in no layer, a cell each; empty where none of it differs."""
    kinds = [kind for kind in ENDS if pair.differs.get(kind)]
    if not kinds:
        return ""
    cells = "".join(_cell(pair, session, OUTSIDE, kind, "end") for kind in kinds)
    return (
        '<div class="strip-row sub ends" role="row">'
        f'<span class="kind" role="rowheader">outside</span>{cells}</div>'
    )


def _equal(pair: Shape) -> str:
    """The kinds that no mask moves, greyed."""
    kinds = [KIND_TITLES[kind] for kind in _ORDER + ENDS if pair.differs.get(kind) == []]
    line = f"Equal in both models, never searched: {', '.join(kinds)}." if kinds else ""
    return f'<p class="strip-empty">{line}</p>' if kinds else ""


def _cell(pair: Shape, session: Session, layer: int, kind: str, label: str) -> str:
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
    disabled = "" if able else ' aria-disabled="true"'
    return (
        f'<span role="gridcell"><button type="button" aria-pressed="{_PRESSED[how]}" '
        f'data-layer="{layer}" data-kind="{kind}" tabindex="-1" aria-label="{tip}"{disabled}>'
        f"{text}</button></span>"
    )


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
