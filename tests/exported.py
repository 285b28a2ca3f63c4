"""Exports in processes that may be killed at any line: a server that makes them, one a request.

It reads `[form, folder, line]` a line, forks a child that exports and is killed before that line of
`dapa.share` (0 for never), and writes `[exit code, lines that ran]`. What all exports need is made
once, before the first.
"""

import json
import os
import signal
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

import torch
from searched import searched
from support import TOKENIZER, random_model

import dapa.share
from dapa.core.records import Mask, Unit
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.prompts.sets import PromptSet
from dapa.share.bundle import export_bundle
from dapa.share.evidence import Evidence
from dapa.share.model import export_model
from dapa.share.patch import export_patch
from dapa.share.report import evidence_of_run, export_report

torch.set_num_threads(1)
ROOM = os.path.dirname(dapa.share.__file__) + os.sep
FORMS = ("model", "patch", "report", "bundle")
MASK = Evidence(Mask.of([Unit(0, "gate"), Unit(2, "gate")]))


@lru_cache
def pair():
    """Two models that differ everywhere, the student in several files."""
    folder = Path(tempfile.mkdtemp())
    for seed, name in ((1, "student"), (2, "teacher")):
        random_model("llama", seed).save_pretrained(folder / name, max_shard_size="20KB")
        TOKENIZER.save_pretrained(folder / name)
    names = [str(folder / name) for name in ("student", "teacher")]
    return load_pair(PairSpec(*names, "", "float32", "cpu"))


def export(form, to):
    """Write one of the forms."""
    if form in ("model", "patch"):
        (export_model if form == "model" else export_patch)(pair(), MASK, to)
        return
    job = searched()
    if form == "report":
        export_report(job.store, evidence_of_run(job.store, job.id), to)
    else:
        sets = {"harmful": PromptSet("planted", "harmful", tuple(job.prompts))}
        export_bundle(job.store, job.store.run(job.id), sets, to)


def lines_of(form, to, last=None):
    """Export, and count the lines of `dapa.share` that ran; SIGKILL comes before line `last`."""
    count = 0

    def line(frame, event, _):
        nonlocal count
        if event == "line":
            count += 1
            if count == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def called(frame, event, _):
        return line if frame.f_code.co_filename.startswith(ROOM) else None

    sys.settrace(called)
    try:
        export(form, to)
    finally:
        sys.settrace(None)
    return count


def asked(form, to, last):
    """One request, in a child."""
    got, sent = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(sent, str(lines_of(form, to, last)).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(sent)
    _, status = os.waitpid(child, 0)
    with os.fdopen(got) as told:
        return [os.waitstatus_to_exitcode(status), int(told.read() or 0)]


if __name__ == "__main__":
    pair()
    searched()
    for request in sys.stdin:
        print(json.dumps(asked(*json.loads(request))), flush=True)
