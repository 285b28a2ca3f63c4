"""A confidence search on screen, without a browser: picture, card, stages, plan, of every form."""

from dataclasses import replace
from html import unescape

import pytest
from confided import PLAN, SHAPES, TOTAL, UNITS, record, report, trial

from dapa.core.records import Unit
from dapa.core.statistics import wilson
from dapa.figures.certified import certified_chart
from dapa.figures.theme import DARK, LIGHT
from dapa.search.confidence.pace import replies_left, seconds_left
from dapa.search.confidence.plan import plan_of
from dapa.search.confidence.record import ConfidenceRecord
from dapa.search.engine.report import Costs, SearchProgress, SearchReport
from dapa.search.stability import Repetition, Stability
from dapa.ui import replay
from dapa.ui.tabs.search import certified, certifying, plan, result
from dapa.writing.certified import form_title, stages

FORMS = list(SHAPES)
CLAIMED = ["concentrated", "graded", "spread"]
NASTY = "<script>alert(1)</script>"


def named(figure):
    return {trace.name: trace for trace in figure.data if trace.name}


def shade(figure):
    """The floor's rectangle, the only shape as tall as the picture."""
    return [shape for shape in figure.layout.shapes if shape.yref == "paper"]


# -- the picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", CLAIMED)
def test_the_picture_marks_the_set_the_sets_that_passed_and_the_one_given_up(form):
    made, found = named(certified_chart(record(form))), record(form)
    passed = [link.size for link in found.chain if link.state == "passed"]
    assert [round(x) for x in made["the set"].x] == [len(found.units)]
    assert [round(x) for x in made["passed"].x] == passed[:-1]
    assert round(made["given up"].x[0]) < len(found.units)
    assert made["the set"].y[0] == found.link.certified.rate.value
    up, down = made["the set"].error_y.array[0], made["the set"].error_y.arrayminus[0]
    rate = found.link.certified.rate
    assert (rate.value + up, rate.value - down) == pytest.approx((rate.high, rate.low))


@pytest.mark.parametrize("form", CLAIMED)
def test_the_margin_is_a_band_below_all_units_and_the_floor_is_shaded(form):
    figure, found = certified_chart(record(form)), record(form)
    whole = named(figure)["all units"].y[0]
    band = next(s for s in figure.layout.shapes if s.type == "rect" and s.yref != "paper")
    assert (band.y1, band.y1 - band.y0) == pytest.approx((whole, found.margin))
    (floor,) = shade(figure)
    assert found.floor < floor.x1 < found.floor + 1
    assert "shown to lose<br>over 5 points" in figure.layout.annotations[0].text


def test_where_nothing_is_claimed_there_is_neither_band_nor_shade_and_nothing_passed():
    figure = certified_chart(record("unclaimed"), wilson(6, 60))
    assert not shade(figure) and {"choose prompts", "not asked", "all units", "student"} == set(
        named(figure)
    )
    assert all(shape.type == "line" for shape in figure.layout.shapes)


def test_a_hover_of_a_set_that_loses_has_the_p_of_losing_and_one_unit_is_no_plural():
    found = record("spread")
    floor = found.floors[0]
    failed = next(link for link in found.chain if link.certified)
    look = replace(failed.looks[-1], p_holds=0.992, p_loses=0.008)
    tried = replace(failed, units=failed.units[:1], state="failed", looks=(look,))
    found = replace(found, floors=(replace(floor, tried=(tried,)),))
    (told,) = named(certified_chart(found))["shown to lose"].text
    assert told.startswith("<b>1 unit, shown") and told.endswith("p 0.008")
    assert "-" not in told


def test_sets_that_were_not_asked_are_told_from_those_that_chose():
    made = named(certified_chart(record("graded")))
    assert [round(x) for x in made["not asked"].x] == [16, 14, 12]
    assert 16 not in [round(x) for x in made["choose prompts"].x]


@pytest.mark.parametrize("dark", [False, True])
def test_the_picture_takes_the_pages_colours_and_says_by_shape_what_colour_says(dark):
    made, colours = named(certified_chart(record("graded"), dark=dark)), DARK if dark else LIGHT
    assert made["passed"].marker.color == colours.blue
    assert made["given up"].marker.color == colours.orange
    assert (
        len({trace.marker.symbol for name, trace in made.items() if name != "5 points below"}) == 7
    )


def test_the_picture_grows_with_a_search_that_is_not_at_its_end():
    whole = record("graded")
    choosing = replace(whole, chain=(), floors=(), standings=(), overfit=None, units=UNITS)
    assert certified_chart(choosing).data
    going = tuple(
        replace(link, state="not asked", looks=(), certified=None) if link.size < 23 else link
        for link in whole.chain
    )
    at = replace(whole, chain=going, floors=(), standings=(), units=UNITS[:23])
    assert [round(x) for x in named(certified_chart(at))["the set"].x] == [23]


# -- the card ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_its_title_and_survives_being_stored(form):
    first = report(form)
    again = SearchReport.from_dict({**first.as_dict(), "dsr": first.as_dict()["dsr"]})
    for made in (first, again):
        said = certified.head(made, "mlp") + certified.below(made, "mlp")
        assert unescape(said).count(form_title(made.confidence.as_dict(), "mlp")) >= 1
    assert certified.below(first, "mlp") == certified.below(again, "mlp")


def test_titles_name_the_sizes_that_the_form_is_about():
    told = {form: form_title(record(form).as_dict(), "mlp") for form in FORMS}
    assert told["concentrated"] == "Concentrated: 4 of 30 whole MLPs"
    assert told["graded"] == "Graded: 10 to 18 of 30 whole MLPs"
    assert told["spread"] == "Spread: 25 of 30 whole MLPs"
    assert told["unclaimed"] == "No claim; best guess 12 of 30 whole MLPs"
    assert told["nothing"] == "Nothing here"


def test_the_big_figures_are_of_prompts_that_chose_nothing():
    said = certified.head(report("graded"), "mlp")
    assert "9\u202f% → 63\u202f%" in said and "<b>250</b><span>prompts that chose nothing" in said
    assert (
        "<b>5 points</b>" in said and "<b>18 of 30</b>" in said and "12 firm, 6 undecided" in said
    )
    unclaimed = certified.head(report("unclaimed"), "mlp")
    assert "prompts that chose it" in unclaimed and "no claim is made" in unclaimed


def test_a_loss_beyond_chance_leads_the_sentence():
    said = certified.head(report("graded", lost=6), "mlp")
    finding = said.partition('class="finding">')[2]
    assert finding.startswith("On 250 prompts that chose nothing the set refuses 6.0 points less")
    calm = certified.head(report("graded", lost=0), "mlp").partition('class="finding">')[2]
    assert calm.startswith("Graded: between 10 and 18")


def test_each_unit_is_firm_undecided_in_the_set_or_out():
    cells = certifying.units_row(record("spread").as_dict())
    count = {
        word: cells.count(f'<span class="{word}"') for word in ("firm", "undecided", "in", "out")
    }
    assert count == {"firm": 12, "undecided": 6, "in": 7, "out": 5}
    assert 'aria-label="29.mlp: out"' in cells or "29" in cells
    assert sum(count.values()) == TOTAL


def test_while_nothing_has_passed_the_units_are_those_that_choosing_has_left():
    at = replace(record("graded"), chain=(), units=UNITS, standings=())
    cells = certifying.units_row(at.as_dict(), choosing=True)
    assert cells.count('<span class="left"') == 12 and cells.count('<span class="gone"') == 18


def test_removals_and_prompts_stand_in_tables_with_their_losses():
    said = unescape(certified.below(report("graded"), "mlp"))
    assert "−20.0" in said and "■ firm" in said and "◇ undecided" in said
    for line in ("60 prompts that chose", "250 that chose nothing", "48 of unseen kinds"):
        assert line in said
    assert "beyond what all units drop" in said and "(fraud, weapons; n = 48)" in said
    assert "4,912 replies were judged and 5,003 prompts only read" in said
    assert "What these words mean" in said and "Every set of the chain" in said
    spread = unescape(certified.below(report("spread"), "mlp"))
    assert "The point of best return" in spread and "“Where at all?” in Localize" in spread


def repeated(*sets):
    """A choosing that was repeated in as many orders, and once more on a resample."""
    kinds = ["order"] * (len(sets) - 1) + ["bootstrap"]
    return Stability(
        UNITS,
        tuple(
            Repetition(kind, i, 1.0, UNITS[:size], False, 3, 0.6, 0.6, "chosen", chosen=True)
            for i, (kind, size) in enumerate(zip(kinds, sets, strict=True))
        ),
        True,
        "confidence",
    ).as_dict()


def test_what_all_repetitions_agree_on_leads_and_alternatives_are_named():
    said = certified.head(report("graded"), "mlp", again=repeated(3, 4, 4, 3))
    first, _, rest = said.partition("agreed")[2].partition("</p>")
    assert "Chosen again in 3 other orders and 1 resampled prompt sets" in first
    assert "Always in: layers 0, 1, 2; sometimes in: layer 3; never: the other 26" in first
    assert "2 different sets" in first and "(2 of 4)" in first
    assert "Graded: between" in rest
    one = certified.head(report("graded"), "mlp", again=repeated(3, 3))
    assert "All end with one set" in one
    assert "agreed" not in certified.head(report("graded"), "mlp")


def test_a_refusal_that_is_taken_back_or_comes_late_is_told():
    made = report("graded")
    from dapa.search.engine.checked import Recheck

    def said(lost, gained):
        line = Recheck("best", made.mask, wilson(60, 100), lost, gained, True)
        return certified.below(replace(made, rechecks=(line,)), "mlp")

    assert "Of 100 replies of the set 3 open with a refusal and go on" in said(3, 0)
    assert "Refuse only later" in said(0, 5) and "5 refuse only later" in said(0, 5)
    assert "refuse only later" not in said(0, 0)


def test_words_from_outside_stay_words():
    made = report("graded")
    bad = replace(made.confidence, ended=NASTY, plan=replace(PLAN, note=NASTY, unseen=(NASTY,)))
    drawn = replace(made, confidence=bad, stop_reason=NASTY)
    assert NASTY not in certified.head(drawn, "mlp") + certified.below(drawn, "mlp")


def test_several_kinds_of_site_have_a_row_each_and_a_matrix_without_a_layer_its_own():
    units = (Unit(0), Unit(1), Unit(0, "mlp"), Unit.parse("embeddings"))
    made = replace(record("unclaimed"), units=units[:2], chain=(), chosen=())
    chosen = replace(record("graded").chosen[0], units=units)
    cells = certifying.units_row(replace(made, chosen=(chosen,)).as_dict())
    assert cells.count('class="strip-row"') == 2 and 'class="alone"' in cells


def test_the_exact_mode_says_that_it_is_true_of_these_prompts():
    exact = replace(report("graded"), confidence=None, algorithm="bisect")
    assert "Exact mode: true of these prompts" in result.draw(exact, "mlp", 30, None)


# -- while it runs -------------------------------------------------------------------------------


def at_stage(stage):
    """A record that has come as far as the stage of this number."""
    whole = record("graded")
    none = {"floors": (), "standings": (), "overfit": None, "unseen": None}
    if stage == 0:
        return replace(whole, chain=(), units=UNITS, **none)
    if stage == 2:
        links = tuple(
            replace(link, state="not asked", looks=(), certified=None) if link.size < 23 else link
            for link in whole.chain
        )
        return replace(whole, chain=links, units=UNITS[:23], **none)
    if stage == 3:
        return replace(whole, **none)
    return replace(whole, standings=()) if stage == 4 else whole


@pytest.mark.parametrize("stage", [0, 2, 3, 4, 5])
def test_the_stages_say_what_is_done_and_what_is_under_way(stage):
    told = stages(at_stage(stage).as_dict(), "mlp", "40 of 125 prompts")
    assert [one.state for one in told] == [
        "done" if i < stage else "now" if i == stage else "to come" for i in range(5)
    ]
    assert sum("40 of 125" in one.told for one in told) == (stage < 5)


def test_the_stages_name_the_link_and_the_units_left():
    assert stages(None, "mlp")[0].told == "getting ready"
    told = {one.name: one.told for one in stages(at_stage(2).as_dict(), "mlp")}
    assert told["Choose"] == "12 of 30 whole MLPs left, on 60 prompts"
    assert told["Certify"] == "set 3 of 9, 21 units; 23 units pass"
    done = {one.name: one.told for one in stages(record("graded").as_dict(), "mlp")}
    assert done["Certify"] == "18 units pass, 17 do not"
    assert done["Smallest sets"] == "up to 9 units: shown to lose more than 5 points"
    assert done["Firm or undecided"] == "12 firm, 6 undecided"
    few = {one.name: one for one in stages(record("unclaimed").as_dict(), "mlp")}
    assert few["Certify"].told == "too few prompts: no claim is made"


def test_a_search_under_way_is_drawn_with_its_stages():
    now = SearchProgress(
        "running", "certify", (), (), UNITS, None, 0.6, None, None, Costs(), None, 12.0,
        confidence=at_stage(2),
    )  # fmt: skip
    said = certifying.running(now, "mlp", "Searching: 30 whole MLPs, 310 prompts")
    assert said.count("<li") == 5 and said.count('aria-current="step"') == 1
    assert "set 3 of 9" in said


def test_the_replies_to_come_fall_from_stage_to_stage():
    left = [replies_left(at_stage(stage)) for stage in (0, 2, 3, 4, 5)]
    assert left == sorted(left, reverse=True) and left[-1] > 0
    assert seconds_left(record("graded"), ()) is None
    paced = seconds_left(record("graded"), [trial(0, 18), trial(1, 17)])
    assert paced == pytest.approx(left[-1] / 250)


def test_no_test_of_a_confidence_search_is_held_against_a_target():
    import json

    body = json.loads(replay.encode("run", "head", [trial(0, 18)], UNITS, 0.6, tests=29))
    assert body["tests"] is None  # 29 of one step: those that only read prompts are no steps
    assert body["target"] is None and body["opening"] == -1 and body["shown"] == [0]
    # one that ended at its opening checks had no target either: nothing is best, nothing held
    none = json.loads(replay.encode("run", "head", [trial(0, 18, "opening")], UNITS))
    assert none["opening"] == -1 and none["counting"] == []


# -- before it starts ----------------------------------------------------------------------------


def test_the_plan_says_what_can_be_shown_and_folds_the_chances():
    said = unescape(plan.told(plan_of(30, 60, 90, 250, 100)))
    assert "60 prompts choose, 250 certify what was chosen, 100 are locked away" in said
    assert "a loss of 5 points" in said and "<details" in said and "a set that loses" in said
    quick = unescape(plan.told(plan_of(30, 60, 0, 100, 0, "quick")))
    assert quick.count("Quick form") == 1 and "10 points" in quick
    spared = unescape(plan.told(plan_of(30, 60, 0, 100, 100, "quick")))
    assert "100 stay locked away, unasked" in spared and "asked once" not in spared
    few = unescape(plan.told(plan_of(30, 60, 0, 40, 0)))
    assert "no claim will be made" in few and "warn" in few and "<details" not in few
    assert "Exact mode" in plan.told(None)


def test_hand_built_records_are_records():
    for form in FORMS:
        assert ConfidenceRecord.from_dict(record(form).as_dict()) == record(form)
