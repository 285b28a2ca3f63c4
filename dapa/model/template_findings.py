"""What a pair's chat template does, as lines of the compatibility report, with what follows."""

from __future__ import annotations

from typing import Any

from dapa.model.findings import Finding
from dapa.model.probe import Probe, end_of_turn, probed, template_text


def template_findings(student: Any, teacher: Any) -> list[Finding]:
    """What a pair's chat template does, with what follows; and tokenizers that cannot be used.

    Args:
        student: The student's tokenizer.
        teacher: The teacher's.
    """
    found = []
    for side, tokenizer in (("student", student), ("teacher", teacher)):
        broken = probed(tokenizer).patterns
        if broken:
            why = f"its patterns come to no end on common texts ({broken}); give another tokenizer"
            found.append(Finding("blocks", f"{side} tokenizer", why))

    def warn(what: str, why: str) -> None:
        found.append(Finding("warns", what, why))

    whose = "teacher" if template_text(teacher) else "student"
    tokenizer = teacher if whose == "teacher" else student
    if template_text(tokenizer) is None:
        warn("chat template", "neither has one; prompts are given raw, as text")
        return found
    probe, end = probed(tokenizer), end_of_turn(tokenizer)
    if probe.fault:
        other = ", or the student's" if whose == "teacher" and template_text(student) else ""
        warn("chat template", f"the {whose}'s {probe.fault}; choose the raw mode{other}")
        return found
    ends = f"; {end} ends a reply" if end else ""
    if whose == "teacher":
        found.append(Finding("fine", "chat template", f"the teacher's serves both{ends}"))
    else:
        warn("chat template", f"the teacher has none; the student's serves both{ends}")
    if not probe.asks:
        warn(
            "generation prompt",
            f"the {whose}'s template ignores add_generation_prompt, so a prompt ends in the user's "
            "words; replies may go on with the request before they answer it",
        )
    if not probe.talks:
        warn(
            "conversation",
            f"the {whose}'s template leaves earlier turns out, or refuses them; let each question "
            "stand alone",
        )
    if not end:
        behind = f"{probe.tail.strip()[:30]!r}" if probe.tail.strip() else "nothing"
        why = f"the {whose}'s template puts {behind} behind a reply, which is no token of its own"
        warn("end of turn", f"{why}; only the models' end tokens and the limit end replies")
    if probe.system != "kept":
        done = "refuses a system prompt" if probe.system == "refused" else "drops system prompts"
        warn("system prompt", f"the {whose}'s template {done}; leave it empty, or ask in raw mode")
    if probe.clock:
        warn(
            "clock",
            f"the {whose}'s template writes today's date into every prompt; a run keeps the date "
            "it began with, and replies of different days may differ",
        )
    if probe.switches:
        why = f"off by default ({', '.join(probe.switches)}); the setting thinking turns it on"
        found.append(Finding("fine", "thinking", why))
    if probe.opens:
        warn(
            "thinking",
            f"the {whose}'s template opens {probe.opens} for the assistant; replies begin with a "
            "thought, so give them tokens enough; prefill and log-odds close it first",
        )
    return found + _spelled(student, teacher, probe)


def _spelled(student: Any, teacher: Any, probe: Probe) -> list[Finding]:
    """Tokens of the template that the student has to spell out."""
    known = student.get_vocab()
    theirs = teacher(probe.text, add_special_tokens=False)["input_ids"]
    special = {*teacher.all_special_ids, *getattr(teacher, "added_tokens_decoder", {})}
    tokens = teacher.convert_ids_to_tokens([i for i in dict.fromkeys(theirs) if i in special])
    lacks = [token for token in tokens if token not in known]
    if not lacks:
        return []
    ours = student(probe.text, add_special_tokens=False)["input_ids"]
    why = (
        f"the student lacks {', '.join(lacks[:4])}{' and more' if len(lacks) > 4 else ''} of the "
        f"template and reads {len(ours)} tokens for the teacher's {len(theirs)}; it meets them as "
        "text that it was never trained on, and cannot end its turn with one"
    )
    return [Finding("warns", "template tokens", why)]
