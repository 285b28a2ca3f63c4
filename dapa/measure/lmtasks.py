"""lm-eval tasks on a column of the table, through its Python API with our model in memory.

The harness (github.com/EleutherAI/lm-evaluation-harness, the optional extra `lm-eval`) asks three
things of a model: log-likelihoods of continuations, of whole texts, and greedy text up to a stop
string. `Scorer` answers them with the row-masked student or the teacher; no weight is copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from dapa.core.records import DapaError, SettingError
from dapa.measure.decoded import Speaker
from dapa.measure.perplexity import perplexity, reply_logits, rows_of
from dapa.model.decode.generation import Batch, Row
from dapa.model.decode.sampling import Decoding
from dapa.model.decode.serving import row_capacity, serve
from dapa.model.pair import Pair

MOST_NEW = 256
"""Tokens of a generated answer, where the task does not say."""


class Scorer:
    """One column of the table as a language model over plain text, without any template."""

    def __init__(self, pair: Pair, speaker: Speaker) -> None:
        """Args: the pair, and which model under which mask."""
        self.pair, self.speaker = pair, speaker
        self.tokenizer = pair.tokenizer if speaker.role == "student" else pair.teacher_tokenizer

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """(context, continuation) -> (log-probability in nats, is it what greedy decoding says?).

        White space between the two belongs to the continuation, so that tokens are those of the
        whole text. What does not fit into the context loses the context's beginning.
        """
        texts = [self._split(context, continuation) for context, continuation in pairs]
        found: list[tuple[float, bool]] = [(0.0, True)] * len(texts)
        order = sorted((i for i, t in enumerate(texts) if t[1]), key=lambda i: _length(texts[i]))
        size = rows_of(self.pair)
        with torch.inference_mode():
            for start in range(0, len(order), size):
                places = order[start : start + size]
                some = [texts[i] for i in places]
                tables = reply_logits(self.pair, some, self.speaker.mask, self.speaker.role)
                for place, logits in zip(places, tables, strict=True):
                    wanted = torch.tensor(texts[place][1], device=logits.device)
                    table = logits.log_softmax(-1)
                    value = float(table.gather(-1, wanted[:, None]).sum())
                    found[place] = (value, bool((logits.argmax(-1) == wanted).all()))
        return found

    def rolling(self, texts: Iterable[str]) -> list[float]:
        """Log-probability in nats of whole texts, in windows that overlap by half."""
        found = []
        for text in texts:
            window = self.pair.context_length
            told = perplexity(
                self.pair, text, self.speaker.mask, self.speaker.role, stride=window, window=window
            )
            found.append(-math.log(told.value) * told.n)
        return found

    def generate(self, asked: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
        """(text, settings) -> greedy continuation, cut before the first stop string."""
        rows = []
        for text, how in asked:
            until = how.get("until") or []
            stops = [until] if isinstance(until, str) else [stop for stop in until if stop]
            limit = int(how.get("max_gen_toks") or MOST_NEW)
            ids = tuple(self.tokenizer(text)["input_ids"])
            ids = ids[-max(1, self.pair.context_length - limit) :]
            rows.append(
                Row(
                    ids,
                    self.speaker.mask,
                    max_new_tokens=limit,
                    settled=lambda so_far, stops=stops: any(stop in so_far for stop in stops),
                    tag=stops,
                )
            )
        queue = sorted(rows, key=lambda row: len(row.ids))

        def take(room: int) -> list[Row]:
            new = queue[:room]
            del queue[: len(new)]
            return new

        batch = Batch(self.pair, Decoding(MOST_NEW), self.speaker.role)
        serve(batch, row_capacity(self.pair), take, lambda row: None)
        return [_cut(row.text, row.tag) for row in rows]

    def _split(self, context: str, continuation: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        spare = len(context) - len(context.rstrip())
        if spare:
            continuation = context[-spare:] + continuation
            context = context[:-spare]
        before = self.tokenizer(context)["input_ids"] if context else []
        whole = self.tokenizer(context + continuation)["input_ids"]
        after = whole[len(before) :]
        if not before:  # the first token needs something to follow
            start = self.tokenizer.bos_token_id
            before = [self.tokenizer.eos_token_id if start is None else start]
            after = [i for n, i in enumerate(after) if n or i != start]
        after = after[-(self.pair.context_length - 1) :]
        room = self.pair.context_length - len(after)
        return tuple(before[-room:]), tuple(after)


def _length(text: tuple[tuple[int, ...], tuple[int, ...]]) -> int:
    return len(text[0]) + len(text[1])


def _cut(text: str, stops: Sequence[str]) -> str:
    places = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def as_lm(scorer: Scorer) -> Any:
    """The scorer as the harness's `LM`."""
    from lm_eval.api.model import LM

    class Masked(LM):  # type: ignore[misc, no-any-unimported, unused-ignore]
        """Answers requests from memory; each carries its arguments in `args`."""

        def loglikelihood(self, requests: Any, **_: Any) -> Any:
            return scorer.loglikelihood([request.args for request in requests])

        def loglikelihood_rolling(self, requests: Any, **_: Any) -> Any:
            return scorer.rolling([request.args[0] for request in requests])

        def generate_until(self, requests: Any, **_: Any) -> Any:
            return scorer.generate([request.args for request in requests])

    return Masked()


def runner(
    tasks: Sequence[str], path: str | None = None, limit: int | None = None
) -> Callable[[Pair, Speaker], dict[str, Any]]:
    """What runs these tasks on a column.

    Args:
        tasks: Names that the harness knows, or finds in `path`.
        path: A folder of further task files.
        limit: Items of a task at most.

    Raises:
        SettingError: The harness is not installed, the folder is none, or a task is unknown.
    """
    try:
        from lm_eval.tasks import TaskManager
    except ImportError:
        raise SettingError(
            "lm-eval tasks need the lm_eval package; pip install 'dapa-dashboard[lm-eval]'"
        ) from None
    if path is not None and not Path(path).is_dir():
        raise SettingError(f"task folder {path!r} is not there; name a folder of task files")
    manager = TaskManager(include_path=path)
    unknown = [task for task in tasks if not manager.match_tasks([task])]
    if unknown:
        raise SettingError(
            f"lm_eval knows no task {unknown[0]!r}; `lm_eval ls tasks` lists them, and --task-path "
            "adds your own"
        )

    def run(pair: Pair, speaker: Speaker) -> dict[str, Any]:
        import lm_eval

        try:
            found = lm_eval.simple_evaluate(
                model=as_lm(Scorer(pair, speaker)),
                tasks=list(tasks),
                task_manager=manager,
                limit=limit,
                log_samples=False,
            )
        except DapaError:
            raise
        except (OSError, ValueError, KeyError, ImportError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise SettingError(
                f"lm_eval could not run {', '.join(tasks)} ({reason}); its data may not be cached"
            ) from error
        return metrics(found)

    return run


def metrics(found: Mapping[str, Any]) -> dict[str, Any]:
    """The harness's results as task -> metric -> value with its normal 95 % interval and n."""
    counts = found.get("n-samples", {})
    told: dict[str, Any] = {}
    for task, values in found["results"].items():
        n = int((counts.get(task) or {}).get("effective", 0))
        here = {}
        for key, value in values.items():
            name, _, kind = key.partition(",")
            if name == "sample_len" or name.endswith("_stderr") or isinstance(value, bool | str):
                continue
            error = values.get(f"{name}_stderr,{kind}")
            known = isinstance(error, int | float) and math.isfinite(error)
            reach = 1.959964 * float(error) if known else None
            here[name] = {
                "value": float(value),
                "low": None if reach is None else float(value) - reach,
                "high": None if reach is None else float(value) + reach,
                "n": n,
            }
        told[task] = here
    return told
