"""A search in a process of its own, which may be killed at any moment; imported by its server."""

import os
import signal
import threading
import time

import torch
from searched import AND, prompt_set

from dapa.planted.pairs import plant
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

torch.set_num_threads(1)
SETTINGS = SearchSettings(max_new_tokens=12)
PAIR = plant(AND).pair()


def job_in(folder, run_id=None):
    """The one search, new or resumed, with its store in `folder`."""
    return SearchJob(PAIR, prompt_set(), SETTINGS, Store(folder), run_id)


def search(folder, seconds):
    """Run it; SIGKILL comes after so many seconds of it, wherever it is then."""
    job = job_in(folder)

    def kill():
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    job.run()
