"""The same replies under several judges: a row a reply, rates, and how far they agree.

This is the shape in which the command line and the screen hand the comparison out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapa.core.records import Label, Manner, Rate, Verdict
from dapa.core.statistics import wilson
from dapa.measure.agreement import HUMAN, Agreement, agreement
from dapa.prompts.replies import Written


@dataclass(frozen=True)
class Opinions:
    """What each judge says of each reply; people's word stands in the replies themselves."""

    written: tuple[Written, ...]
    said: Mapping[str, Sequence[Verdict]]
    """Judge -> its word on each reply, in their order."""
    agreement: Agreement | None
    """None where there is nothing to compare: one judge, and no person."""

    def rows(self) -> list[dict[str, Any]]:
        """A row a reply: the first judge's word, and the others' beside it."""
        return [self.row(place) for place in range(len(self.written))]

    def row(self, place: int) -> dict[str, Any]:
        """One reply with what is said of it."""
        one = self.written[place]
        words = [_word(verdicts[place], one.reply) for verdicts in self.said.values()]
        return {
            "prompt": one.prompt,
            "reply": one.reply,
            **words[0],
            **({"others": words[1:]} if len(words) > 1 else {}),
            **({"human": str(one.human)} if one.human else {}),
        }

    def rates(self) -> dict[str, dict[Label, Rate]]:
        """Judge -> label -> the share of replies it gives that label."""
        return {
            judge: {
                label: wilson(sum(word.label is label for word in words), len(words))
                for label in Label
            }
            for judge, words in self.said.items()
        }

    def manners(self) -> dict[str, dict[Label, dict[Manner, int]]]:
        """Judge -> label -> how many replies have which manner; only what a judge tells."""
        found: dict[str, dict[Label, dict[Manner, int]]] = {}
        for judge, words in self.said.items():
            for word in words:
                if word.manner is not None:
                    row = found.setdefault(judge, {}).setdefault(word.label, {})
                    row[word.manner] = row.get(word.manner, 0) + 1
        return found

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        rates = {
            judge: {str(label): rate.as_dict() for label, rate in each.items()}
            for judge, each in self.rates().items()
        }
        agreed = {"agreement": self.agreement.as_dict()} if self.agreement else {}
        manners = {
            judge: {str(label): {str(m): n for m, n in row.items()} for label, row in each.items()}
            for judge, each in self.manners().items()
        }
        return {"rows": self.rows(), "rates": rates, "manners": manners, **agreed}

    def as_table(self) -> tuple[list[str], list[list[str]]]:
        """(head, rows) for a CSV: each judge's verdict and evidence, and a person's word."""
        head = ["prompt", "reply"]
        for judge in self.said:
            head += [judge, f"{judge} evidence"]
        rows = []
        for place, one in enumerate(self.written):
            words = [_word(verdicts[place], one.reply) for verdicts in self.said.values()]
            cells = [text for w in words for text in (w["verdict"], w["evidence"])]
            rows.append([one.prompt, one.reply, *cells, str(one.human or "")])
        return [*head, HUMAN], rows


def opinions(
    written: Sequence[Written], said: Mapping[str, Sequence[Verdict]], people: bool
) -> Opinions:
    """Put judges beside each other, and beside people.

    Args:
        written: The replies.
        said: Judge -> its word on each.
        people: Do people's words count as a judge of their own?
    """
    beside = {HUMAN: [row.human for row in written]} if people else {}
    several = len(said) + len(beside) > 1
    return Opinions(tuple(written), said, agreement({**said, **beside}) if several else None)


def _word(verdict: Verdict, reply: str) -> dict[str, Any]:
    return {
        "verdict": str(verdict.label),
        "judge": verdict.judge,
        "evidence": verdict.evidence(reply),
        **({"manner": str(verdict.manner)} if verdict.manner else {}),
        **({"failed": True} if verdict.failed else {}),
    }
