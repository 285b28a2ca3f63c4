"""An evaluation in a process of its own, which may be killed; imported by its server."""

import os
import signal
import threading
import time

import torch
from searched import AND, prompt_set

from dapa.core.records import Mask, Unit
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.measure.run_evaluation import run_evaluation
from dapa.planted.pairs import plant
from dapa.store.runs import Store

torch.set_num_threads(1)
SETTINGS = EvaluationSettings(
    mask=Mask.of([Unit(1), Unit(4)]).key, max_new_tokens=12, perplexity=False, date="2026-01-01"
)
PAIR = plant(AND).pair()
SETS = {"dsr": prompt_set().prompts}


def table_in(folder, run_id=None):
    """The one evaluation, new or resumed, with its store in `folder`."""
    return run_evaluation(PAIR, Store(folder), SETTINGS, SETS, run_id=run_id)


def evaluate(folder, seconds):
    """Run it; SIGKILL comes after so many seconds of it, wherever it is then."""

    def kill():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    table_in(folder)
