"""(prompt, reply) -> Verdict. One factory a file; heavy judges import late."""

from dapa.judges.base import Judge, judges, titled
from dapa.judges.classifier import classifier
from dapa.judges.endpoint import endpoint
from dapa.judges.harm import Harm, HarmJudge, harms
from dapa.judges.released import released
from dapa.judges.rules.judge import REFUSAL_OPENERS, opening, opens_refusal, rules
from dapa.judges.twostage import two_stage

__all__ = [
    "REFUSAL_OPENERS",
    "Harm",
    "HarmJudge",
    "Judge",
    "classifier",
    "endpoint",
    "harms",
    "judges",
    "opening",
    "opens_refusal",
    "released",
    "rules",
    "titled",
    "two_stage",
]
