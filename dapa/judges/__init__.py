"""(prompt, reply) -> Verdict. One factory a file; heavy judges import late."""

from dapa.judges.base import Judge, judges
from dapa.judges.released import released
from dapa.judges.rules import REFUSAL_OPENERS, opening, opens_refusal, rules

__all__ = ["REFUSAL_OPENERS", "Judge", "judges", "opening", "opens_refusal", "released", "rules"]
