"""What a user asks of a search: everything that resuming it in another process needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from dapa.core.errors import SettingError
from dapa.core.settings import Seeded, one_of, setting
from dapa.model.families import ALL, KIND_TITLES
from dapa.prompts.settings import PromptSettings
from dapa.search.algorithms import algorithms
from dapa.search.algorithms.questions import NEED_ONE, PRIORS
from dapa.search.algorithms.windows import MASK_ONLY
from dapa.writing.confidence import CERTIFIED, CHOOSE, CLAIMS
from dapa.writing.numbers import percent
from dapa.writing.unit_names import kind_text

DEFAULT_ALGORITHM = "bisect"
CONFIDENT = CERTIFIED
"""Claims of a confidence search."""
_WHO = ("workers", "ray", "worker_timeout")


def method_of(settings: Mapping[str, Any]) -> str:
    """What a stored search is called for people: its algorithm, or what it claims to show."""
    claim, name = str(settings.get("claim") or "exact"), str(settings.get("algorithm", ""))
    if claim in CONFIDENT:
        return CLAIMS[claim]
    return algorithms.titles.get(name, name)


def _at_most(words: str) -> Callable[[Any], str]:
    return lambda value: f"at most {value:,.12g} {words}" if value else ""


@dataclass(frozen=True, kw_only=True)
class SearchRules(Seeded):
    """How the driver plays the oracle. Decoding is always greedy: there is nothing to set."""

    retain: float = setting(
        0.9, "share of the gain to keep", "Share of the full mask's gain to keep (default 0.9).",
        low=0.0, high=1.0, above=True, step=0.05, row=2,
        told=lambda share: f"keep {percent(share)} of the gain",
    )  # fmt: skip
    """target = student + retain (full - student)."""
    target: float | None = setting(
        None, "or: the DSR to reach", "Or: the DSR to reach, 0 to 1.", none="none",
        low=0.0, high=1.0, above=True, row=2, instead="retain",
        told=lambda target: f"reach a DSR of {percent(target)}" if target else "",
    )  # fmt: skip
    """An absolute DSR in its place."""
    max_kl: float | None = setting(
        None, "KL at most", "KL from the student on harmless prompts at most, bits per token.",
        low=0.0, above=True, unit="bits a token", row=2,
        told=lambda limit: f"KL at most {limit:g}" if limit else "",
    )  # fmt: skip
    """The found set's KL from the student on harmless prompts at most."""
    minimum_gain: float = setting(
        0.1, "least gain", "What all units together must surely gain, as a share of the prompts.",
        low=0.0, high=1.0, row=2, step=0.01,
        told=lambda gain: "" if gain == 0.1 else f"a gain of {percent(gain)} at least",
    )  # fmt: skip
    """The full mask must beat the student by more than this, as a share of the prompts."""
    max_tests: int | None = setting(
        None, "tests at most", "Budget of tests.", low=1, row=60, told=_at_most("tests")
    )
    max_tokens: int | None = setting(
        None, "tokens at most", "Budget of decoded tokens.", low=1, row=60,
        told=_at_most("tokens"),
    )  # fmt: skip
    """Decoded tokens, those of an earlier, interrupted run included."""
    max_seconds: float | None = setting(
        None, "seconds at most", "Budget of seconds.", low=0.0, above=True, row=60,
        told=_at_most("s"),
    )  # fmt: skip
    """Of this run, pauses not counted."""
    lookahead: int = 4
    """How many candidates beyond the one that is asked may fill free rows, as far as the runner
    takes on work that may be needless (on a CPU, a few rows)."""
    eager: bool = True
    """Fill rows that are left with prompts that curtailment may turn out to spare."""
    curtail: bool = True
    """Stop judging a candidate once the rest cannot change the answer."""
    memo: bool = True
    """Use verdicts that are known. Off only to measure what that is worth."""
    supersets: int = 4
    """How many random supersets of the result are tried beside found + each single unit."""
    check_supersets: bool = True
    full_length: bool = True
    """Judge the result again at full length, without early exit."""

    def check(self) -> None:
        """Counts are no debts."""
        super().check()
        for name in ("lookahead", "supersets"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name} {getattr(self, name)} is below 0")

    def rules(self) -> dict[str, float | int | bool | None]:
        """The JSON form of the rules alone, as a result has it."""
        return {one.name: getattr(self, one.name) for one in fields(SearchRules)}


def _kinds() -> Mapping[str, str]:
    return {name: title for name, title in KIND_TITLES.items()}


@dataclass(frozen=True, kw_only=True)
class SearchSettings(PromptSettings, SearchRules):
    """The driver's rules, and beside them units, prompts and their format."""

    algorithm: str = setting(
        DEFAULT_ALGORITHM, "algorithm",
        "ddmin, bisect, probdd or another; an unknown name lists all.",
        choices=lambda: algorithms.titles, row=1,
        told=lambda name: str(algorithms.titles[name]),
    )  # fmt: skip
    kind: str = setting(
        "gate", "kind of site",
        "What to transplant: gate, up, down, mlp, attention (or q, k, v, o), heads, kv, norms, "
        "layer, embeddings, final_norm, head, several such as heads,kv, or all (each by itself).",
        offered=_kinds, flag="--sites", row=1, most=200,
        told=lambda kind: kind_text(kind, 2),
    )  # fmt: skip
    """Kind of unit to transplant."""
    prior: str | None = setting(
        None, "ranking to follow",
        "What `weighted` and `top-k` follow: divergence, gradient, single or weights.",
        choices=lambda: PRIORS, row=1,
    )  # fmt: skip
    """None takes mask gradients, or divergence where those are not defined."""
    best_of: int = setting(
        1, "orders to search in",
        "Search in so many orders of the units and keep the smallest 1-minimal set; only that one "
        "is measured on held-out prompts.",
        low=1, high=1000, row=1,
        told=lambda orders: f"the smallest set of {orders:,} orders" if orders > 1 else "",
    )  # fmt: skip
    """Which 1-minimal set is met hangs on the order; see `search.algorithms.best_of`."""
    blocks: int | None = setting(
        None, "blocks of neurons a site",
        "Cut each gate, up and down into so many blocks of neurons (hierarchical: 8).",
        low=1, high=4096, row=1,
        none="as it does",
        told=lambda blocks: f"each in {blocks} blocks" if blocks else "",
    )  # fmt: skip
    """None is 8 for the hierarchical search, and whole sites for all others."""
    rank: int | None = setting(
        None, "rank of what moves",
        "Move only so many of the strongest directions of each matrix's difference.",
        low=1, high=65536, row=1, none="whole",
        told=lambda rank: f"at rank {rank}" if rank else "",
    )  # fmt: skip
    """None moves matrices whole; norms and embeddings move whole in any case."""
    claim: str = setting(
        "auto", "what to claim",
        "confidence: choose freely, certify once, on prompts that chose nothing; quick: its first "
        "look; exact: a threshold on the search prompts; auto: exact for planted pairs and where "
        "an algorithm or a goal is chosen, else confidence.",
        choices=lambda: CLAIMS, row=1,
        told=lambda claim: "" if claim in ("auto", "exact") else CLAIMS[claim],
    )  # fmt: skip
    """`resolved` tells what auto stands for."""
    certify: int | None = setting(
        250, "prompts that certify",
        "Prompts that certify a confidence search, or are held out of an exact one, at most; more "
        "show smaller losses, and cost.",
        low=100, high=1_000_000, none="all that are left", row=60,
    )  # fmt: skip
    """None takes all that are left; the quick form takes 100."""
    screen: bool = setting(
        True, "ask the likeliest first, by log-odds, which decide nothing",
        "Order prompts and candidates by refusal log-odds.", row=70,
    )  # fmt: skip
    """Order prompts and candidates by refusal log-odds; they never decide."""
    canonical: bool | None = setting(
        None, "judge the result again in one batch shape",
        "Judge the result again in one batch shape (default: not in float32).", form=False,
    )  # fmt: skip
    """Judge the result once more in batches of one shape; None does so where a reply can depend on
    the batch, as in bfloat16."""
    lock: bool = setting(
        False, "lock a fifth of the prompts away, to be measured once",
        "Lock a fifth of the prompts away (where 50 are left): measured once, at the end.",
        row=70, told=lambda lock: "a fifth locked away" if lock else "",
    )  # fmt: skip
    """A third part beside search and held-out prompts; see `prompts.splits`."""
    workers: int = setting(
        1, "workers",
        "Processes that decode, each with the pair in its own memory; the result is the same. "
        "With --ray, actors of a cluster.",
        low=1, high=1024, row=60,
        told=lambda workers: f"{workers:,} workers" if workers > 1 else "",
    )  # fmt: skip
    """1 is this process alone."""
    ray: str | None = setting(
        None, "Ray cluster",
        "Address of a Ray cluster whose actors decode: HOST:PORT, auto for one that runs here, "
        "local for a new one.",
        metavar="ADDRESS", form=False,
    )  # fmt: skip
    """None takes processes of this machine."""
    worker_timeout: float = setting(
        600.0, "a worker's silence",
        "Seconds without an answer after which a worker is given up and its work done again.",
        low=0.0, above=True, unit="s", form=False,
    )  # fmt: skip
    pair: Mapping[str, Any] = field(default_factory=dict)
    """The pair's spec, for resuming from another process."""

    def check(self) -> None:
        """A ranking is given to who reads one; nothing is cut twice."""
        super().check()
        if self.rank is not None and (self.blocks or 1) > 1:
            raise SettingError(
                f"rank {self.rank} moves whole matrices, {self.blocks} blocks cut them; give one "
                "of the two"
            )
        if self.prior is not None:
            one_of(self.prior, "ranking", PRIORS)
            if self.algorithm not in NEED_ONE and self.claim not in CONFIDENT:
                raise SettingError(
                    f"{self.algorithm} reads no prior; choose the algorithm {' or '.join(NEED_ONE)}"
                )
        if self.best_of > 1 and self.algorithm in (*NEED_ONE, *MASK_ONLY):
            why = (
                "follows a ranking" if self.algorithm in NEED_ONE else "ends without a certificate"
            )
            raise SettingError(
                f"{self.algorithm} {why}, so {self.best_of} orders tell nothing new; "
                f"leave best-of at 1, or choose {DEFAULT_ALGORITHM}"
            )

        if self.claim in CONFIDENT and (own := self._exact_alone()):
            raise SettingError(
                f"a search with claim {self.claim} takes no {own[0]}; leave that as it is, or "
                "choose claim exact"
            )

    @property
    def beside(self) -> int:
        """Workers that are processes of this machine, so that they share its memory."""
        return self.workers if self.ray is None else 1

    @property
    def cut(self) -> tuple[str, str, int | None, int | None]:
        """What decides the units: kind, algorithm, blocks, rank."""
        return self.kind, self.algorithm, self.blocks, self.rank

    def _exact_alone(self) -> list[str]:
        """What was chosen that only the exact mode heeds."""
        plain = {one.name: one.default for one in fields(SearchSettings)}
        told = {
            "algorithm": "algorithm", "target": "DSR to reach", "max_kl": "limit on KL",
            "retain": "share of the gain to keep", "best_of": "orders to search in",
        }  # fmt: skip
        return [words for name, words in told.items() if getattr(self, name) != plain[name]]

    def decisive(self) -> dict[str, Any]:
        """The JSON form of all that decides the result: who decodes is left out."""
        return {name: value for name, value in self.as_dict().items() if name not in _WHO}

    def resolved(self, planted: bool) -> str:
        """What is claimed: exact, confidence or quick.

        Args:
            planted: Is the pair's truth known by construction?
        """
        if self.claim != "auto":
            return self.claim
        return "exact" if planted or self._exact_alone() else "confidence"

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """As all settings; a search that was stored without a claim was an exact one."""
        return super().from_dict({"claim": "exact", **body})

    def tell(self, name: str, words: str) -> str:
        """What stands for another field is left out; a ranking stands with its algorithm."""
        if name == "retain" and self.target is not None:
            return ""
        if name in ("retain", "algorithm") and self.claim in CONFIDENT:
            return ""
        if name == "prompt_limit" and self.claim in CONFIDENT:  # its plan tells of the others
            few = self.prompt_limit if (self.prompt_limit or CHOOSE) < CHOOSE else None
            return f"{few} prompts choose" if few else ""
        if name == "algorithm" and self.prior is not None:
            return f"{words} ({PRIORS[self.prior]})"
        return words

    def sentence(self) -> str:
        """The settings as one line."""
        budget = self.max_tests or self.max_tokens or self.max_seconds
        return f"{super().sentence()}{'' if budget else ' · as many tests as it takes'}"


__all__ = ["ALL", "CONFIDENT", "DEFAULT_ALGORITHM", "SearchRules", "SearchSettings"]
