"""Cross-model patching: one model's activations put into the other, one place at a time.

Teacher into student: where a patch brings refusal, what the teacher computed up to that place is
enough for the rest of the student. Student into teacher: where a patch costs refusal, the teacher
cannot do without the place; under an AND of layers this is the sharper way. A residual site carries
everything below it; what a layer adds by itself is its attention's and its MLP's output (Prakash et
al. 2024, arXiv 2402.14811, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapa.core.records import PromptError, SettingError
from dapa.core.running import Running
from dapa.core.settings import check_seed
from dapa.core.statistics import mean_interval
from dapa.localize.causes.flips import Effect, counted, effect_of
from dapa.localize.causes.restoring import Restore, blanks, record, restored_log_odds
from dapa.localize.divergence.maps import plain
from dapa.localize.divergence.recording import sites_of_pair, usual_sites
from dapa.localize.divergence.significance import adjusted, bootstrap_p, significant
from dapa.localize.divergence.tokens import encoded
from dapa.model.decode.openers import Role, find_openers
from dapa.model.pair import Pair
from dapa.prompts.format import PromptFormat

Floats = NDArray[np.float64]
POSITIONS = ("all", "last")
INTO: tuple[Role, Role] = ("student", "teacher")


@dataclass(frozen=True, eq=False)
class PatchMap:
    """What each place's activations of one model do to the other's refusal."""

    sites: tuple[str, ...]
    layers: tuple[int, ...]
    per_prompt: Floats  # (prompts, layers, sites)
    """Into the student: log-odds of the patched student minus the student's. Into the teacher: the
    teacher's minus those of the patched teacher. Either way above 0 the place carries refusal."""
    prompts: tuple[str, ...]
    whole: Effect
    """Log-odds of the teacher minus the student's."""
    into: Role
    """Which model runs and is patched."""
    position: str
    skipped: int
    """Prompts whose tokens differ between the two tokenizers."""
    asked: int
    pair: str
    seed: int
    values: Floats  # (layers, sites)
    low: Floats  # (layers, sites)
    high: Floats  # (layers, sites)
    p: Floats  # (layers, sites)

    title = "change of refusal log-odds"
    unit = ""

    @property
    def n(self) -> int:
        """How many prompts the values are taken over."""
        return len(self.prompts)

    @property
    def q(self) -> Floats:
        """p-values adjusted over all cells (Benjamini and Hochberg)."""
        return adjusted(self.p)

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Which cells can be told from zero."""
        return significant(self.q)

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        where = "every token" if self.position == "all" else "the last token"
        skipped = f", {self.skipped} skipped for their tokens" if self.skipped else ""
        giver = "teacher" if self.into == "student" else "student"
        return (
            f"{self.pair} · {giver}'s activations in the {self.into} at {where}, in refusal "
            f"log-odds · {counted(self.n, self.asked)}{skipped}"
        )

    def behind(self, layer: int, site: str) -> list[tuple[str, float]]:
        """The prompts behind a cell with their values, the largest change first."""
        column = self.per_prompt[:, self.layers.index(layer), self.sites.index(site)]
        order = np.argsort(-np.abs(column), kind="stable")
        return [(self.prompts[i], float(column[i])) for i in order]

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file."""
        headers = ("layer", "site", "value", "low", "high", "n", "p", "q", "significant")
        arrays, mask = (self.values, self.low, self.high), self.significant
        rows = [
            (
                layer,
                site,
                *(float(a[i, j]) for a in arrays),
                self.n,
                float(self.p[i, j]),
                float(self.q[i, j]),
                bool(mask[i, j]),
            )
            for i, layer in enumerate(self.layers)
            for j, site in enumerate(self.sites)
        ]
        return headers, rows

    def as_dict(self) -> dict[str, Any]:
        """The JSON form; arrays are [layer][site]."""
        return {
            "sites": list(self.sites),
            "layers": list(self.layers),
            **{k: plain(getattr(self, k)) for k in ("values", "low", "high", "p", "q")},
            "significant": self.significant.tolist(),
            "whole": self.whole.as_dict(),
            "into": self.into,
            "position": self.position,
            "n": self.n,
            "skipped": self.skipped,
        }


def patching(
    pair: Pair,
    prompts: Sequence[str],
    how: PromptFormat,
    sites: Sequence[str] | None = None,
    position: str = "all",
    into: Role = "student",
    **options: Any,
) -> PatchMap:
    """Put one model's activations into the other, one layer and site at a time.

    Args:
        pair: The two models.
        prompts: Requests, harmful ones.
        how: How a request is rendered, for both models.
        sites: Which sites; by default the streams and the MLP's.
        position: `all`: at every token, for prompts that both models read in the same tokens;
            `last`: at the last token alone.
        into: The model that runs and is patched with the other's activations.
        options: Of `Running`; the seed is of the bootstrap behind the p-values.

    Raises:
        SettingError: A site or position that does not exist.
        PromptError: No prompt, or none that both models read alike.
        NoOpeners: A vocabulary has no refusal opener.
    """
    asked = Running(**options)
    seed, rows, progress, stop = asked.seed, asked.rows, asked.progress, asked.stop
    check_seed(seed)
    if position not in POSITIONS:
        raise SettingError(f"position {position!r} is not known; choose {' or '.join(POSITIONS)}")
    if into not in INTO:
        raise SettingError(f"cannot patch into {into!r}; choose {' or '.join(INTO)}")
    giver = INTO[into == "student"]
    every = sites_of_pair(pair)
    for site in sites or ():
        if site not in every:
            raise SettingError(f"{site!r} is not a site; choose from {', '.join(every)}")
    if not prompts:
        raise PromptError("there is no prompt to measure on; choose a prompt set with some")
    chosen = tuple(s for s in every if s in (usual_sites(pair) if sites is None else sites))
    openers = {role: find_openers(pair, role) for role in INTO}
    layers = tuple(range(pair.n_layers))
    places = [(layer, site) for layer in layers for site in chosen]
    found: list[Floats] = []
    gaps: list[float] = []
    counted_in: list[str] = []
    skipped = 0
    for i, prompt in enumerate(prompts):
        if stop is not None and stop.is_set():
            break
        ids = {role: encoded(pair, prompt, how, role).ids for role in INTO}
        if position == "all" and ids["student"] != ids["teacher"]:
            skipped += 1
            continue
        first = blanks(pair, "teacher", ids["teacher"])
        if all(pair.tokenizer.decode([t]) == pair.teacher_tokenizer.decode([t]) for t in first):
            ids = {role: (*read, *first) for role, read in ids.items()}
        states = record(pair, giver, ids[giver], chosen)
        if position == "last":
            states = {place: x[-1:] for place, x in states.items()}
        length = len(ids[into])
        where = tuple(range(length)) if position == "all" else (length - 1,)
        restores = [Restore((), ()), *(Restore((place,), where) for place in places)]
        f = restored_log_odds(pair, into, ids[into], restores, states, openers[into], rows)
        other = restored_log_odds(pair, giver, ids[giver], restores[:1], {}, openers[giver])
        sign = 1.0 if into == "student" else -1.0
        found.append(sign * (f[1:] - f[0]).reshape(len(layers), len(chosen)))
        gaps.append(float(sign * (other[0] - f[0])))
        counted_in.append(prompt)
        if progress:
            progress(i + 1, len(prompts))
    if skipped == len(prompts):
        raise PromptError(
            f"student and teacher read all {skipped} prompts in different tokens, so no place of "
            "one matches a place of the other; patch the last token alone"
        )
    per_prompt = np.array(found).reshape(len(found), len(layers), len(chosen))
    values, low, high = mean_interval(per_prompt, axis=0)
    p = bootstrap_p(per_prompt, seed=seed) if len(found) else np.full(values.shape, np.nan)
    return PatchMap(
        sites=chosen,
        layers=layers,
        per_prompt=per_prompt,
        prompts=tuple(counted_in),
        whole=effect_of(np.array(gaps)),
        into=into,
        position=position,
        skipped=skipped,
        asked=len(prompts),
        pair=pair.spec.title,
        seed=seed,
        values=values,
        low=low,
        high=high,
        p=p,
    )
