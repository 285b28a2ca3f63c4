"""The dose curve: does refusal grow with the transplant's strength, and a sham's not?"""

from __future__ import annotations

import threading

from dapa.figures import dose_chart
from dapa.measure.dose import Dose, dose
from dapa.search.job import SearchJob
from dapa.ui.measurements.look import Look, looks
from dapa.ui.parts import esc, note, rate, table
from dapa.ui.tasks import Progress
from dapa.workbench import Workbench
from dapa.writing.sentences import rate_text


def _measure(bench: Workbench, job: SearchJob, told: Progress, stop: threading.Event) -> Dose:
    assert job.report is not None, "looks are offered for finished searches only"
    return dose(
        job.pair,
        job.held_out or job.prompts,
        job.report.mask,
        job.store,
        how=job.settings.format(),
        max_new_tokens=job.settings.max_new_tokens,
        seed=job.settings.seed,
        progress=told,
        stop=stop,
    )


def _draw(found: Dose, job: SearchJob) -> str:
    beside = {point.strength: point for point in found.curve("sham")}
    rows = []
    for point in found.curve("found"):
        sham = beside.get(point.strength)
        rows.append(
            (
                f"{point.strength:g}",
                rate(point.dsr),
                rate(sham.dsr) if sham else "–",
                rate(point.incoherent, with_n=False),
            )
        )
    if not rows:
        return note("Nothing was measured.")
    head = ("strength", "DSR, found set", "DSR, sham", "incoherent, found set")
    where = "held-out" if job.held_out else "search"
    told = note(
        f"On {where} prompts, whole replies, 95 % Wilson intervals. The sham is the same "
        "difference with its entries permuted within each site."
    )
    return f'<p class="finding">{esc(told_dose(found))}</p>{table(head, rows, [0])}{told}'


def told_dose(found: Dose) -> str:
    """Half of the effect at which strength, and does the sham move at all?"""
    own, sham = found.curve("found"), found.curve("sham")
    if not own:
        return "Nothing was measured."
    full = own[-1]
    head = f"At strength {full.strength:g} the found set refuses {rate_text(full.dsr)}"
    if found.half is not None:
        head += f"; half of its highest DSR comes at strength {found.half:g}"
    if not sham:
        return f"{head}; the sham was not measured."
    student = own[0].dsr
    most = max(sham, key=lambda point: point.dsr.value)
    if most.dsr.low > student.high:
        return f"{head}. The sham raises refusals too, up to {rate_text(most.dsr)}."
    return f"{head}. The sham does not clearly raise refusals at any strength."


looks.add("dose", "Dose")(
    Look(
        "Dose",
        "Does refusal grow with the strength?",
        "The found set blended in from 0 to 1, beside a sham of the same size.",
        _measure,
        _draw,
        lambda found, job, dark: dose_chart(found, dark),
    )
)
