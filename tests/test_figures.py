"""Figures: the right shapes, the house's colours, safe text, and fast enough to be live."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapa.core.records import EMPTY, Mask, Outcome, Rate, Trial, Unit
from dapa.figures import (
    divergence_heatmap,
    layer_prompt_heatmap,
    layer_token_heatmap,
    rates_chart,
)
from dapa.figures.pareto import pareto_chart
from dapa.figures.theme import DARK, LIGHT, safe, wrapped
from dapa.figures.tradeoff import tradeoff_chart
from dapa.figures.trials import chunk_lines, column_names
from dapa.localize.divergence.maps import Contrast, DivergenceMap, TokenMap

SITES = ("residual", "attention", "mlp", "gate", "up", "down")
NASTY = "<script>alert('x')</script> & <b>bold</b> <img src=http://outside/x.png>"


def a_map(layers=12, prompts=5, contrast=False, sites=SITES):
    rng = np.random.default_rng(layers)
    each = rng.random((prompts, layers, len(sites)))
    mean = each.mean(0)
    p = np.where(np.abs(mean - 0.5) < 0.1, 0.5, 1e-5)
    other = Contrast(mean - 0.5, mean - 0.6, mean - 0.4, prompts, prompts, True, p)
    return DivergenceMap(
        metric="cosine",
        title="cosine distance",
        unit="",
        reading="local",
        position="last",
        sites=sites,
        layers=tuple(range(layers)),
        values=mean,
        low=mean - 0.1,
        high=mean + 0.1,
        prompts=tuple(f"{NASTY} number {i}" for i in range(prompts)),
        per_prompt=each,
        asked=prompts,
        contrast=other if contrast else None,
        pair="student ← teacher",
        mask="",
        seed=0,
        share=np.full(mean.shape, 0.25),
    )


def trial(index, layers, satisfied, memo=False, granularity=None, judged=64, phase="search"):
    defended = 10 if satisfied is False else 60
    outcome = Outcome(
        Mask.of(Unit(i) for i in layers), 64, judged, min(defended, judged), satisfied=satisfied
    )
    return Trial(index, outcome, phase, memo, granularity, 0.2, 100)


LOG = [
    trial(0, [], False, phase="opening"),
    trial(1, range(8), None, phase="opening"),
    trial(2, range(4, 8), False, granularity=2, judged=40),
    trial(3, range(4), True, granularity=2),
    trial(4, [2, 3], False, memo=True, granularity=2),
    trial(5, [0, 1], True, granularity=2, judged=62),
]
UNITS = tuple(Unit(i) for i in range(8))


def text_of(figure):
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


EVERY = {
    "divergence": lambda dark: divergence_heatmap(a_map(), dark),
    "contrast": lambda dark: divergence_heatmap(a_map(contrast=True), dark),
    "prompts": lambda dark: layer_prompt_heatmap(a_map(), "gate", dark),
    "tokens": lambda dark: layer_token_heatmap(a_token_map(), "gate", dark),
    "rates": lambda dark: rates_chart({"student": {"dsr": Rate(0.1, 0, 0.2, 9)}}, dark),
}


def a_token_map(layers=4, tokens=("<user>", " how", " <script>", "\n", "<assistant>")):
    values = np.random.default_rng(1).random((layers, 2, len(tokens)))
    values[:, :, 0] = 50.0  # the sink
    return TokenMap(
        metric="l2",
        title="relative L2",
        unit="",
        reading="local",
        sites=("residual", "gate"),
        layers=tuple(range(layers)),
        tokens=tokens,
        values=values,
        prompt=NASTY,
        pair="a ← b",
        mask="",
    )


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_transparent_keeps_its_zoom_and_has_its_pages_colours(name, dark):
    figure = EVERY[name](dark)
    layout = figure.layout
    assert layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert layout.uirevision == "dapa"
    assert layout.font.color == (DARK if dark else LIGHT).ink
    assert layout.font.family.startswith("var(--font")
    assert "sendChartToCloud" in layout.modebar.remove
    other = {LIGHT.blue, LIGHT.orange} if dark else {DARK.blue, DARK.orange}
    assert not any(colour in text_of(figure) for colour in other)


@pytest.mark.parametrize("name", EVERY)
def test_no_figure_lets_markup_through(name):
    text = text_of(EVERY[name](False))
    assert "<script" not in text and "<img" not in text
    if name in {"prompts", "tokens"}:
        assert "&lt;script&gt;" in text


@pytest.mark.parametrize("layers", [12, 32, 80])
def test_divergence_has_a_column_a_layer_and_residual_on_top(layers):
    figure = divergence_heatmap(a_map(layers))
    heat = figure.data[0]
    assert np.shape(heat.z) == (6, layers)
    # Rows lie in the data as on the axis, bottom first: plotly sorts z by category but not text.
    assert list(heat.y) == ["down", "up", "gate", "MLP out", "attention out", "residual"]
    assert figure.layout.yaxis.categoryarray[-1] == "residual"  # categories count from below
    assert (heat.xgap, heat.ygap) == (1, 1)
    assert heat.colorscale[0][1] == "#00224e" or heat.colorscale[0][1] == "#00224E"  # cividis
    assert heat.zmin == 0.0
    assert 6 <= len(figure.layout.xaxis.tickvals) <= 16
    assert np.shape(heat.text) == (6, layers)
    for part in ("layer 3", "gate", "cosine distance", "[", "n = 5"):
        assert part in heat.text[2][3]


def test_contrast_is_symmetric_and_dots_mark_what_is_not_told_from_zero():
    map = a_map(32, contrast=True)
    figure = divergence_heatmap(map, dark=False)
    heat, dots = figure.data
    assert heat.zmin == -heat.zmax
    assert [c for _, c in heat.colorscale] == [LIGHT.orange, "#FFFFFF", LIGHT.blue]
    assert len(dots.x) == (map.contrast.p == 0.5).sum() > 0
    assert "may be 0 by chance" in " ".join(cell for row in heat.text for cell in row)
    names = list(heat.y)[::-1]
    inside = map.contrast.p == 0.5
    assert all(inside[x, names.index(y)] for x, y in zip(dots.x, dots.y, strict=True))
    assert "harmful minus" in heat.text[0][0]
    for y, row in zip(heat.y, heat.text, strict=True):
        assert all(f"· {y}<" in text for text in row)
    plain = divergence_heatmap(map, contrast=False)
    assert len(plain.data) == 1 and plain.data[0].zmin == 0.0


def test_what_is_not_defined_is_said_and_an_empty_map_is_drawn():
    map = a_map()
    values = map.values.copy()
    values[:, 1:] = np.nan
    figure = divergence_heatmap(replace(map, values=values, low=values, high=values))
    words = [note.text for note in figure.layout.annotations]
    assert words.count("not defined here") == 5
    nothing = np.full_like(values, np.nan)
    empty = divergence_heatmap(replace(map, values=nothing, low=nothing, high=nothing))
    assert empty.data[0].zmax == 1.0
    zero = np.zeros_like(values)
    assert divergence_heatmap(replace(map, values=zero)).data[0].zmax == 1.0


def test_panes_that_are_compared_share_one_scale():
    assert divergence_heatmap(a_map(), top=2.5).data[0].zmax == 2.5


def test_prompts_are_rows_furthest_first_and_lead_back():
    map = a_map(prompts=60)
    figure = layer_prompt_heatmap(map, "gate", limit=10)
    heat = figure.data[0]
    assert np.shape(heat.z) == (10, 12)
    means = np.mean(heat.z, axis=1)
    assert (np.diff(means) <= 0).all()
    assert np.allclose(heat.z, map.per_prompt[list(heat.meta), :, SITES.index("gate")])
    assert any("10 furthest of 60" in note.text for note in figure.layout.annotations)


def test_tokens_are_columns_and_the_sink_does_not_set_the_scale():
    map = a_token_map()
    figure = layer_token_heatmap(map, "gate")
    heat = figure.data[0]
    assert np.shape(heat.z) == (4, 5)
    assert heat.zmax == pytest.approx(map.values[:, 1, 1:].max())
    assert list(figure.layout.xaxis.ticktext)[:3] == ["&lt;user&gt;", "how", "&lt;script&gt;"]
    assert heat.customdata[0][3] == "3 “\\n”"


def test_lines_stand_between_the_chunks_of_what_is_left():
    # tests 2 and 3 cut eight units in two; tests 4 and 5 cut the four that were left
    assert chunk_lines(LOG, UNITS) == [(2, 4, 5), (4, 2, 3)]


def test_units_of_several_kinds_keep_their_names():
    assert column_names(UNITS[:2]) == ["0", "1"]
    units = (Unit(0, "gate"), Unit(0, "up"), Unit(1, "gate", (0, 8)))
    assert column_names(units) == ["0.gate", "0.up", "1.gate[0:8]"]


def test_rates_have_a_shape_a_model_and_their_intervals():
    rows = {
        "student": {"dsr": Rate(0.1, 0.05, 0.2, 64), "skill": None},
        "patched": {"dsr": Rate(0.9, 0.8, 0.95, 64), "skill": Rate(0.5, 0.4, 0.6, 30)},
        "teacher": {"dsr": Rate(1.0, 0.94, 1.0, 64), "skill": Rate(0.2, 0.1, 0.4, 30)},
        "sham <1>": {"dsr": Rate(0.2, 0.1, 0.3, 64)},
    }
    figure = rates_chart(rows)
    assert [t.marker.symbol for t in figure.data] == [
        "circle",
        "diamond",
        "square-open",
        "triangle-up",
    ]
    assert figure.data[3].name == "sham &lt;1&gt;"
    assert list(figure.layout.yaxis.ticktext) == [
        "refuses harmful<br>(DSR)",
        "skill, exact<br>answers",
    ], "the table's words, broken so that a phone has room for the picture"
    assert figure.layout.xaxis.title.text == "share of replies"
    shorter = rates_chart({"patched": {"unclear": Rate(0.9, 0.8, 0.95, 64)}})
    assert shorter.layout.margin.l < figure.layout.margin.l <= 126, "as wide as its names"
    patched = figure.data[1]
    assert list(patched.x) == [0.9, 0.5]
    assert patched.error_x.array == pytest.approx((0.05, 0.1))
    assert "n = 30" in patched.text[1]


def test_further_models_differ_by_shape_and_long_rows_have_room_for_all():
    rates = {"dsr": Rate(0.9, 0.8, 0.95, 64)}
    few = rates_chart({name: rates for name in ("student", "patched", "teacher")})
    many = rates_chart({f"mask {i}": rates for i in range(6)})
    assert len({t.marker.symbol for t in many.data}) == 6
    assert many.layout.height > few.layout.height


@given(st.lists(st.tuples(*[st.sampled_from((0.0, 0.02, 0.5, 0.98, 1.0))] * 2), max_size=8))
def test_a_planes_names_are_all_written_and_cover_none(points):
    around = lambda x: Rate(x, x, x, 9)  # noqa: E731
    models = {f"m{i}": (around(y), around(x)) for i, (x, y) in enumerate(points)}
    figure = tradeoff_chart(models, "skill")
    written = [(t.text[0], t.x[0], t.y[0], t.textposition) for t in figure.data if t.text[0]]
    assert sorted(", ".join(w[0] for w in written).split(", ")) == sorted(models or [""])
    assert len({place[1:] for place in written}) == len(written), "no two at one place"


def test_large_maps_are_light():
    tokens = tuple(f" t{i}" for i in range(512))
    sites = (*SITES, *(f"more {i}" for i in range(6)))
    assert len(divergence_heatmap(a_map(80, 3, sites=sites)).to_json()) < 1_000_000
    assert len(layer_token_heatmap(a_token_map(32, tokens), "gate").to_json()) < 4_000_000


def test_a_record_is_taken_by_its_shape():
    map = a_map()
    loose = SimpleNamespace(**{name: getattr(map, name) for name in map.__dataclass_fields__})
    loose.n, loose.few = map.n, map.few
    assert divergence_heatmap(loose) == divergence_heatmap(map)


def test_text_is_made_harmless_and_short():
    assert safe("a\x00<b>\n\u202e") == "a &lt;b&gt;  "
    assert wrapped("word " * 200).count("<br>") == 7
    assert wrapped("") == ""
    assert EMPTY.layers == ()


def test_a_picture_of_all_sets_has_one_scale_of_kl():
    def point(layer, on_front, utility):
        return SimpleNamespace(
            mask=Mask.of([Unit(layer)]), size=0.1 * layer, dsr=Rate(0.5, 0.2, 0.8, 10),
            utility=utility, on_front=on_front, phase="search",
        )  # fmt: skip

    points = [point(1, True, 0.1), point(2, False, 0.2), point(3, False, 0.3)]
    marked = [t for t in pareto_chart(points, points[2].mask).data if t.mode == "markers"]
    assert len(marked) == 3 and [bool(t.marker.showscale) for t in marked].count(True) == 1
