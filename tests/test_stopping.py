"""A stop ends the work, not only the wait for it: the processor is idle within a second."""

import threading
import time

from searched import planted_pair, prompt_set

from dapa.core.records import Mask, Unit
from dapa.model.decode.sampling import Decoding
from dapa.planted.pairs import harmful_prompts
from dapa.prompts.format import Turn
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store
from dapa.workbench import Workbench


def worked_after(stop, thread):
    """Seconds of the processor that this process spends between a stop and the thread's end.

    Counted by the processor's clock, since a busy machine lets a second pass with nothing done.
    """
    before = time.process_time()
    stop()
    thread.join(60)
    assert not thread.is_alive()
    spent = time.process_time() - before
    idle = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - idle < 0.15, "something goes on behind the thread"
    return spent


def test_a_stopped_search_computes_for_less_than_a_second_more(tmp_path):
    job = SearchJob(
        planted_pair(), prompt_set(), SearchSettings(max_new_tokens=200), Store(tmp_path)
    )
    began = threading.Event()
    thread = threading.Thread(target=lambda: (began.set(), job.run()))
    thread.start()
    began.wait()
    time.sleep(0.2)
    assert worked_after(job.control.stop, thread) < 1.0


def test_a_stopped_chat_computes_for_less_than_a_second_more(planted_pair):
    bench, stop, began = Workbench(pair=planted_pair), threading.Event(), threading.Event()

    def talk():
        turns = {"student": [Turn("user", harmful_prompts(1)[0])]}
        for _ in bench.chat(turns, Mask.of([Unit(1)]), decoding=Decoding(400), stop=stop):
            began.set()

    thread = threading.Thread(target=talk)
    thread.start()
    began.wait(60)
    assert worked_after(stop.set, thread) < 1.0
