"""How far the two models' states are apart: a map, by prompt, or along one prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dapa.core.measurement import Call, Measurement, Shown, Table, measurements
from dapa.core.records import SettingError
from dapa.core.settings import setting
from dapa.prompts.settings import BothSettings
from dapa.workbench.measurements.asking import NOTHING, STARS
from dapa.writing.numbers import plain
from dapa.writing.unit_names import SITE_TITLES

if TYPE_CHECKING:
    from dapa.localize.divergence.maps import DivergenceMap, TokenMap

_ROLES = {"harmful": "harmful", "harmless": "harmless twins", "borderline": "borderline harmless"}
_READINGS = {
    "local": "both the student’s input",
    "total": "each its own model’s input",
}
_POSITIONS = {
    "last": "last token",
    "instruction": "end of the instruction",
    "all": "mean of all tokens",
    "token": "a chosen token",
}


def _metrics() -> Mapping[str, str]:
    from dapa.localize.divergence.metrics import metrics

    return metrics.titles


@dataclass(frozen=True, kw_only=True)
class MapSettings(BothSettings):
    """What is compared, over which prompts: of the map, by prompt and along one prompt."""

    metric: str = setting(
        "cosine",
        "measure of distance",
        "cosine, l2, cka, kl or another metric; an unknown name lists all.",
        choices=_metrics,
        told=lambda metric: _metrics()[metric],
    )
    reading: str = setting(
        "local",
        "what the two modules read",
        "local: both on the student's input; total: each on its own.",
        choices=lambda: _READINGS,
        told=lambda reading: f"{_READINGS[reading]} ({reading} reading)",
    )
    role: str = setting(
        "harmful",
        "prompts",
        "Which of the pair's sets is asked: harmful, harmless or borderline.",
        choices=lambda: _ROLES,
        flag="--set",
        told=lambda role: "" if role == "harmful" else _ROLES[role],
    )
    position: str = setting(
        "last",
        "at which token",
        "last, all, instruction, or a token's index from either end.",
        offered=lambda: _POSITIONS,
        told=lambda position: _POSITIONS.get(position, f"token {position}"),
    )
    token: int = setting(
        0,
        "the chosen token (below 0: from the end)",
        low=-100_000,
        high=100_000,
        flag="-",
        row=50,
    )
    contrast: bool = setting(
        False,
        "minus the harmless ones (what differs on harm alone)",
        "Harmful minus harmless: minus their twins, where there are some.",
        preset=True,
        row=1,
        told=lambda contrast: "minus harmless" if contrast else "no contrast",
    )
    behind: bool = setting(
        False,
        "also behind the gate’s activation, and each neuron",
        "Look behind the activation too: at the activated gate and at the neurons.",
        row=1,
        told=lambda behind: "behind the activation too" if behind else "",
    )
    sinks: bool = setting(
        False,
        "count attention sinks, such as the first token, in the mean of all",
        "With --position all, count attention sinks too.",
        row=1,
        told=lambda sinks: "sinks counted" if sinks else "",
    )
    sites: tuple[str, ...] = setting(
        (), "sites", "Only these, as in gate,gate_act,neurons,residual.", form=False
    )
    prompt: str | None = setting(
        None, "prompt", "One prompt instead: its map by layer, site and token.", form=False
    )
    by_prompt: str | None = setting(
        None, "by prompt", "Unfold this site by prompt, in --html and --csv.", form=False
    )

    @property
    def place(self) -> str | int:
        """Where in a prompt is looked."""
        return self.token if self.position == "token" else self.position

    @property
    def contrasts(self) -> bool:
        """Is something subtracted? Only from harmful prompts."""
        return self.role == "harmful" and (self.contrast or self.harmless is not None)


@dataclass(frozen=True, eq=False)
class MappedDivergence:
    """A map over prompts, with what of it is told."""

    found: DivergenceMap
    by_prompt: str | None = None
    """The site that is unfolded by prompt."""

    @property
    def contrast(self) -> bool:
        """Are the values harmful minus harmless?"""
        return self.found.contrast is not None

    @property
    def provenance(self) -> str:
        """One line that says where the numbers come from."""
        return self.found.provenance

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Headers and rows, for a file: prompt by prompt where a site is unfolded."""
        if self.by_prompt is not None:
            return self.found.prompt_table(self.by_prompt)
        return self.found.table(self.contrast)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        body = self.found.as_dict(self.contrast)
        if self.by_prompt is not None:
            j = self.found.sites.index(self.by_prompt)
            body["prompts"] = [
                {"prompt": text, "values": [None if v != v else float(v) for v in values[:, j]]}
                for text, values in zip(self.found.prompts, self.found.per_prompt, strict=True)
            ]
        return body


def _measure(call: Call) -> MappedDivergence | TokenMap:
    asked: MapSettings = call.settings
    bench = call.bench
    only = list(asked.sites) or None
    how: dict[str, Any] = {
        "how": asked.format(), "metric": asked.metric, "reading": asked.reading
    }  # fmt: skip
    if asked.prompt is not None:
        call.progress("measuring", None)
        along: TokenMap = bench.token_map(asked.prompt, sites=only, **how)
        return along
    if asked.behind and only is None:
        only = map_sites_of(bench.pair, True)
    shown = only or map_sites_of(bench.pair, False)
    if asked.by_prompt is not None and asked.by_prompt not in shown:
        raise SettingError(
            f"{asked.by_prompt!r} is not on the map of {', '.join(shown)}; add it there"
        )
    chosen = bench.search_set(_mapped(asked), asked.role)
    harmless, twins = None, False
    if asked.contrasts:
        twins = asked.harmless is None and all(one.twin for one in chosen.prompts)
        if twins:  # paired, so that what varies between requests cancels
            harmless = [one.twin for one in chosen.prompts]
        else:
            safe = bench.search_set(asked, "harmless")
            harmless = list(safe.texts)
    found = bench.divergence(
        list(chosen.texts),
        harmless=harmless,
        twins=twins,
        position=asked.place,
        sites=only,
        sink=asked.sinks,
        seed=asked.seed,
        progress=call.counted("prompts"),
        stop=call.stop,
        **how,
    )
    return MappedDivergence(found, asked.by_prompt)


def _mapped(asked: MapSettings) -> MapSettings:
    """The settings with the set to map where its role looks for it."""
    return replace(asked, harmless=asked.prompts) if asked.role == "harmless" else asked


def map_sites_of(pair: Any, behind: bool = True) -> list[str]:
    """What a map of a pair can look at; with `behind` all of it, else what it shows unasked."""
    from dapa.localize.divergence.recording import map_sites, usual_sites

    return list(map_sites(pair) if behind else usual_sites(pair))


def _origin(call: Call, record: MappedDivergence | TokenMap) -> str:
    asked: MapSettings = call.settings
    if asked.prompt is not None:
        return record.provenance
    return f"{record.provenance} · from {call.bench.named_set(_mapped(asked), asked.role).name}"


def _number(value: float | None, sure: bool = False) -> str | None:
    return None if value is None else plain(value) + ("*" if sure else "")


def _describe(record: MappedDivergence | TokenMap) -> Shown:
    if not isinstance(record, MappedDivergence):
        return _along(record)
    found, body = record.found, record.as_dict()
    if not found.n:
        return NOTHING
    told = body.get("significant") or [[False] * len(found.sites) for _ in found.layers]
    rows = [
        (layer, *(_number(v, s) for v, s in zip(line, sure, strict=True)))
        for layer, line, sure in zip(body["layers"], body["values"], told, strict=True)
    ]
    stars = STARS if record.contrast else ""
    what = "harmful minus harmless" if record.contrast else f"mean {found.title.lower()}"
    return Shown(
        f"Over {found.n} prompts, {what}; {found.reading} reading.",
        (Table(("layer", *body["sites"]), rows, about=stars, drawn=True),),
    )


def _along(along: TokenMap) -> Shown:
    values = along.as_dict()["values"]
    tables = [
        Table(
            ("token", *map(str, along.layers)),
            [
                (token, *(_number(layer[place][i]) for layer in values))
                for i, token in enumerate(along.tokens)
            ],
            title=site,
            drawn=True,
        )
        for place, site in enumerate(along.sites)
    ]
    return Shown(
        f"{along.title} along one prompt of {len(along.tokens)} tokens.",
        tuple(tables),
        ("Attention sinks, the first token among them, do not count for a picture's scale.",),
    )


def _figures(record: MappedDivergence | TokenMap, dark: bool) -> Sequence[tuple[str, Any]]:
    from dapa.figures.maps import divergence_heatmap, layer_prompt_heatmap, layer_token_heatmap

    if not isinstance(record, MappedDivergence):
        return [
            (SITE_TITLES.get(site, site), layer_token_heatmap(record, site, dark))
            for site in record.sites
        ]
    found = record.found
    made = [("where the two models part", divergence_heatmap(found, dark, record.contrast))]
    if record.contrast:
        made.append(("the harmful prompts alone", divergence_heatmap(found, dark, False)))
    if (site := record.by_prompt) is not None:
        made.append((f"prompt by prompt, {site}", layer_prompt_heatmap(found, site, dark)))
    return made


measurements.add("divergence", "divergence")(
    Measurement(
        "Divergence",
        "Where the two models part",
        "Measure how far the two models are apart, layer by layer and site by site.\n\n"
        "With --harmless or --contrast the values are harmful minus harmless. Ctrl-C stops with "
        "the prompts measured so far.",
        "A column per layer of the two models, a row per place. Local reading: the teacher's "
        "module on the student's input; total: each model on its own. Where harmless requests "
        "are subtracted, blue is further apart on harmful ones, orange on harmless ones, and a dot "
        "may be 0 by chance, at 5 % false discoveries over all cells.",
        "pair",
        MapSettings,
        _measure,
        _describe,
        _figures,
        origin=_origin,
        by_layer=True,
        screen=False,
    )
)
