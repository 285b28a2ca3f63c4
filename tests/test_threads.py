"""Threads: chosen for each pair, known to whoever runs it, never more than the user allows."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support import TOKENIZER, random_model

from dapa.model import machine, threads
from dapa.model.machine import LARGE, choose_threads, cores
from dapa.model.pair_loading import load_pair
from dapa.model.presets import DEFAULT, preset
from dapa.model.spec import PairSpec

TOY = preset(DEFAULT).spec("float32", "cpu")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A random pair of real size, as folders."""
    folder = tmp_path_factory.mktemp("large")
    wide = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 3}
    for role, seed in (("student", 0), ("teacher", 1)):
        model = random_model("llama", seed, torch.bfloat16, **wide)
        assert sum(p.numel() for p in model.parameters()) >= LARGE
        model.save_pretrained(folder / role)
        TOKENIZER.save_pretrained(folder / role)
    return PairSpec(str(folder / "student"), str(folder / "teacher"), dtype="auto", device="cpu")


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """A machine of two cores, and a program in which no pair chose yet."""
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_here", threads._Here())
    monkeypatch.setattr(threads, "_program", threads._Program())
    monkeypatch.setattr(threads, "cores", lambda: 2)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def elsewhere(work, *given):
    """What `work` gives in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *given).result()


def made(parameters):
    """A model that stands for a pair of this size: loaded, it costs a millisecond."""
    model = torch.nn.Linear(1, 1)
    threads.install_threads(parameters, CPU, model)
    return model


def counted(model):
    """With how many threads this thread of the program runs the model."""
    model(torch.ones(1))
    return torch.get_num_threads()


def test_a_large_pair_after_the_toy_computes_with_every_thread_and_the_toy_after_it_with_one(large):
    toy = load_pair(TOY)
    assert (toy.threads, torch.get_num_threads(), elsewhere(torch.get_num_threads)) == (1, 1, 1)
    pair = load_pair(large)
    assert (pair.threads, torch.get_num_threads(), elsewhere(torch.get_num_threads)) == (2, 2, 2)
    ids = torch.tensor([[9, 14]])
    for model, count in ((toy.student, 1), (pair.student, 2), (toy.teacher, 1), (pair.teacher, 2)):
        model(ids)
        assert torch.get_num_threads() == count
    load_pair(TOY)
    assert (torch.get_num_threads(), elsewhere(torch.get_num_threads)) == (1, 1)


def test_a_thread_that_served_the_toy_serves_the_next_pair_with_all():
    toy = made(1)
    with ThreadPoolExecutor(1) as worker:
        assert worker.submit(counted, toy).result() == 1
        large = elsewhere(made, LARGE)
        assert worker.submit(torch.get_num_threads).result() == 1, "nobody else can tell it"
        assert worker.submit(counted, large).result() == 2
        assert worker.submit(counted, toy).result() == 1


def test_a_search_that_goes_on_keeps_its_number_while_another_pair_is_loaded():
    large = made(LARGE)
    with ThreadPoolExecutor(1) as worker:
        assert worker.submit(counted, large).result() == 2
        made(1)
        assert worker.submit(counted, large).result() == 2


def test_two_pairs_that_decode_at_once_keep_their_own_numbers():
    models = {1: made(1), 2: made(LARGE)}
    seen, meet = {1: set(), 2: set()}, threading.Barrier(2, timeout=60)

    def serve(count):
        for _ in range(50):
            meet.wait()
            seen[count].add(counted(models[count]))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(serve, models))
    assert seen == {1: {1}, 2: {2}}


def test_threads_that_the_user_set_are_the_most_that_a_pair_takes(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    torch.set_num_threads(5)
    assert counted(made(1)) == 1 and counted(made(LARGE)) == 5
    torch.set_num_threads(3)  # by hand, between two loads
    assert counted(made(LARGE)) == 3
    assert elsewhere(lambda: counted(made(LARGE))) == 3, "a load in a thread of its own"
    assert counted(made(1)) == 1 and elsewhere(lambda: counted(made(LARGE))) == 3


def test_one_thread_set_by_the_user_is_one_for_every_pair():
    torch.set_num_threads(1)
    assert counted(made(LARGE)) == 1 and elsewhere(lambda: counted(made(LARGE))) == 1


def test_no_pair_takes_more_threads_than_there_are_cores():
    torch.set_num_threads(5)
    assert counted(made(LARGE)) == 2


def test_threads_that_the_user_sets_after_the_load_stay():
    model = made(LARGE)
    torch.set_num_threads(1)
    assert counted(model) == 1


def test_a_pair_that_is_not_on_the_cpu_leaves_torch_alone():
    assert choose_threads(LARGE, "cuda", 4) is None and choose_threads(1, "mps", 4) is None
    model = torch.nn.Linear(1, 1)
    assert threads.install_threads(1, torch.device("cuda"), model) is None
    assert torch.get_num_threads() == 2 and not model._forward_pre_hooks


def test_size_decides_and_one_allowed_thread_is_one():
    assert choose_threads(LARGE, "cpu", 8) == 8
    assert choose_threads(LARGE - 1, "cpu", 8) == 1
    assert choose_threads(LARGE, "cpu", 1) == 1


def test_a_containers_share_of_the_machine_is_all_that_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert cores() == 64, "no container"
    for quota, count in (("max 100000", 64), ("150000 100000", 2), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(quota + "\n")
        assert cores() == count


SAYS = """
from dapa.model.threads import allowed
from dapa.model.machine import choose_threads
print(choose_threads(10**9, "cpu", allowed()))
"""


def test_omp_num_threads_is_a_cap():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run(
        [sys.executable, "-c", SAYS], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "1"
