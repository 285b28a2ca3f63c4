"""The record of a confidence search survives JSON, and its sentences say what it holds."""

import json
from dataclasses import replace

from dapa.core.records import Rate, Unit
from dapa.search.confidence import plan
from dapa.search.confidence.parts import (
    CertifyLook,
    ChainLink,
    ChosenSet,
    Difference,
    FittedStep,
    Overfit,
    SizeFloor,
    UnitStanding,
    UnseenKinds,
    Versus,
)
from dapa.search.confidence.record import ConfidencePlan, ConfidenceRecord
from dapa.writing.confidence import (
    CHOOSE,
    certify_text,
    chain_rows,
    headline,
    overfit_text,
    plan_sentence,
    standing_rows,
    unseen_text,
)

UNITS = tuple(Unit(layer) for layer in range(12))
PLAN = ConfidencePlan(
    "confidence", 12, 60, 90, 250, 100, 0.05, ((0.0, 0.9),), ((0.1, 0.3),), 20, ("fraud",), "seed 0"
)


def record(size=4, form="concentrated", floor=2, lost=4, floors=("chosen",)):
    look = CertifyLook(250, 2, lost, 0.004, 0.99)
    held = Versus(250, 160 + 2 - lost, 160, 2, lost)
    kept = ChainLink(UNITS[:size], "passed", (look,), held, held, Rate(0.6, 0.5, 0.7, 60))
    lower = ChainLink(UNITS[:2], "failed", (look,), held)
    least = {"chosen": lower, "prior": ChainLink(UNITS[2:4], "failed", (look,), held)}
    start = ChainLink(UNITS, "passed", read=Rate(0.65, 0.5, 0.7, 60))
    return ConfidenceRecord(
        plan=PLAN,
        form=form,
        margin=0.05,
        units=kept.units,
        chosen=(
            ChosenSet(UNITS, "log-odds", 0.0, 1.5, 0.65),
            ChosenSet(kept.units, "verdicts", 1.0, None, 0.62),
        ),
        step=FittedStep(0.5, 0.2, 0.7, 0.8, True),
        chain=(start, kept, lower),
        ended="the set of 2 units was not shown to hold",
        floors=tuple(SizeFloor(order, floor, (least[order],)) for order in floors),
        standings=(
            UnitStanding(UNITS[0], True, 0.001, held),
            UnitStanding(UNITS[1], False, 0.2, held),
        ),
        overfit=Overfit(held, held, Difference(0.1, 0.01, 0.2), Difference(0.02, -0.05, 0.09)),
        unseen=UnseenKinds(("fraud",), held),
        looks=2,
        replies=2500,
        readings=3000,
    )


def test_a_record_comes_back_from_json_as_it_was():
    made = record()
    assert ConfidenceRecord.from_dict(json.loads(json.dumps(made.as_dict()))) == made


def test_a_concentrated_set_is_named_with_margin_prompts_and_p():
    told = headline(record().as_dict(), "gate")
    assert told.startswith(
        "Concentrated in layers 0, 1, 2, 3: 4 of 12 gates lose less than 5 points"
    )
    assert "250 prompts that chose nothing" in told and "p = 0.004" in told
    assert told.endswith("1 of them firm, 1 undecided.")


def test_a_graded_result_names_both_ends():
    told = headline(record(8, "graded").as_dict(), "mlp")
    assert told.startswith(
        "Graded: between 3 and 8 of 12 whole MLPs are needed along the one order tried; another "
        "choice may do with fewer. "
    )
    assert (
        "Along the one order tried, every set tried of up to 2 whole MLPs loses more than 5" in told
    )


def test_a_spread_result_claims_both_orders_and_never_every_set():
    told = headline(record(10, "spread", 6, floors=("chosen", "prior")).as_dict(), "gate")
    assert told.startswith(
        "Spread: along both orders tried, every set tried of up to 6 gates loses more than 5 points"
    )


def test_two_orders_that_met_the_same_sets_are_told_as_one():
    made = record(10, "spread", 6, floors=("chosen", "prior"))
    again = replace(made.floors[0], order="prior")
    same = replace(made, floors=(made.floors[0], again))
    assert headline(same.as_dict(), "gate").startswith("Spread: along the one order tried, every")


def test_nothing_and_too_few_prompts_claim_nothing():
    assert "other kinds of site" in headline(record(form="nothing").as_dict(), "gate")
    assert headline(record(form="unclaimed").as_dict(), "gate").startswith("No claim: ")


def test_the_sentence_leads_with_a_loss_beyond_chance():
    told = headline(record(lost=14).as_dict(), "gate")
    assert told.startswith("On 250 prompts that chose nothing the set refuses 4.8 points less")
    assert not headline(record(lost=2).as_dict(), "gate").startswith("On 250")


def test_the_point_of_best_return_lies_farthest_above_the_line():
    assert len(record().best_return.units) == 4


def test_the_plan_says_what_can_be_shown_and_what_is_missing():
    told = plan_sentence(PLAN.as_dict())
    assert "60 prompts choose, 250 certify, 100 are locked away" in told and "5 points" in told
    few = ConfidencePlan("confidence", 12, 60, 0, 40, 0, None)
    assert "no claim will be made: give at least 160" in plan_sentence(few.as_dict())
    # where all prompts choose and none is left, more would choose before any certifies
    none = ConfidencePlan("confidence", 12, 3, 0, 0, 0, None)
    assert "give at least 160 harmful prompts, better 310" in plan_sentence(none.as_dict())
    assert CHOOSE == plan.CHOOSE


def test_the_rest_is_told_beside_it():
    told = record().as_dict()
    assert "+10.0 [+1.0, +20.0] points" in overfit_text(told) and "chance" in overfit_text(told)
    assert "1 kind of harm" in unseen_text(told)
    many = {**told["unseen"], "kinds": [f"kind {i}" for i in range(90)]}
    assert "On 90 kinds" in unseen_text({**told, "unseen": many})
    assert "kind 5 and 84 more; n =" in unseen_text({**told, "unseen": many})
    assert "have certified 2 times" in certify_text(told)
    assert not [row for row in standing_rows(told) if "[-" in row[2] or "+0.0" in row[2]], "signs"
    assert len(chain_rows(told)) == 3 and standing_rows(told)[0][-1] == "firm"
