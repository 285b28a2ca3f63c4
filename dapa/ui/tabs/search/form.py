"""What a user chooses about a search, folded into one line that reads as a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dapa.core.records import SettingError
from dapa.core.settings import MAX_SEED
from dapa.model.families import ALL, KIND_TITLES
from dapa.search.algorithms.questions import algorithms
from dapa.search.job import DEFAULT_ALGORITHM, SearchSettings
from dapa.search.priors import NEED_ONE, priors
from dapa.ui.dashboard import Dashboard, guarded, one_of, real, whole
from dapa.writing.sentences import kind_text, percent

FIELDS = (
    "algorithm", "kind", "prior", "blocks", "goal", "level", "limit", "tokens", "seed",
    "max_kl", "screen", "max_tests", "max_tokens", "max_seconds",
)  # fmt: skip
"""Every choice, in the order of the components and of what handlers are sent."""
DEFAULTS: dict[str, Any] = {
    "algorithm": DEFAULT_ALGORITHM,
    "kind": "gate",
    "prior": "",
    "blocks": 0,
    "goal": "relative",
    "level": 0.9,
    "limit": 64,
    "tokens": 48,
    "seed": 0,
    "max_kl": 0,
    "screen": True,
    "max_tests": 0,
    "max_tokens": 0,
    "max_seconds": 0,
}
GOALS = {"relative": "a share of the gain", "absolute": "a refusal rate (DSR)"}
"""What the target is: student + level x (full - student), or the level itself."""
_MOST = 10_000_000_000


@dataclass(frozen=True)
class Choices:
    """The components."""

    sentence: gr.Accordion
    parts: dict[str, Any]
    """Field -> component, in the order of FIELDS."""

    @property
    def inputs(self) -> list[Any]:
        """What shapes a search."""
        return list(self.parts.values())

    @property
    def changes(self) -> list[Any]:
        """The events of a choice made otherwise."""
        return [component.change for component in self.parts.values()]


def build() -> Choices:
    """Layout: the sentence, and what it unfolds into."""
    parts: dict[str, Any] = {}
    with gr.Accordion(
        sentence(DEFAULTS), open=False, elem_classes="sentence", elem_id="search-settings"
    ) as line:
        with gr.Row():
            parts["algorithm"] = gr.Dropdown(
                [(algorithms.titles[name], name) for name in algorithms],
                value=DEFAULT_ALGORITHM,
                label="algorithm",
            )
            parts["kind"] = gr.Dropdown(
                [(KIND_TITLES[k], k) for k in KIND_TITLES], value="gate", label="kind of site"
            )
            parts["prior"] = gr.Dropdown(
                [("mask gradients, else divergence", ""), *_ranked()],
                value="",
                label="ranking to follow",
                visible=False,
            )
            parts["blocks"] = _number("blocks", "blocks of neurons a site (0: as it does)", 0)
        with gr.Row():
            parts["goal"] = gr.Radio(
                [(text, name) for name, text in GOALS.items()],
                value="relative",
                label="the target is",
            )
            parts["level"] = gr.Slider(0.05, 1, 0.9, step=0.05, label="target")
            parts["max_kl"] = gr.Number(
                0, label="KL at most, bits a token (0: no limit)", minimum=0, step=0.01
            )
        with gr.Row():
            parts["limit"] = _number("limit", "search prompts at most", 4)
            parts["tokens"] = _number("tokens", "most new tokens", 1)
            parts["seed"] = _number("seed", "seed", 0)
            parts["screen"] = gr.Checkbox(
                True, label="ask the likeliest first", info="by log-odds, which decide nothing"
            )
        with gr.Row():
            parts["max_tests"] = _number("max_tests", "tests at most (0: no limit)", 0)
            parts["max_tokens"] = _number("max_tokens", "tokens at most (0: no limit)", 0)
            parts["max_seconds"] = _number("max_seconds", "seconds at most (0: no limit)", 0)
    return Choices(line, {name: parts[name] for name in FIELDS})


def searchable(differs: Mapping[str, Iterable[int]]) -> list[str]:
    """The kinds of site that differ somewhere, and all of them together where there are several."""
    able = [kind for kind in KIND_TITLES if list(differs.get(kind, ()))]
    return [*able, ALL] if len(able) > 1 else able


def _ranked() -> list[tuple[str, str]]:
    return [(priors.titles[name], name) for name in priors]


def _number(name: str, label: str, least: int) -> gr.Number:
    return gr.Number(DEFAULTS[name], label=label, minimum=least, precision=0, min_width=140)


def wire(choices: Choices, dashboard: Dashboard, epoch: gr.State) -> Any:
    """The sentence follows what is chosen, and what can be chosen follows the loaded pair.

    Returns:
        The event behind any other choice, for what else follows from it.
    """

    @guarded
    def kinds(chosen: Any) -> Any:
        """Only what differs in this pair can be searched."""
        if not dashboard.workbench.loaded:
            return gr.skip()
        able = searchable(dashboard.workbench.pair.differs)
        first = "gate" if "gate" in able or not able else able[0]
        return gr.update(
            choices=[(KIND_TITLES[kind], kind) for kind in able or ["gate"]],
            value=chosen if chosen in able else first,
        )

    kind = choices.parts["kind"]
    epoch.change(kinds, kind, kind, api_name="search_kinds", show_progress="hidden")

    @guarded
    def say(*values: Any) -> tuple[Any, Any]:
        """The sentence, and the ranking, which only some algorithms follow."""
        given = dict(zip(FIELDS, values, strict=False))
        ranked = gr.update(visible=given.get("algorithm") in NEED_ONE)
        try:
            settings_of(values)
        except SettingError:
            return gr.skip(), ranked  # Start will say what is wrong
        return gr.update(label=sentence(given)), ranked

    return gr.on(
        choices.changes,
        say,
        choices.inputs,
        [choices.sentence, choices.parts["prior"]],
        api_name="search_say",
        show_progress="hidden",
    )


def sentence(chosen: dict[str, Any]) -> str:
    """The choices as one line."""
    level = float(chosen["level"])
    target = (
        f"keep {percent(level)} of the gain"
        if chosen["goal"] == "relative"
        else f"reach a DSR of {level:.2f}"
    )
    limit = f", KL at most {float(chosen['max_kl']):g}" if chosen["max_kl"] else ""
    spent = [
        f"{int(chosen[name]):,} {word}"
        for name, word in (("max_tests", "tests"), ("max_tokens", "tokens"), ("max_seconds", "s"))
        if chosen[name]
    ]
    budget = f"at most {' or '.join(spent)}" if spent else "as many tests as it takes"
    what = kind_text(chosen["kind"], 2)
    if chosen["blocks"]:
        what += f" in {int(chosen['blocks'])} blocks"
    algorithm = str(algorithms.titles[chosen["algorithm"]])
    if chosen["algorithm"] in NEED_ONE and chosen["prior"]:
        algorithm += f" ({priors.titles[chosen['prior']]})"
    return (
        f"{algorithm} · {what} · {target}{limit} · "
        f"{int(chosen['limit'])} prompts · {int(chosen['tokens'])} tokens a reply · {budget} · "
        f"seed {int(chosen['seed'])}"
    )


def settings_of(values: Sequence[Any]) -> SearchSettings:
    """Settings from anywhere, in the order of FIELDS, checked.

    Raises:
        SettingError: Too many or too few values, or one that makes no sense.
    """
    if len(values) != len(FIELDS):
        raise SettingError(f"a search has {len(FIELDS)} settings, not {len(values)}")
    chosen = dict(zip(FIELDS, values, strict=True))
    goal = one_of(chosen["goal"], "kind of target", GOALS)
    level = real(chosen["level"], "target", 0.01, 1.0)
    algorithm = one_of(chosen["algorithm"], "search algorithm", algorithms)
    prior = chosen["prior"] if algorithm in NEED_ONE else None  # one left over is of no use
    return SearchSettings(
        algorithm=algorithm,
        prior=one_of(prior, "ranking", priors) if prior else None,
        blocks=whole(chosen["blocks"] or 0, "blocks of neurons a site", 0, 4096) or None,
        kind=one_of(chosen["kind"], "kind of site", KIND_TITLES),
        **({"retain": level} if goal == "relative" else {"target": level}),
        max_new_tokens=whole(chosen["tokens"], "most new tokens", 1, 8192),
        prompt_limit=whole(chosen["limit"], "search prompts at most", 1, 1_000_000),
        max_kl=real(chosen["max_kl"] or 0, "KL at most", 0, 1000) or None,
        screen=_switch(chosen["screen"], "ask the likeliest first"),
        max_tests=_budget(chosen["max_tests"], "tests at most"),
        max_tokens=_budget(chosen["max_tokens"], "tokens at most"),
        max_seconds=_budget(chosen["max_seconds"], "seconds at most"),
        seed=whole(chosen["seed"], "seed", 0, MAX_SEED),
    )


def _budget(value: Any, what: str) -> int | None:
    return whole(value or 0, what, 0, _MOST) or None


def _switch(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise SettingError(f"{what} is {str(value)[:40]}; switch it on or off")
    return value
