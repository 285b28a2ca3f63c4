"""Figures of Localize: the house's look, safe text, one scale for compared panes, little work."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dapa.core.records import EMPTY, Rate, Unit
from dapa.figures.causes import patching_heatmap, token_trace_heatmap, trace_heatmap
from dapa.figures.directions import (
    direction_chart,
    projection_scatter,
    projection_slides,
    separation_chart,
)
from dapa.figures.effects import effects_chart
from dapa.figures.gap import gap_chart, template_chart
from dapa.figures.summary import agreement_heatmap, summary_heatmap
from dapa.figures.theme import DARK, LIGHT
from dapa.figures.weights import short_parts, weights_heatmap
from dapa.figures.whatif import what_if_strip
from dapa.localize.causes.flips import Effect, WhatIf, WhatIfs
from dapa.localize.causes.trace_records import TokenTrace, TraceMap
from dapa.localize.directions import Along, DirectionMap
from dapa.localize.gap import GapBudget, GapRow, TemplateCell
from dapa.localize.projection import Projection
from dapa.localize.rank import EffectiveRank
from dapa.localize.rank_agreement import RankAgreement
from dapa.localize.summary import COLUMNS, Column, Summary
from dapa.localize.weights import TensorChange, WeightMap

NASTY = "<script>alert('x')</script> & <b>bold</b> <img src=http://outside/x.png>"


def effect(value):
    return Effect(value, value - 1, value + 1, 8)


def a_budget():
    rows = (
        GapRow("gate", "gates", effect(5), effect(6), True, 0.2),
        GapRow("norms", "norms", effect(0), effect(0), False, 0.1),
    )
    cells = (
        TemplateCell("student", "both", True, effect(-3)),
        TemplateCell("teacher", "both", True, None, "no system role"),
    )
    return GapBudget(effect(-4), effect(2), effect(6), rows, cells, "a ← b", 8)


def a_weight_map(layers=4, parts=("mlp.gate_proj.weight", f"{NASTY}.weight", "norm.weight")):
    rank = EffectiveRank(3.0, 2.0, 4.0, 0.9)
    tensors = [
        TensorChange(f"model.layers.{i}.{part}", i, part, (8, 6), 0.1 * i, 0.01, rank)
        for i in range(layers)
        for part in parts
        if (i, part) != (0, parts[-1])
    ]
    return WeightMap(tuple(tensors), (), (), "a ← b", len(tensors), 0)


def a_trace(groups=("changed", "last"), layers=4):
    rng = np.random.default_rng(0)
    shape = (2, layers, len(groups))
    values = rng.standard_normal(shape)
    p = np.full(shape, 0.5)
    p[0, 1] = 1e-6
    return TraceMap(
        kinds=("mlp", "attention"),
        layers=tuple(range(layers)),
        groups=groups,
        per_prompt=values[None],
        prompts=(NASTY,),
        clean=effect(3),
        corrupt=effect(-3),
        whole=effect(6),
        corruption="twin",
        window=1,
        draws=1,
        multiple=0.0,
        sd=0.0,
        skipped=0,
        asked=1,
        pair="a ← b",
        seed=0,
        values=values,
        low=values - 1,
        high=values + 1,
        p=p,
    )


def a_token_trace(layers=4, tokens=(NASTY, " b → c", "<last>")):
    values = np.random.default_rng(0).standard_normal((2, layers, len(tokens)))
    kinds = ("mlp", "attention")
    told = ("the twin", "x", "y", 1, "a ← b", 0)
    return TokenTrace(kinds, tuple(range(layers)), tuple(tokens), values, 3.0, *told)


def a_patch_map(layers=4):
    trace = a_trace(("residual", "mlp"), layers)
    return SimpleNamespace(
        sites=trace.groups,
        layers=trace.layers,
        n=8,
        values=trace.values[0],
        low=trace.low[0],
        high=trace.high[0],
        q=trace.q[0],
        significant=trace.significant[0],
    )


def a_summary(layers=4, missing=("in_search",)):
    rng = np.random.default_rng(0)
    nan = np.full(layers, np.nan)
    columns = {
        name: Column(name, rng.standard_normal(layers), nan, nan, 8)
        for name in COLUMNS
        if name not in missing
    }
    first, second, *_ = columns
    agreements = (
        (first, second, RankAgreement(0.9, 0.1, 1.0, 0.01, layers)),
        (first, "gradient", RankAgreement(np.nan, -1.0, 1.0, 1.0, layers)),
    )
    told = dict.fromkeys(missing, NASTY)
    return Summary("gate", tuple(range(layers)), columns, told, "a ← b", 8, 0, "", agreements)


def a_strip():
    cells = (WhatIf(Unit(1), True, 0.9, 2.0, 4.0), WhatIf(Unit(2), False, 0.1, -2.0, 0.0))
    return WhatIfs(EMPTY, 0.1, -2.0, cells)


def a_direction_map(layers=4):
    rng = np.random.default_rng(0)
    panes = ("student", "patched", "teacher")

    def side():
        x = rng.standard_normal((3, layers))
        return Along(x.mean(0), x.min(0), x.max(0), x, (NASTY,) * 3)

    rates = tuple(Rate(0.8, 0.5, 0.95, 6) for _ in range(layers))
    return DirectionMap(
        panes=panes,
        layers=tuple(range(layers)),
        along={pane: {"harmful": side(), "harmless": side()} for pane in panes},
        separation=dict.fromkeys(panes, rates),
        own=dict.fromkeys(panes, rates),
        cosine=dict.fromkeys(panes, np.ones(layers)),
        size=np.ones(layers),
        n_fit=(3, 3),
        n=(3, 3),
        asked=12,
        pair="a ← b",
        mask="",
        seed=0,
    )


def a_projection(layers=4, prompts=6):
    return Projection(
        panes=("student", "teacher"),
        layers=tuple(range(layers)),
        points=np.random.default_rng(0).standard_normal((2, layers, prompts, 2)),
        explained=np.full((layers, 2), 0.25),
        prompts=(NASTY,) * prompts,
        classes=("harmful", "harmless") * (prompts // 2),
        asked=prompts,
        pair="a ← b",
        mask="",
    )


EVERY = {
    "directions": lambda dark: direction_chart(a_direction_map(), dark),
    "separation": lambda dark: separation_chart(a_direction_map(), dark),
    "plane": lambda dark: projection_scatter(a_projection(), 2, dark),
    "slides": lambda dark: projection_slides(a_projection(), dark),
    "summary": lambda dark: summary_heatmap(a_summary(), dark),
    "agreement": lambda dark: agreement_heatmap(a_summary(), dark),
    "what if": lambda dark: what_if_strip(a_strip(), 4, dark),
    "trace": lambda dark: trace_heatmap(a_trace(), "mlp", dark),
    "token trace": lambda dark: token_trace_heatmap(a_token_trace(), "attention", dark),
    "patching": lambda dark: patching_heatmap(a_patch_map(), dark),
    "gap": lambda dark: gap_chart(a_budget(), dark),
    "templates": lambda dark: template_chart(a_budget(), dark),
    "effects": lambda dark: effects_chart([(NASTY, {NASTY: effect(1)})], effect(3), dark),
    "weights": lambda dark: weights_heatmap(a_weight_map(), "relative", dark),
    "rank": lambda dark: weights_heatmap(a_weight_map(), "rank", dark),
}


def text_of(figure):
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_transparent_keeps_its_zoom_and_has_its_pages_colours(name, dark):
    figure = EVERY[name](dark)
    layout = figure.layout
    assert layout.paper_bgcolor == "rgba(0,0,0,0)" and layout.uirevision == "dapa"
    assert layout.font.color == (DARK if dark else LIGHT).ink
    other = {LIGHT.blue, LIGHT.orange} if dark else {DARK.blue, DARK.orange}
    assert not any(colour in text_of(figure) for colour in other)


@pytest.mark.parametrize("name", EVERY)
def test_no_figure_lets_markup_through(name):
    text = text_of(EVERY[name](False))
    assert "<script" not in text and "<img" not in text


def test_the_gap_shows_only_parts_that_differ_and_only_cells_that_were_measured():
    figure = gap_chart(a_budget())
    assert list(figure.layout.yaxis.ticktext) == ["gates"]
    alone, left_out = figure.data
    assert (list(alone.x), list(left_out.x)) == ([5], [6]) and list(alone.error_x.array) == [1]
    assert [s.x0 for s in figure.layout.shapes] == [0.0, 6]
    student, teacher = template_chart(a_budget()).data
    assert list(student.x) == [-3] and not teacher.x


def test_an_effect_without_an_interval_has_no_whisker():
    figure = effects_chart([("a", {"alone": Effect(1.0, np.nan, np.nan, 1)})])
    assert list(figure.data[0].error_x.array) == [0.0] and "[" not in figure.data[0].text[0]


def test_weights_have_a_column_a_layer_and_a_hole_where_a_tensor_is_missing():
    figure = weights_heatmap(a_weight_map())
    heat = figure.data[0]
    assert np.shape(heat.z) == (3, 4) and np.isnan(heat.z[0][0])  # bottom row first
    assert heat.text[2][3].startswith("<b>layer 3 · mlp.gate_proj.weight</b>")
    assert "effective rank 3 [2, 4] of 6" in heat.text[2][3] and heat.text[0][0] == ""


def test_short_names_of_tensors_stay_unique():
    parts = ("mlp.gate_proj.weight", "self_attn.q_proj.bias", "a.norm.weight", "b.norm.weight")
    assert short_parts(parts) == ["gate", "q bias", "a.norm.weight", "b.norm.weight"]
    assert short_parts(["input_layernorm.weight", "sink"]) == ["input norm", "sink"]


def test_weights_of_eighty_layers_are_one_trace_of_little_text():
    parts = tuple(f"part{i}.weight" for i in range(12))
    figure = weights_heatmap(a_weight_map(80, parts))
    assert len(figure.data) == 1 and len(figure.to_json()) < 400_000


def test_traces_of_both_modules_share_one_scale_and_mark_what_is_not_told_from_zero():
    found = a_trace()
    panes = [trace_heatmap(found, kind) for kind in found.kinds]
    ends = {pane.data[0].zmax for pane in panes}
    assert ends == {np.abs(found.values).max()} and panes[0].data[0].zmin == -ends.pop()
    assert len(panes[0].data[1].x) == 6 and len(panes[1].data[1].x) == 8  # of 8 cells each
    assert list(panes[0].data[0].y) == ["last token", "corrupted tokens"]
    assert "may be 0 by chance" in panes[0].data[0].text[0][0]
    assert "may be 0 by chance" not in panes[0].data[0].text[0][1]
    alone = trace_heatmap(found, "mlp", top=3.0)
    assert (alone.data[0].zmin, alone.data[0].zmax) == (-3.0, 3.0)


def test_more_refusal_is_blue_and_less_is_orange():
    scale = patching_heatmap(a_patch_map()).data[0].colorscale
    assert (scale[0][1], scale[-1][1]) == (LIGHT.orange, LIGHT.blue)


def test_eighty_layers_by_twelve_and_long_prompts_are_little_work():
    groups = tuple(f"g{i}" for i in range(12))
    assert len(trace_heatmap(a_trace(groups, 80), "mlp").to_json()) < 400_000
    tokens = tuple(f"word{i}" for i in range(512))
    figure = token_trace_heatmap(a_token_trace(32, tokens))
    assert len(figure.data) == 1 and len(figure.to_json()) < 900_000


def test_a_summary_scales_each_measure_by_itself_and_says_what_is_missing():
    found = a_summary()
    heat = summary_heatmap(found).data[0]
    z = np.array(heat.z)[::-1]
    assert np.abs(z[:7]).max(axis=1) == pytest.approx(np.ones(7)) and np.isnan(z[7]).all()
    value = found.columns["weights"].values[2]
    text = heat.text[::-1][1][2]
    assert f"{value:.3g}".replace("-", "\u2212") in text and "rank" in text and "n = 8" in text
    zero = a_summary()
    zero.columns["weights"].values[:] = 0
    assert not np.array(summary_heatmap(zero).data[0].z)[::-1][1].any()


def test_agreement_is_symmetric_and_marks_what_chance_could_do():
    figure = agreement_heatmap(a_summary())
    z = np.array(figure.data[0].z)[::-1]
    assert z.shape == (7, 7) and z[0, 1] == z[1, 0] == 0.9 and np.isnan(z[0, 6])
    assert not figure.data[1].x and "never varies" in figure.data[0].text[::-1][0][6]


def test_the_what_if_strip_runs_from_zero_to_one_and_leaves_other_layers_empty():
    heat = what_if_strip(a_strip(), 4).data[0]
    assert (heat.zmin, heat.zmax) == (0.0, 1.0)
    assert np.isnan(heat.z[0][0]) and heat.z[0][1] == 0.9 and "taken back" in heat.text[0][2]


def test_directions_have_two_lines_a_pane_and_separations_one():
    figure = direction_chart(a_direction_map())
    names = [trace.name for trace in figure.data]
    assert names[:2] == ["student, harmful", "student, harmless"] and len(names) == 6
    assert [trace.line.dash for trace in figure.data[:2]] == ["solid", "dot"]
    told = separation_chart(a_direction_map()).data[0]
    assert "AUC 0.8 [0.5, 0.95]<br>n = 6" in told.text[0]


def test_the_slider_shows_what_each_layers_picture_shows():
    found = a_projection()
    steps = projection_slides(found).layout.sliders[0].steps
    assert [step.label for step in steps] == ["0", "1", "2", "3"]
    wanted = projection_scatter(found, 2)
    moved = steps[2].args[0]
    assert [list(trace.x) for trace in wanted.data] == moved["x"]
    assert [list(trace.y) for trace in wanted.data] == moved["y"]
    assert "25\u2009% of the variance" in steps[2].args[1]["xaxis.title.text"]
