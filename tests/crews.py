"""Workers for tests: threads of this process that answer as a worker of another process would."""

import pickle
import threading

from dapa.core.records import Prompt
from dapa.planted.pairs import harmful_prompts
from dapa.prompts.sets import PromptSet
from dapa.search.engine.workers.crew import Crew
from dapa.search.engine.workers.messages import Hire, Joined, Turn
from dapa.search.engine.workers.post import Lost
from dapa.search.engine.workers.worker import Worker
from dapa.search.job import SearchJob

COSTS = {
    "speculative", "prompts_judged", "prompts_spared", "recalled", "recalled_tokens", "tokens",
    "seconds", "phases", "gpu_seconds", "eta_error", "work", "helped",
}  # fmt: skip
"""What may hang on who decodes; nothing else may."""


class Beside:
    """A post at which a thread works; messages are pickled as on the way to a process."""

    def __init__(self, pair, turns=None, then="die", digest=None, after=None):
        """Args: the pair; after how many turns it dies or hangs; what it says it read; an event."""
        self.worker, self.turns, self.then = Worker(pair), turns, then
        self.digest, self.after = digest or pair.digest, after
        self.ended, self.taken = threading.Event(), 0

    def begin(self):
        if self.after is not None:
            self.after.wait()
        return Joined(self.digest, "here", 0)

    def ask(self, message):
        if isinstance(message, Turn):
            if self.taken == self.turns and self.then == "die":
                raise Lost("it died")
            if self.taken == self.turns:
                self.ended.wait()
                raise Lost("it was ended")
            self.taken += 1
        return pickle.loads(pickle.dumps(self.worker.answer(pickle.loads(pickle.dumps(message)))))

    def end(self):
        self.ended.set()


class Crewed:
    """Lets searches be helped by posts of a test's making, and keeps them for it to look at."""

    def __init__(self, monkeypatch, make, workers=2, silent=60.0):
        self.posts = []

        def crew_of(pair, *_):
            def post(number, hire):
                self.posts.append(make(pair, number))
                return self.posts[-1]

            return Crew(post, Hire(pair.spec), pair.digest, workers, silent)

        monkeypatch.setattr("dapa.search.prepared.crew_of", crew_of)

    @property
    def turns(self):
        """How many turns the workers took, in the order in which they were hired."""
        return [post.taken for post in self.posts]


def asked(seed=0, count=20):
    """Prompts of a planted pair, most of which search."""
    texts = harmful_prompts(count, seed)
    prompts = [Prompt(t, split="search" if i < 14 else "held_out") for i, t in enumerate(texts)]
    return PromptSet("planted", "harmful", tuple(prompts))


def essence(job: SearchJob):
    """All of a search that must not hang on who decoded: its report, and its log of tests."""
    report = job.report
    told = {key: value for key, value in report.as_dict().items() if key not in COSTS}
    log = [(t.outcome.mask, t.outcome.satisfied, t.phase, t.memo) for t in report.trials]
    return told, log
