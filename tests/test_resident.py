"""Memory comes back: what a toy's closer looks take at most, and what stays behind."""

import json
import subprocess
import sys

import pytest
import torch
from support import TOKENIZER, random_model

from dapa.core import resident
from dapa.model.adapted import open_checkpoint
from dapa.model.memory import estimate_memory

LOOKS = """
import json, sys, tempfile, threading
from dapa.bench.real_search import peak_resident
from dapa.core.measurement import Call
from dapa.core.resident import resident_bytes
from dapa.core.settings import presets
from dapa.search.settings import SearchSettings
from dapa.ui.tasks import Tasks
from dapa.workbench import Workbench
from dapa.workbench.measurements import measurements

bench, told, tasks = Workbench(tempfile.mkdtemp()), {}, Tasks()
bench.load(bench.spec("toy-gate"))
told["loaded"] = resident_bytes()

def ask():
    job = bench.search_job(SearchSettings(claim="exact", prompt_limit=12))
    job.start()
    job.wait()
    told["searched"] = resident_bytes()
    for name in sys.argv[1:]:
        one = measurements[name]
        known = presets(one.settings)
        asked = one.settings.read(known) if known else one.settings()
        task = tasks.begin(job.id, name, lambda heard, stop: one.run(Call(bench, asked, job=job)))
        task.wait()
        assert task.state == "done", task.error
        told[name] = resident_bytes()

told["peak"] = peak_resident(ask)
print(json.dumps(told))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_closer_looks_of_a_toy_stay_small_and_give_their_memory_back():
    done = subprocess.run(
        [sys.executable, "-c", LOOKS, "baselines", "skill"],
        capture_output=True, text=True, timeout=900, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    print({name: f"{size / 2**20:.0f} MiB" for name, size in told.items()})
    assert told["peak"] < 1.2 * 2**30
    kept = {name: told[name] - told["loaded"] for name in told if name not in ("peak", "loaded")}
    assert max(kept.values()) < 200 * 2**20, "each look gives back what it took"


LOAD = """
import sys
from dapa.bench.real_search import peak_resident
from dapa.core.resident import resident_bytes
from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
spec = PairSpec(*sys.argv[1:3], dtype="float32", device="cpu", memory=sys.argv[3])
before = resident_bytes()
print(peak_resident(lambda: load_pair(spec)) - before)
"""


def peak_of_load(folders, memory):
    """Bytes by which a new process grows at most while it loads a pair."""
    command = [sys.executable, "-c", LOAD, *map(str, folders), memory]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    return int(done.stdout.split()[-1])


@pytest.fixture
def folders(tmp_path):
    """A pair of 62 MB a model, most of it in the MLPs; the teacher's gates and ups are others."""
    made = []
    for role in range(2):
        torch.manual_seed(0)
        model = random_model(
            "llama", 0, hidden_size=256, intermediate_size=3328, num_hidden_layers=6
        )
        for layer in model.model.layers if role else ():
            for module in (layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj):
                module.weight.data.mul_(1.5)
        made.append(tmp_path / str(role))
        model.save_pretrained(made[-1])
        TOKENIZER.save_pretrained(made[-1])
    return made


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_lean_memory_is_shown_by_the_peak_of_a_load(folders):
    ours, theirs = (open_checkpoint(str(folder)) for folder in folders)
    told = estimate_memory(ours, theirs, "full", torch.float32, "cpu")
    full = max(peak_of_load(folders, "full") for _ in range(2))  # a busy system takes pages away
    lean = min(peak_of_load(folders, "lean") for _ in range(2))  # or leaves them a while
    print(f"peak of a load: full {full >> 20} MiB, lean {lean >> 20} MiB; {told.sentence}")
    spared = told.teacher - told.lean  # what loading takes besides is the same in both
    assert full - lean > 0.6 * spared
    assert told.student + told.lean < lean and told.student + told.teacher < full


def test_without_glibc_giving_back_only_collects(monkeypatch):
    monkeypatch.setattr(resident.sys, "platform", "darwin")
    resident._glibc.cache_clear()
    try:
        resident.give_back()
    finally:
        monkeypatch.undo()
        resident._glibc.cache_clear()
