"""What is said and drawn of how concentrated refusal is: four forms, hedged by their intervals."""

from dataclasses import replace

import numpy as np
import pytest
from searched import planted_pair, prompt_set
from test_concentration import SHARP, asked

from dapa.core.measurement import Call
from dapa.core.records import SettingError
from dapa.figures.concentration import odds_chart, size_chart
from dapa.figures.theme import DARK, LIGHT
from dapa.localize.causes.flips import Effect
from dapa.measure.concentration import Concentration
from dapa.measure.other_sites import Site
from dapa.measure.pair_concentration import CurvePrice
from dapa.workbench import Workbench
from dapa.workbench.measurements import measurements
from dapa.workbench.measurements.concentration import Concentrated
from dapa.writing.concentration import concentration_sentence, price_text

SITES = (
    Site("mlp", Effect(3.2, 2.8, 3.6, 16), 0.78),
    Site("attention", Effect(0.0, -0.3, 0.3, 16), 0.0),
    Site("norms"),
)
CONCENTRATION = measurements["concentration"]


def plainly(found):
    return concentration_sentence(found).replace("\u202f", " ")


def spread(prompts=250, seed=0):
    random = np.random.default_rng(seed)
    votes, edges = random.uniform(0.5, 1.5, 24), random.normal(21, 1.5, (2, prompts))
    return asked(votes, edges[0], edges[1], sites=lambda: SITES, finer=True)[0]


@pytest.fixture(scope="module")
def sharp():
    return asked(SHARP, [3.0] * 60)[0]


def with_enough(found, **ends):
    """The same with another interval of the units that are enough, in every order."""
    curves = tuple(
        replace(c, held_out=replace(c.held_out, enough=replace(c.held_out.enough, **ends)))
        for c in found.curves
    )
    return replace(found, curves=curves)


def test_concentrated_names_how_many_and_is_hedged_where_the_interval_reaches_beyond_a_third(sharp):
    said = plainly(sharp)
    assert said.startswith("Refusal is concentrated: 3 of 12 gates lose at most 5 points")
    assert "held-out refusals: 100 %" in said and "Look next" not in said
    wide = with_enough(sharp, high=8)
    assert wide.verdict == ("concentrated", False)
    assert "may be concentrated: 3 [3, 8] of 12" in plainly(wide)
    assert "Up to 8 are not excluded" in plainly(wide)


def test_spread_says_up_to_where_every_set_loses_and_where_to_look_next():
    found = spread()
    said = plainly(found)
    assert (
        f"spread: along the orders tried, every set measured of up to {found.floor} of 24 gates "
        "loses more than 5 points" in said
    )
    assert "best return" in said.lower() and "straight line" in said
    assert "whole MLPs (78 % of the gap in log-odds alone)" in said
    assert "whole attentions (alone nothing clear)" in said and "finer units" in said
    assert said.index("whole MLPs") < said.index("whole attentions")


def test_few_prompts_make_spread_a_perhaps(sharp):
    late = with_enough(sharp, value=12, low=9, high=12, before=8)
    assert late.verdict == ("spread", False) and "may be spread" in plainly(late)


def test_graded_says_between_which_sizes_and_is_hedged_where_few_may_do(sharp):
    middle = with_enough(sharp, value=6, low=5, high=8, before=4)
    assert middle.verdict == ("graded", True)
    assert "is graded: between 3 and 6 of 12 gates, 8 not excluded, are needed" in plainly(middle)
    wide = with_enough(sharp, value=6, low=3, high=6, before=4)
    assert wide.verdict == ("graded", False) and "looks graded" in plainly(wide)
    assert "more prompts would tell" in plainly(wide)


def test_nothing_here_is_said_plainly_with_offers():
    found = asked([0.0] * 12, [1.0] * 40, sites=lambda: SITES, finer=True)[0]
    said = plainly(found)
    assert said.startswith("Nothing here: moving all 12 gates changes refusals by 0 points [")
    assert "not surely above 10 points" in said and "whole MLPs" in said
    equal = Concentration((), None, None, (0.0, 0.0, 0.0), 0.1, kind="up", sites=SITES[:1])
    assert plainly(equal).startswith(
        "Nothing here: student and teacher have equal up projections everywhere. Look next at"
    )
    one_side = asked(SHARP, [3.0] * 60, [99.0] * 10)[0]
    assert "not on the held-out prompts and the others alike" in plainly(one_side)


def test_what_was_stopped_claims_nothing(sharp):
    assert plainly(replace(sharp, complete=False)).startswith("Stopped before")
    told = CONCENTRATION.describe(Concentrated(replace(sharp, complete=False), "here"))
    assert told.warnings and "Stopped early" in told.warnings[0]


def test_the_price_says_replies_and_readings_and_where_it_ends_early():
    said = price_text(CurvePrice(12, 26, 64, 64, 6048), "opening")
    assert "26 sets x (64 search and 64 held-out prompts) = 3,328 replies" in said
    assert said.startswith("How long") and "Estimate cost" in said
    paced = price_text(CurvePrice(12, 26, 64, 64, 6048), "opening", 0.05)
    assert paced.startswith("About 2 min 46 s by the pace") and "times one" not in paced
    assert "6,048 readings" in said and "after 256 replies" in said
    assert "nothing is decoded" in price_text(CurvePrice(0, 0, 9, 9, 0), "full")


@pytest.mark.parametrize("dark", [False, True])
def test_the_figure_has_the_main_curve_on_both_splits_every_order_and_a_mark_a_share(sharp, dark):
    made = size_chart(sharp, dark)
    names = [trace.name for trace in made.data if trace.name]
    main = sharp.main.title
    assert {f"{main}, held-out", f"{main}, search"} <= set(names)
    assert {curve.title for curve in sharp.curves if curve is not sharp.main} <= set(names)
    marks = next(t for t in made.data if t.name == "50, 80, 90, 95 % of the gain")
    assert list(marks.x) == [3, 3, 3, 3] and list(marks.y) == [0.5, 0.8, 0.9, 0.95]
    colours = DARK if dark else LIGHT
    held = next(t for t in made.data if t.name == f"{main}, held-out")
    assert held.line.color == colours.blue and list(held.x)[-1] == 12
    looks = {(t.line.dash, t.marker.symbol) for t in made.data if t.mode == "lines+markers"}
    assert len(looks) == len(sharp.curves) + 1, "no two lines are told apart by colour alone"
    odds = odds_chart(sharp, dark)
    assert len(odds.data) == len(sharp.curves) + 1
    empty = replace(sharp, curves=())
    assert not size_chart(empty, dark).data and not odds_chart(empty, dark).data


def test_a_page_and_python_measure_it_as_one_record(tmp_path):
    bench = Workbench(tmp_path, planted_pair())
    bench.prompts = lambda source=None, role="harmful", column=None: prompt_set()
    settings = CONCENTRATION.settings(max_new_tokens=12, orders=("greedy",), sizes="1,2")
    call = Call(bench, settings)
    assert "4 sets x (12 search and 12 held-out prompts)" in CONCENTRATION.cost(call, settings)
    found = CONCENTRATION.run(call)
    told = CONCENTRATION.describe(found.record)
    by_order, by_size = told.tables
    assert len(by_order.rows) == 1 and [row[0] for row in by_size.rows] == [0, 1, 2, 6]
    assert by_size.rows[3][1].startswith("layers ") and "looked at once" in told.notes[-1]
    assert "planted" in found.origin and "1 order of 6 units" in found.origin


def test_settings_that_make_no_question_are_refused_in_one_line():
    with pytest.raises(SettingError, match="sizes 'a few' are no whole numbers"):
        CONCENTRATION.settings(sizes="a few")
    with pytest.raises(SettingError, match="no order is named"):
        CONCENTRATION.settings(orders=())
    with pytest.raises(SettingError, match="size -1 is below 0"):
        CONCENTRATION.settings(sizes="-1")


def test_equal_sites_are_nothing_here_in_every_form(tmp_path):
    bench = Workbench(tmp_path, planted_pair())
    bench.prompts = lambda source=None, role="harmful", column=None: prompt_set()
    equal = next(kind for kind, layers in bench.pair.differs.items() if not layers)
    call = Call(bench, CONCENTRATION.settings(), kind=equal)
    assert "nothing is decoded" in CONCENTRATION.cost(call, call.settings)
    found = CONCENTRATION.run(call)
    told = CONCENTRATION.describe(found.record)
    assert told.finding.startswith("Nothing here") and not told.tables
    assert len(found.record.table()[1]) == 2
    for dark in (False, True):
        assert CONCENTRATION.figures(found.record, dark)
