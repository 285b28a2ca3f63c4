"""The door of the house: what screen, command line and Python ask for stands here by name.

`Workbench` owns the pair, the store and the background jobs; settings, records and measurements
that go through its hands are named here too. Names load when they are first asked for, so a command
line that only tells its options waits for no model.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dapa.core.errors import SCARCE, OutOfMemory
from dapa.core.resident import lacks_room

if TYPE_CHECKING:
    from dapa.chat.conversation import PANES, Exchange, Pane, PaneName, first_apart, panes_of
    from dapa.chat.ratings import (
        forget_session,
        rule,
        rulings_on,
        save_session,
        saved_session,
        session_names,
        tally,
        vote,
    )
    from dapa.chat.sessions import ChatSession, Round, Talk, ruled
    from dapa.chat.settings import ChatSettings
    from dapa.judges import judges, titled
    from dapa.judges.base import Judge
    from dapa.judges.choose import panel, read_options
    from dapa.judges.classifier import classes_of, mapping
    from dapa.judges.harm import refuse_other_classes
    from dapa.judges.remembered import CHUNK
    from dapa.judges.reply_parts import answer_text, whole_reply
    from dapa.localize.causes.flips import WhatIfs
    from dapa.measure.agreement import HUMAN, Agreement
    from dapa.measure.evaluation import (
        COLUMNS,
        WRAP,
        Compared,
        Evaluation,
    )
    from dapa.measure.evaluation_settings import EvaluationSettings
    from dapa.measure.judging import Benchmark, benchmark, half
    from dapa.measure.opinions import Opinions, opinions
    from dapa.measure.reproduce_records import PUBLISHED, PairLine, Reproduced, read_presets
    from dapa.measure.reread import stored_evaluation
    from dapa.measure.run_evaluation import KIND, stored_replies
    from dapa.model.compatibility import Report
    from dapa.model.decode.log_odds import FirstToken
    from dapa.model.decode.openers import NoOpeners
    from dapa.model.families import ALL, GROUPS, KIND_TITLES, sites_of, units_for
    from dapa.model.loading import LoadCancelled
    from dapa.model.machine import DTYPES
    from dapa.model.pair import Pair
    from dapa.model.presets import Preset, current_name, presets
    from dapa.model.spec import PairOptions, PairSpec, short_name
    from dapa.prompts.format import MODES, Turn
    from dapa.prompts.labelled import Labelled, read_labelled
    from dapa.prompts.replies import Written, read_replies
    from dapa.prompts.report import inspect, sentences
    from dapa.prompts.sets import bundled, one_prompt, read_prompts
    from dapa.search.algorithms.questions import NEED_ONE, algorithms
    from dapa.search.choosing_again import AGAIN
    from dapa.search.confidence.parts import Difference, Versus
    from dapa.search.confidence.record import ConfidencePlan, ConfidenceRecord
    from dapa.search.engine.checked import Recheck
    from dapa.search.engine.control import Halted
    from dapa.search.engine.report import Costs, SearchProgress, SearchReport
    from dapa.search.job import SearchJob
    from dapa.search.kinds import kinds_from
    from dapa.search.priors import priors
    from dapa.search.settings import CONFIDENT, SearchRules, SearchSettings, method_of
    from dapa.share.model import Made
    from dapa.share.played import cells, encode
    from dapa.share.settings import FORMS, OF_A_RUN, ExportSettings
    from dapa.store.database import digest
    from dapa.store.runs import Run, Store, checked_title
    from dapa.workbench.bench import Workbench
    from dapa.workbench.holding import RUN_DIR

_HOMES = {
    "dapa.chat.conversation": (
        "Exchange",
        "PANES",
        "Pane",
        "PaneName",
        "first_apart",
        "panes_of",
    ),
    "dapa.chat.ratings": (
        "forget_session",
        "rule",
        "rulings_on",
        "save_session",
        "saved_session",
        "session_names",
        "tally",
        "vote",
    ),
    "dapa.chat.sessions": (
        "ChatSession",
        "Round",
        "Talk",
        "ruled",
    ),
    "dapa.chat.settings": ("ChatSettings",),
    "dapa.judges.base": ("Judge",),
    "dapa.judges": ("judges", "titled"),
    "dapa.judges.choose": (
        "panel",
        "read_options",
    ),
    "dapa.judges.classifier": (
        "classes_of",
        "mapping",
    ),
    "dapa.judges.harm": ("refuse_other_classes",),
    "dapa.judges.remembered": ("CHUNK",),
    "dapa.judges.reply_parts": (
        "answer_text",
        "whole_reply",
    ),
    "dapa.localize.causes.flips": ("WhatIfs",),
    "dapa.measure.agreement": (
        "Agreement",
        "HUMAN",
    ),
    "dapa.measure.evaluation": (
        "COLUMNS",
        "Compared",
        "Evaluation",
        "WRAP",
    ),
    "dapa.measure.evaluation_settings": ("EvaluationSettings",),
    "dapa.measure.judging": (
        "Benchmark",
        "benchmark",
        "half",
    ),
    "dapa.measure.opinions": (
        "Opinions",
        "opinions",
    ),
    "dapa.measure.reproduce_records": (
        "PairLine",
        "PUBLISHED",
        "Reproduced",
        "read_presets",
    ),
    "dapa.measure.reread": ("stored_evaluation",),
    "dapa.measure.run_evaluation": (
        "KIND",
        "stored_replies",
    ),
    "dapa.model.compatibility": ("Report",),
    "dapa.model.decode.log_odds": ("FirstToken",),
    "dapa.model.decode.openers": ("NoOpeners",),
    "dapa.model.families": (
        "ALL",
        "GROUPS",
        "KIND_TITLES",
        "sites_of",
        "units_for",
    ),
    "dapa.model.loading": ("LoadCancelled",),
    "dapa.model.machine": ("DTYPES",),
    "dapa.model.pair": ("Pair",),
    "dapa.model.presets": (
        "Preset",
        "current_name",
        "presets",
    ),
    "dapa.model.spec": (
        "PairOptions",
        "PairSpec",
        "short_name",
    ),
    "dapa.prompts.format": (
        "MODES",
        "Turn",
    ),
    "dapa.prompts.labelled": (
        "Labelled",
        "read_labelled",
    ),
    "dapa.prompts.replies": (
        "Written",
        "read_replies",
    ),
    "dapa.prompts.report": (
        "inspect",
        "sentences",
    ),
    "dapa.prompts.sets": (
        "bundled",
        "one_prompt",
        "read_prompts",
    ),
    "dapa.search.algorithms.questions": (
        "NEED_ONE",
        "algorithms",
    ),
    "dapa.search.choosing_again": ("AGAIN",),
    "dapa.search.confidence.parts": (
        "Difference",
        "Versus",
    ),
    "dapa.search.confidence.record": (
        "ConfidencePlan",
        "ConfidenceRecord",
    ),
    "dapa.search.engine.checked": ("Recheck",),
    "dapa.search.engine.control": ("Halted",),
    "dapa.search.engine.report": (
        "Costs",
        "SearchProgress",
        "SearchReport",
    ),
    "dapa.search.job": ("SearchJob",),
    "dapa.search.kinds": ("kinds_from",),
    "dapa.share.played": (
        "cells",
        "encode",
    ),
    "dapa.search.priors": ("priors",),
    "dapa.search.settings": (
        "CONFIDENT",
        "SearchRules",
        "SearchSettings",
        "method_of",
    ),
    "dapa.share.model": ("Made",),
    "dapa.share.settings": (
        "ExportSettings",
        "FORMS",
        "OF_A_RUN",
    ),
    "dapa.store.database": ("digest",),
    "dapa.store.runs": (
        "checked_title",
        "Run",
        "Store",
    ),
    "dapa.workbench.holding": ("RUN_DIR",),
    "dapa.workbench.bench": ("Workbench",),
}
"""Room -> what of it is handed on here."""
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [
    "judges",
    "AGAIN",
    "ALL",
    "Agreement",
    "Benchmark",
    "CHUNK",
    "COLUMNS",
    "CONFIDENT",
    "ChatSession",
    "ChatSettings",
    "Compared",
    "ConfidencePlan",
    "ConfidenceRecord",
    "Costs",
    "DTYPES",
    "Difference",
    "Evaluation",
    "EvaluationSettings",
    "Exchange",
    "ExportSettings",
    "FORMS",
    "FirstToken",
    "GROUPS",
    "HUMAN",
    "Halted",
    "Judge",
    "KIND",
    "KIND_TITLES",
    "Labelled",
    "PairLine",
    "LoadCancelled",
    "MODES",
    "Made",
    "NEED_ONE",
    "NoOpeners",
    "OF_A_RUN",
    "Opinions",
    "PANES",
    "PUBLISHED",
    "Pair",
    "PairOptions",
    "PairSpec",
    "Pane",
    "PaneName",
    "Preset",
    "RUN_DIR",
    "Recheck",
    "Report",
    "Reproduced",
    "Round",
    "Run",
    "SearchJob",
    "SearchProgress",
    "SearchReport",
    "SearchRules",
    "SearchSettings",
    "Store",
    "Talk",
    "Turn",
    "Versus",
    "WRAP",
    "WhatIfs",
    "Workbench",
    "Written",
    "algorithms",
    "answer_text",
    "benchmark",
    "bundled",
    "cells",
    "checked_title",
    "classes_of",
    "current_name",
    "digest",
    "encode",
    "first_apart",
    "forget_session",
    "half",
    "inspect",
    "kinds_from",
    "mapping",
    "method_of",
    "one_prompt",
    "opinions",
    "panel",
    "panes_of",
    "presets",
    "priors",
    "read_labelled",
    "read_options",
    "read_presets",
    "read_prompts",
    "read_replies",
    "refuse_other_classes",
    "rule",
    "ruled",
    "rulings_on",
    "save_session",
    "saved_session",
    "sentences",
    "session_names",
    "short_name",
    "sites_of",
    "stored_evaluation",
    "stored_replies",
    "tally",
    "titled",
    "units_for",
    "vote",
    "whole_reply",
]


_LIBRARIES = 850 * 10**6
"""Address space that torch's libraries map; with less they end the process, with no word of why."""


def __getattr__(name: str) -> Any:
    """Load a name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'dapa.workbench' has no attribute {name!r}")
    if name == "Workbench" and "torch" not in sys.modules and lacks_room(_LIBRARIES):
        raise OutOfMemory(SCARCE)
    return getattr(import_module(_HOME[name]), name)
