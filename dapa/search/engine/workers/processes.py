"""Workers on this machine: plain processes, spoken to through their own pipes.

Nothing listens on a network, and a worker whose asker is gone reads the end of its pipe and ends.
A module of its own is started rather than this program again, so that it loads no screen.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from dapa.search.engine.workers.messages import Answer, Hire, Message
from dapa.search.engine.workers.post import Lost

_MODULE = "dapa.search.engine.workers.worker"
ROOT = str(Path(__file__).resolve().parents[4])
"""Where the package lies, which need not be installed."""


class ProcessPost:
    """One process of this machine."""

    def __init__(self, hire: Hire) -> None:
        """Args: what it is to load; nothing is started yet."""
        self._hire = hire
        self._process: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with this object
        self._ended = False

    @property
    def pid(self) -> int | None:
        """The process's number, once it runs."""
        return self._process.pid if self._process else None

    def begin(self) -> Answer:
        """Start the process and let it load."""
        path = os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH", ""))))
        threads = {"OMP_NUM_THREADS": str(self._hire.threads)} if self._hire.threads else {}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**os.environ, "PYTHONPATH": path, **threads},
                start_new_session=True,  # Ctrl-C is for the search, which then ends its workers
            )
        except OSError as error:
            raise Lost(f"it could not be started ({error})") from error
        if self._ended:  # meanwhile
            self.end()
        return self.ask(self._hire)

    def ask(self, message: Message) -> Answer:
        """Ask and wait."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            pickle.dump(message, process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            answer: Answer = pickle.load(process.stdout)  # from the process that was started here
            return answer
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise Lost(f"its process ended ({self._last_words(process.wait())})") from error

    def _last_words(self, code: int) -> str:
        """Exit code, and the last line that it wrote."""
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        return ", ".join([f"exit code {code}", *(line[:200] for line in lines[-1:])])

    def end(self) -> None:
        """Kill the process."""
        self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
