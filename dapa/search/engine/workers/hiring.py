"""From a loaded pair to the crew that is to help with it: what each worker loads, and where."""

from __future__ import annotations

from dataclasses import replace

import torch

from dapa.core.records import SettingError
from dapa.model.machine import DTYPES, cores, free_memory
from dapa.model.memory import PROCESS, workers_beside
from dapa.model.pair import Pair
from dapa.model.spec import PairSpec
from dapa.search.engine.workers.crew import SILENT, Crew
from dapa.search.engine.workers.messages import Hire
from dapa.search.engine.workers.post import Post
from dapa.search.engine.workers.processes import ProcessPost


def crew_of(
    pair: Pair, workers: int = 1, ray: str | None = None, silent: float = SILENT
) -> Crew | None:
    """The crew that settings ask for; None where this process is to do without.

    Args:
        pair: What each worker is to hold, read from the same files.
        workers: How many; one process needs no other, but a cluster may be asked for one.
        ray: A cluster's address, `local` or `auto`; None for processes of this machine.
        silent: Seconds without an answer after which a worker is given up.

    Raises:
        SettingError: More workers than memory holds, or a cluster that is not there.
    """
    if ray is not None:
        from dapa.search.engine.workers.cluster import cluster_posts  # an extra

        posts, threads = cluster_posts(ray, workers, pair)
        return Crew(posts, Hire(spec_of(pair), threads), pair.digest, workers, silent)
    if workers < 2:
        return None
    spec, device = spec_of(pair), pair.device.type
    cards = torch.cuda.device_count() if device == "cuda" else 1
    each = pair.weight_bytes + PROCESS
    # with one card, or on the CPU, all of them stand beside this process
    here, free = workers_beside(workers, device), free_memory(spec.device)
    if pair.stages:  # the weights stay in the machine's memory
        here, free = workers, free_memory("cpu")
    if here * each > free:
        raise SettingError(
            f"{workers} workers hold the pair {workers} times more, {here * each / 2**30:.1f} GiB "
            f"on one device, and {free / 2**30:.1f} GiB are free; take fewer, or lean memory"
        )
    threads = None if pair.threads is None else max(1, min(pair.threads, cores() // workers))

    def make(number: int, hire: Hire) -> Post:
        if cards > 1:
            hire = replace(hire, spec=replace(spec, device=f"cuda:{number % cards}"))
        return ProcessPost(hire)

    return Crew(make, Hire(spec, threads), pair.digest, workers, silent)


def spec_of(pair: Pair) -> PairSpec:
    """What to load for the very same pair: nothing is left to what another machine would choose."""
    dtype = str(pair.student.dtype).removeprefix("torch.")
    mode = "offload" if pair.stages else "lean"
    return replace(
        pair.spec,
        dtype=dtype if dtype in DTYPES else pair.spec.dtype,
        device=str(pair.device),
        memory=_memory(pair) if pair.whole else f"{mode}:{','.join(pair.kept)}",
    )


def _memory(pair: Pair) -> str:
    """How a whole pair is held, as far as that decides its replies."""
    return "low-rank" if pair.memory is not None and pair.memory.mode == "low-rank" else "full"
