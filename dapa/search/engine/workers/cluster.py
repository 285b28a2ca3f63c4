"""Workers on a cluster: Ray actors that each hold the pair. The only file that knows Ray.

Ray is an optional extra. It listens on the network, so token authentication is always on: a cluster
without it is not joined. Usage statistics are always off.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dapa.core.records import SettingError
from dapa.model.pair import Pair
from dapa.search.engine.workers.messages import Answer, Hire, Message
from dapa.search.engine.workers.post import Lost, MakePost
from dapa.search.engine.workers.processes import ROOT

ALWAYS = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
"""What stands in the environment before Ray is imported, whatever stood there."""
_connecting = threading.Lock()


def connect(address: str) -> Any:
    """Ray's module, connected to a cluster: at an address, `auto` for one here, `local` for a new.

    Raises:
        SettingError: Ray is not installed, or there is no such cluster.
    """
    os.environ.update(ALWAYS)
    try:
        import ray
    except ImportError as error:
        raise SettingError(
            "Ray is not installed; run pip install 'dapa-dashboard[ray]', or use --workers without "
            "--ray on one machine"
        ) from error
    with _connecting:
        if ray.is_initialized():
            return ray
        new: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
        try:
            with package_found():
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **new)
        except Exception as error:  # Ray raises a kind of its own for each
            told = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise SettingError(
                f"no cluster can be joined at {address!r} ({told}); start one with ray start "
                "--head and the same token on every machine, see assets/docs/cluster.md"
            ) from error
    return ray


@contextmanager
def package_found() -> Iterator[None]:
    """While it is open, programs that this one starts find the package, installed or not."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (ROOT, before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def cluster_posts(address: str, workers: int, pair: Pair) -> tuple[MakePost, int | None]:
    """What makes posts on a cluster, and how many threads each worker there may use.

    A post waits until the cluster has room: an actor whose machine joins later helps from then on.
    """
    ray = connect(address)
    cards = int(pair.device.type == "cuda")
    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    share = max(1, min(int(sum(nodes)) // workers, int(max(nodes, default=1))))
    cpus = 1 if cards or pair.threads == 1 else share
    # an actor is made of what every machine has installed: this module, not a pickled copy
    actor = ray.remote(num_cpus=cpus, num_gpus=cards, max_restarts=0)(_Actor)
    return (lambda number, hire: RayPost(ray, actor, hire)), None if cards else cpus


class _Actor:
    """A worker in an actor's process."""

    def __init__(self) -> None:
        from dapa.search.engine.workers.worker import Worker

        self._worker = Worker()

    def answer(self, message: Message) -> Answer:
        return self._worker.answer(message)


class RayPost:
    """One actor."""

    def __init__(self, ray: Any, actor: Any, hire: Hire) -> None:
        """Args: Ray, the actor's class, what it is to load; nothing is started yet."""
        self.ray, self._class, self._hire = ray, actor, hire
        self.actor: Any = None
        """Ray's handle of it, once it was asked for."""
        self._ended = False

    def begin(self) -> Answer:
        """Ask for an actor and let it load."""
        self.actor = self._class.remote()
        if self._ended:  # meanwhile
            self.end()
        return self.ask(self._hire)

    def ask(self, message: Message) -> Answer:
        """Ask and wait."""
        try:
            answer: Answer = self.ray.get(self.actor.answer.remote(message))
            return answer
        except self.ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [""]
            raise Lost(f"its actor ended ({type(error).__name__}: {lines[0][:200]})") from error

    def end(self) -> None:
        """Kill the actor."""
        self._ended = True
        if self.actor is not None and self.ray.is_initialized():
            self.ray.kill(self.actor)
