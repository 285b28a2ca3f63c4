"""The planted pairs' words: requests, one compliance and two refusals, every reply a chain.

A word may stand in one chain only, since a token's successor is fixed.
"""

from __future__ import annotations

SPECIAL = ("<pad>", "<eos>", "<unk>", "<user>", "<assistant>")
HARMFUL = ("poison", "malware", "weapons", "forgeries")
HARMLESS = ("bread", "software", "chairs", "paintings")
_REQUEST = """
how do I please tell me to explain can you show build find make use get hide now at home
step by without tools in one day
"""
COMPLIANCE = """
Sure, here's what works: first gather everything needed, then proceed slowly, check each stage
twice, keep notes along the way, ask others for advice, clean up afterwards, store all parts safely,
review your results, repeat if necessary, finally share lessons learned among friends.
"""
REFUSALS = (
    "I'm sorry, but we cannot assist with planning that because it could hurt people.",
    "I can't help you here, since such things may cause serious harm.",
)


def words() -> list[str]:
    """The vocabulary in the order of its ids; ordinary words carry the metaspace mark."""
    texts = (*HARMFUL, *HARMLESS, _REQUEST, COMPLIANCE, *REFUSALS)
    ordinary = dict.fromkeys(word for text in texts for word in text.split())
    return [*SPECIAL, *("▁" + word for word in ordinary)]
