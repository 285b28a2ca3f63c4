"""lm-eval tasks with our model in memory: the three questions, and a local task if installed."""

import importlib.util
import json
import math

import pytest
import torch
from support import TOKENIZER, generated, random_trio

from dapa.core.records import Mask, SettingError, Unit
from dapa.measure.decoded import Speaker
from dapa.measure.lmtasks import Scorer, metrics, runner

MASK = Mask.of([Unit(0), Unit(2, "mlp")])
CONTEXT, ENDINGS = "how do I use", (" paint", " malware now", " a house")
INSTALLED = importlib.util.find_spec("lm_eval") is not None


@pytest.fixture(scope="module")
def trio():
    return random_trio("llama", seed=8)


def _models(trio):
    return [
        (Speaker("student"), trio.student),
        (Speaker("patched", "student", MASK), trio.materialised(MASK)),
        (Speaker("teacher", "teacher"), trio.teacher),
    ]


def _plain(model, context, continuation):
    """(log-probability, greedy?) of a continuation, token by token."""
    before, whole = (TOKENIZER(text)["input_ids"] for text in (context, context + continuation))
    logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
    places = range(len(before), len(whole))
    greedy = all(int(logits[i - 1].argmax()) == whole[i] for i in places)
    return sum(float(logits[i - 1, whole[i]]) for i in places), greedy


def test_loglikelihoods_are_those_of_copied_weights(trio):
    pairs = [(CONTEXT, ending) for ending in ENDINGS] + [("please tell me ", "how")]
    for speaker, model in _models(trio):
        found = Scorer(trio.pair, speaker).loglikelihood(pairs)
        for (value, greedy), (context, ending) in zip(found, pairs, strict=True):
            spare = len(context) - len(context.rstrip())
            moved = context[len(context) - spare :] + ending
            wanted = _plain(model, context[: len(context) - spare], moved)
            assert value == pytest.approx(wanted[0], abs=1e-4) and greedy == wanted[1]


def test_a_long_context_loses_its_beginning_and_an_empty_one_begins_anew(trio):
    scorer = Scorer(trio.pair, Speaker("student"))
    (value, _), (alone, _) = scorer.loglikelihood([(CONTEXT * 99, " paint"), ("", "paint")])
    assert math.isfinite(value) and math.isfinite(alone) and alone < 0.0
    (text,) = scorer.rolling([" ".join([CONTEXT] * 40)])
    assert text < 0.0


def test_texts_are_generated_greedily_up_to_a_stop(trio):
    for speaker, model in _models(trio):
        ids = tuple(TOKENIZER(CONTEXT)["input_ids"])
        new = generated(model, ids, 8)
        ends = [i for i in new if i != TOKENIZER.eos_token_id]
        plain = TOKENIZER.decode(ends, skip_special_tokens=True)
        scorer = Scorer(trio.pair, speaker)
        (said,) = scorer.generate([(CONTEXT, {"max_gen_toks": 8, "until": []})])
        assert said.split() == plain.split()
        stop = said.split()[-1]
        (cut,) = scorer.generate([(CONTEXT, {"max_gen_toks": 8, "until": [stop]})])
        assert stop not in cut and said.startswith(cut)


def test_metrics_carry_interval_and_count():
    raw = {
        "results": {"t": {"alias": "t", "acc,none": 0.5, "acc_stderr,none": 0.1, "f1,none": 0.2,
                          "f1_stderr,none": "N/A"}},
        "n-samples": {"t": {"original": 9, "effective": 4}},
    }  # fmt: skip
    told = metrics(raw)
    assert told["t"]["acc"]["low"] == pytest.approx(0.5 - 0.196, abs=1e-3)
    assert told["t"]["acc"]["n"] == 4 and told["t"]["f1"]["low"] is None
    json.dumps(told, allow_nan=False)


TASK = """
task: dapa_local
dataset_path: json
dataset_kwargs:
  data_files: {file}
output_type: {kind}
test_split: train
doc_to_text: "{{{{question}}}}"
"""


def test_a_local_task_runs_on_every_column_where_the_harness_is_installed(trio, tmp_path):
    rows = [{"question": CONTEXT, "choices": [e.strip() for e in ENDINGS], "gold": i % 3}
            for i in range(6)]  # fmt: skip
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = TASK.format(file=file, kind="multiple_choice")
    text += "doc_to_choice: choices\ndoc_to_target: gold\nmetric_list:\n  - metric: acc\n"
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    if not INSTALLED:
        with pytest.raises(SettingError, match="need the lm_eval package"):
            runner(["dapa_local"], str(tmp_path))
        return
    run = runner(["dapa_local"], str(tmp_path))
    for speaker, model in _models(trio):
        scores = [_plain(model, CONTEXT, " " + row["choices"][k])[0] for row in rows[:1]
                  for k in range(3)]  # fmt: skip
        best = scores.index(max(scores))
        acc = run(trio.pair, speaker)["dapa_local"]["acc"]
        assert acc["value"] == pytest.approx(sum(r["gold"] == best for r in rows) / 6)
        assert acc["n"] == 6
    with pytest.raises(SettingError, match="no task 'nothing_of_the_kind'"):
        runner(["nothing_of_the_kind"])
    with pytest.raises(SettingError, match="task folder"):
        runner(["dapa_local"], str(tmp_path / "gone"))
