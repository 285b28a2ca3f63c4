"""The command line: a thin layer of options and sentences over `dapa.workbench`.

Heavy modules (torch, transformers) are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from dapa.core.errors import NO_ROOM, lacking, ran_out
from dapa.core.resident import lacks_room

_LIBRARIES = 200 * 10**6
"""Address space below which Python's own libraries already fail, some of them aloud."""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit; see `dapa.cli.app.main`.

    Libraries are loaded here, not before: one that is missing, or has no room, is told in a line.
    """
    try:
        if lacks_room(_LIBRARIES):
            raise MemoryError
        from dapa.cli.app import main as run
    except Exception as error:
        if isinstance(error, ModuleNotFoundError):
            told = lacking(error)
        elif ran_out(error):
            told = NO_ROOM
        else:
            raise
        print(told, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:  # while libraries load, which takes a second
        print("Aborted.", file=sys.stderr)
        raise SystemExit(130) from None
    run(arguments)


__all__ = ["main"]
