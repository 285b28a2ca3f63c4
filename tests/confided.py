"""Confidence records built by hand, one of each form, for what draws and tells them."""

from dataclasses import replace

from dapa.core.records import Mask, Outcome, Rate, Trial, Unit
from dapa.core.statistics import wilson
from dapa.search.confidence.course import overfit_of
from dapa.search.confidence.parts import (
    CertifyLook,
    ChainLink,
    ChosenSet,
    FittedStep,
    SizeFloor,
    UnitStanding,
    UnseenKinds,
    Versus,
)
from dapa.search.confidence.record import ConfidencePlan, ConfidenceRecord
from dapa.search.engine.report import Costs, SearchReport

TOTAL, N, FULL = 30, 250, 0.65
UNITS = tuple(Unit(layer, "mlp") for layer in range(TOTAL))
PLAN = ConfidencePlan(
    "confidence", TOTAL, 60, 90, N, 100, 0.05,
    ((0.0, 0.91), (0.01, 0.72), (0.02, 0.47)), ((0.1, 0.34), (0.15, 0.9)),
    20, ("fraud", "weapons"), "seed 0, by kind of harm, near-duplicates kept together",
)  # fmt: skip
SHAPES = {
    # form: (sizes of the chain, size of the set, floor, points lost by the set, orders)
    "concentrated": ((30, 15, 8, 5, 4, 3), 4, 3, 0.4, 1),
    "graded": ((30, 26, 23, 21, 19, 18, 17, 16, 14, 12), 18, 9, 1.6, 1),
    "spread": ((30, 28, 27, 26, 25, 24, 22), 25, 17, 2.0, 2),
    "unclaimed": ((30, 20, 12), 12, 0, 0.0, 0),
    "nothing": ((30,), 30, 0, 0.0, 0),
}


def versus(n, points):
    """A set that loses so many points of all units' refusals on n prompts."""
    whole = round(FULL * n)
    lost = max(0, round(points * n / 100)) + 4
    return Versus(n, whole + 4 - lost, whole, 4, lost)


def link(size, state, points):
    """A set of the first units, as it stands at the end."""
    read = Rate(FULL - points / 200, FULL - 0.11, FULL + 0.1, 60)
    if state == "not asked":
        return ChainLink(UNITS[:size], state, read=read)
    held = versus(N, points)
    p = 0.004 if state == "passed" else 0.4
    look = CertifyLook(held.n, held.gained, held.lost, p, 1 - p)
    return ChainLink(UNITS[:size], state, (look,), held, None, read)


def record(form="graded", lost=None):
    """One hand-built end of a search.

    Args:
        form: What the evidence says.
        lost: Points that the set loses on the certify prompts, where not as the form has it.
    """
    sizes, size, floor, points, orders = SHAPES[form]
    points = points if lost is None else lost
    claimed = form not in ("unclaimed", "nothing")  # the others have a smaller set in their chain
    chain, ended = [ChainLink(UNITS, "not asked", read=Rate(FULL, 0.53, 0.76, 60))], False
    for each in sizes[1:]:
        if not claimed or ended:
            chain.append(link(each, "not asked", (TOTAL - each) / 4))
        elif each >= size:
            chain.append(link(each, "passed", points * (TOTAL - each) / (TOTAL - size)))
        else:
            chain.append(link(each, "gave up", 9))
            ended = True
    tried = tuple(link(k, "failed", 60 - 2 * k) for k in {2, max(1, floor)}) if floor else ()
    units = UNITS[:size]
    asked = min(size, 18) if claimed else 0
    seen, held = versus(60, 0.2), versus(N, points)
    return ConfidenceRecord(
        plan=PLAN if form != "unclaimed" else replace(PLAN, certify=40, margin=None),
        form=form,
        margin=None if form == "unclaimed" else 0.05,
        units=units,
        chosen=tuple(
            ChosenSet(UNITS[:k], "log-odds", 0.4, 1.0 + k / 30, FULL - (TOTAL - k) / 800)
            for k in sizes
        ),
        step=FittedStep(0.5, 0.2, 0.74, 0.82, True),
        chain=tuple(chain),
        ended=f"the set of {max(k for k in sizes if k < size)} units was given up"
        if claimed
        else "only 40 prompts are left to certify, and 100 are needed",
        floors=tuple(SizeFloor(("chosen", "prior")[i], floor, tried) for i in range(orders)),
        standings=tuple(
            UnitStanding(unit, i % 3 != 2, 0.0004 if i % 3 != 2 else 0.2, versus(N, 20 - i))
            for i, unit in enumerate(units[:asked])
        ),
        overfit=overfit_of(seen, held) if claimed else None,
        unseen=UnseenKinds(("fraud", "weapons"), versus(48, 4)) if claimed else None,
        looks=1,
        replies=4912,
        readings=5003,
    )


def report(form="graded", lost=None):
    """The same as the end of a job."""
    made = record(form, lost)
    at = made.link
    held = at.certified if at else None
    return SearchReport(
        algorithm="confidence",
        units=made.units,
        one_minimal=False,
        stop_reason="done",
        target=0.6,
        need=36,
        rates={
            "student": wilson(6, 60),
            "full": wilson(40, 60),
            "best": wilson(39, 60),
            "student_held_out": wilson(22, N),
            "held_out": held.rate if held else None,
            "full_held_out": held.whole_rate if held else None,
        },
        best_bounds=(0.65, 0.65),
        removals=(),
        rechecks=(),
        violations=(),
        supersets=0,
        best_seen=None,
        costs=Costs(tests=41, prompts_judged=4912, tokens=60_000, seconds=210.0),
        settings={},
        confidence=made,
    )


def trial(index, size, phase="certify"):
    """A row of the log."""
    return Trial(index, Outcome(Mask.of(UNITS[:size]), N, N, 160), phase, False, None, 1.0, 100)
