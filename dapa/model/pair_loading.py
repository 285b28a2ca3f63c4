"""From a spec to a pair: files, report, what fits into memory, weights, wrapping.

What a pair is and does once it is there is `pair`'s.
"""

from __future__ import annotations

from dataclasses import replace

from dapa.core.records import PairError, ran_out
from dapa.model.adapted import beside, derived, open_checkpoint, parted
from dapa.model.compatibility import check
from dapa.model.digests import pair_parts
from dapa.model.files import Progress
from dapa.model.layout import placed
from dapa.model.lean import LeanTeacher, read_lean
from dapa.model.linears import plain
from dapa.model.loading import load_weights
from dapa.model.machine import choose_device, choose_dtype
from dapa.model.memory import estimate_memory
from dapa.model.offload import stages_for
from dapa.model.packed import pack
from dapa.model.pair import Pair
from dapa.model.room import release
from dapa.model.spec import PairSpec, facts_beside


def _part(progress: Progress | None, start: float, end: float) -> Progress | None:
    """The same listener, for a stretch of the whole way."""
    if progress is None:
        return None
    return lambda what, share: progress(what, start + (end - start) * share)


def load_pair(spec: PairSpec, progress: Progress | None = None, workers: int = 1) -> Pair:
    """Load a pair: files, report, weights, wrapping.

    Args:
        spec: What to load.
        progress: Told what is being done and how far the whole is; may raise LoadCancelled.
        workers: How many other processes of this machine are to hold it too, if two or more.

    Raises:
        PairError: What keeps the pair from working, with the next step.
    """
    try:
        return _loaded(spec, progress, workers)
    except Exception as error:  # torch's, Python's and the system's: anywhere on the way
        if not ran_out(error):
            raise
    release("cpu" if spec.device == "auto" else choose_device(spec.device))
    raise PairError(
        f"memory ran out while {spec.title} was loaded; use lean memory, a smaller dtype or "
        "another device, or free some first"
    )


def _loaded(spec: PairSpec, progress: Progress | None, workers: int) -> Pair:
    device = choose_device(spec.device)
    ours = open_checkpoint(spec.student, _part(progress, 0.0, 0.1))
    spec = spec if spec.planted else replace(spec, planted=facts_beside(ours.folder))
    theirs = open_checkpoint(spec.teacher, _part(progress, 0.05, 0.1))
    dtype = choose_dtype(spec.dtype, device, ours.parameters)
    memory = estimate_memory(ours, theirs, spec.memory, dtype, device, workers)
    kept = memory.keep if memory is not None and not memory.whole else None
    report = check(ours, theirs, _part(progress, 0.1, 0.2), kept)
    report.raise_if_blocked()
    assert memory is not None, "an architecture without a family is blocked"
    memory.raise_if_too_large()
    family = ours.family
    if progress:
        progress(memory.brief, 0.2)
    offloaded = memory.mode == "offload"
    where = "cpu" if offloaded else placed(ours, theirs, dtype, device)
    student = load_weights(ours, dtype, where, _part(progress, 0.2, 0.6))
    there = _part(progress, 0.6, 1.0)
    own = parted(ours, theirs)
    if kept is not None:
        plain(student, family)  # so that its modules are the sites' moulds
        teacher = read_lean(theirs, student, family, kept, ours.tied and theirs.tied, there)
    elif own is not None:
        aside = beside(ours, theirs, family) if memory.mode == "low-rank" else None
        teacher = derived(student, theirs, own, there, aside or ())  # all else is the student's own
    else:
        teacher = load_weights(theirs, dtype, where, there)
    models = [model for model in (student, teacher) if not isinstance(model, LeanTeacher)]
    stages = stages_for(models, family, device) if offloaded else []
    pair = Pair(
        student,
        teacher,
        ours.tokenizer,
        theirs.tokenizer,
        family,
        spec,
        pair_parts(ours, theirs, dtype, memory.mode == "low-rank"),
        report,
    )
    if stages:
        pair.offload(stages, device)
    elif memory.mode == "full":  # who asked for less memory is not given a faster, larger pair
        spare = memory.free - memory.held - memory.work
        memory = replace(memory, laid_out=pack(models, spare))
    pair.memory = memory
    return pair
