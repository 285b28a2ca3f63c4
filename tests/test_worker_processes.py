"""Workers in processes of their own, and a cluster's: killed or hung, the result is the same."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from crews import asked, essence

from dapa.model.pair_loading import load_pair
from dapa.model.spec import PairSpec
from dapa.planted.pairs import plant
from dapa.planted.planting import random_planting
from dapa.search.engine.workers import hiring
from dapa.search.job import SearchJob
from dapa.search.settings import SearchSettings
from dapa.store.runs import Store

pytestmark = pytest.mark.slow
HELP = {"max_new_tokens": 20, "worker_timeout": 30.0}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A planted pair that others can read from its folders too."""
    models = plant(random_planting(3, "and"), "llama", 3)
    student, teacher = models.save(tmp_path_factory.mktemp("planted"))
    return load_pair(PairSpec(str(student), str(teacher), "workers", planted=models.facts))


@pytest.fixture(scope="module")
def alone(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    job = SearchJob(pair, asked(3), SearchSettings(max_new_tokens=20), Store(folder))
    job.run()
    return essence(job)


@pytest.fixture(scope="module")
def ray_off():
    """Leave no cluster behind."""
    yield
    import ray

    ray.shutdown()


def helped(pair, folder, disturb=None, **how):
    """A search by two workers, which have joined; `disturb` is called once they are at work."""
    job = SearchJob(pair, asked(3), SearchSettings(**HELP, workers=2, **how), Store(folder))
    try:
        assert job.crew.wait(300), job.crew.lost
        job.start()
        if disturb is not None:
            while job.progress().costs.prompts_judged < 20:
                time.sleep(0.005)
            disturb(job.crew)
        assert job.wait(300) and job.error is None, job.error
    finally:
        pids = [joined.pid for joined in job.crew.joined]
        job.crew.end()
    return job, pids


def stranger():
    """Another process that would join the cluster without its token."""
    import ray

    code = f"import ray; ray.init(address='{ray.get_runtime_context().gcs_address}')"
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "RAY_AUTH_MODE": "disabled"}, timeout=120
    )


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_two_processes_search_as_one_and_leave_nothing_behind(pair, alone, tmp_path):
    job, pids = helped(pair, tmp_path)
    assert essence(job) == alone and not job.crew.lost
    assert len(pids) == 2 and all(map(gone, pids))


def test_a_process_that_is_killed_and_one_that_hangs_change_nothing(pair, alone, tmp_path):
    def disturb(crew):
        os.kill(crew.joined[0].pid, signal.SIGKILL)
        os.kill(crew.joined[1].pid, signal.SIGSTOP)

    job, _ = helped(pair, tmp_path, disturb)
    assert essence(job) == alone
    assert any("exit code -9" in line for line in job.crew.lost)
    assert any("silent for 30 s" in line for line in job.crew.lost)


def test_a_process_that_cannot_load_the_pair_says_why(pair, alone, tmp_path, monkeypatch):
    spec_of = hiring.spec_of
    monkeypatch.setattr(hiring, "spec_of", lambda pair: replace(spec_of(pair), student="/nowhere"))
    job = SearchJob(pair, asked(3), SearchSettings(max_new_tokens=20, workers=2), Store(tmp_path))
    assert not job.crew.wait(300)
    job.run()
    assert essence(job) == alone, "this process does without"
    assert len(job.crew.lost) == 2 and "/nowhere" in job.crew.note


@pytest.mark.full
def test_two_actors_of_a_cluster_search_as_one_process(pair, alone, tmp_path, ray_off):
    job, _ = helped(pair, tmp_path / "well", ray="local")
    assert essence(job) == alone and not job.crew.lost
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert stranger().returncode != 0, "without the token nobody joins"

    def disturb(crew):
        os.kill(crew.joined[0].pid, signal.SIGKILL)
        os.kill(crew.joined[1].pid, signal.SIGSTOP)

    job, _ = helped(pair, tmp_path / "ill", disturb, ray="local")
    assert essence(job) == alone
    assert any("actor ended" in line for line in job.crew.lost)
    assert any("silent for 30 s" in line for line in job.crew.lost)
