"""Dose: does refusal grow with the transplant's strength, and a sham's not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dapa.core.errors import SettingError
from dapa.core.masks import Mask
from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.settings import Settings, setting
from dapa.workbench.measurements.beside import Beside, Sheet, ends, numbers
from dapa.writing.numbers import rate_text
from dapa.writing.unit_names import units_text

if TYPE_CHECKING:
    from dapa.core.records import Prompt
    from dapa.measure.dose import Dose


def _shams() -> Mapping[str, str]:
    """Those made of the pair's own weights."""
    from dapa.measure.placebos import shams

    return {name: shams.titles[name] for name in shams if shams[name].material != "donor"}


@dataclass(frozen=True, kw_only=True)
class DoseSettings(Settings):
    """Which strengths, beside which sham."""

    strengths: str = setting(
        "",
        "strengths",
        "From 0 to 1, with commas; eleven steps by default.",
        most=1000,
        placeholder="0, 0.1, 0.2 … 1",
        told=lambda strengths: f"strengths {strengths}" if strengths else "eleven strengths",
    )
    sham: str = setting(
        "permuted",
        "sham",
        "permuted, other-layer or flipped.",
        choices=_shams,
        told=lambda sham: f"sham: {_shams()[sham]}",
    )

    @property
    def steps(self) -> tuple[float, ...]:
        """The strengths; empty for the usual ones."""
        try:
            return tuple(float(part) for part in self.strengths.split(",") if part.strip())
        except ValueError:
            raise SettingError(
                f"strengths {self.strengths[:60]!r} are no numbers; write 0,0.5,1"
            ) from None

    def check(self) -> None:
        """The strengths are numbers from 0 to 1."""
        for step in self.steps:
            if not 0.0 <= step <= 1.0:
                raise SettingError(f"strength {step:g} is outside 0 to 1")


@dataclass(frozen=True, eq=False)
class DoseCurves(Beside["Dose"]):
    """Both curves."""

    sham: str = "permuted"
    """What the sham's changes are, in words."""
    where: str = "held-out"
    """Which prompts were asked."""

    def table(self) -> Sheet:
        """Headers and rows of the CSV: a row a point."""
        head = ("curve", "strength", *ends("dsr"), *ends("incoherent"), "p_value")
        rows = [
            (p.curve, p.strength, *numbers(p.dsr), *numbers(p.incoherent), p.p_value)
            for p in self.found.points
        ]
        return head, rows


def _measure(call: Call) -> DoseCurves:
    from dapa.measure.dose import dose

    job, search = call.job, call.search or call.job.settings
    if job is not None:
        pair, mask, prompts = job.pair, job.report.mask, job.held_out or job.prompts
        where = "held-out" if job.held_out else "search"
        job.looked("dose")
    else:
        pair, mask = call.bench.pair, call.mask
        prompts, where = _unchosen(call)
    steps = {"strengths": call.settings.steps} if call.settings.steps else {}
    found = dose(
        pair,
        prompts,
        mask,
        call.bench.store,
        how=search.format(),
        max_new_tokens=search.max_new_tokens,
        sham=call.settings.sham,
        seed=search.seed,
        progress=call.progress,
        stop=call.stop,
        **steps,
    )
    told = {"sham": _shams()[call.settings.sham], "where": where}
    if job is not None:
        return DoseCurves.of(call, found, **told)
    origin = f"{pair.spec.title} · {len(prompts)} {where} prompts · seed {search.seed}"
    return DoseCurves(found, origin, units=mask.units, **told)


def _unchosen(call: Call) -> tuple[tuple[Prompt, ...], str]:
    """Prompts that chose nothing, or all where none is known to."""
    asked = call.search
    found = call.bench.prompts(asked.prompts, "harmful", asked.prompt_column)
    parts = call.bench.parts_of(call.run, call.mask, found) if call.run else None
    if parts is not None and parts[1]:
        return tuple(parts[1]), "held-out"
    own = tuple(prompt for prompt in found.prompts if prompt.split == "held_out")
    return (own, "held-out") if own else (tuple(found.prompts), "all")


def _describe(record: DoseCurves) -> Shown:
    found = record.found
    beside = {point.strength: point for point in found.curve("sham")}
    rows: list[tuple[Any, ...]] = []
    for point in found.curve("found"):
        sham = beside.get(point.strength)
        rows.append(
            (
                f"{point.strength:g}",
                point.dsr,
                point.incoherent,
                sham and sham.dsr,
                sham and sham.incoherent,
            )
        )
    if not rows:
        return Shown("Nothing was measured.")
    head = ("strength", "DSR, found set", "incoherent, found set", "DSR, sham", "incoherent, sham")
    prompts = (
        "On all prompts, of which some may have chosen the set"
        if record.where == "all"
        else f"On {record.where} prompts"
    )
    return Shown(
        finding(found, "found" if record.run else "given"),
        (Table(head, rows),),
        (
            f"{prompts}, whole replies, 95 % Wilson intervals. The sham, weakened alike, in each "
            f"site: {record.sham}.",
        ),
    )


def finding(found: Dose, which: str = "found") -> str:
    """Half of the effect at which strength, and does the sham move at all?"""
    own, sham = found.curve("found"), found.curve("sham")
    if not own:
        return "Nothing was measured."
    full = own[-1]
    head = (
        f"At strength {full.strength:g} the {which} set ({units_text(found.mask.units)}) refuses "
        f"{rate_text(full.dsr)}"
    )
    if found.half is not None:
        head += f"; half of its highest DSR comes at strength {found.half:g}"
    if not sham:
        return f"{head}; the sham was not measured."
    student = own[0].dsr
    most = max(sham, key=lambda point: point.dsr.value)
    if most.dsr.low > student.high:
        return f"{head}. The sham raises refusals too, up to {rate_text(most.dsr)}."
    return f"{head}. The sham does not clearly raise refusals at any strength."


def _figures(record: DoseCurves, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures import dose_chart

    return [("Strength against DSR", dose_chart(record.found, dark))]


def _given(job: Any) -> str:
    found: Mask | None = job.report.mask if job.report is not None else None
    return "" if found is not None and found.entries else "nothing was found that has a dose"


measurements.add("dose")(
    Measurement(
        "Dose",
        "Does refusal grow with the strength?",
        "Raise the transplant's strength step by step, and a sham's beside it, and count refusals.",
        "The found set blended in from 0 to 1, beside a sham of the same size.",
        "search",
        DoseSettings,
        _measure,
        _describe,
        _figures,
        masked=True,
        refuses=_given,
    )
)
