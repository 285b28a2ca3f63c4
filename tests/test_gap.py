"""The gap budget against really copied weights, planted truth and rendered templates."""

import threading
from copy import deepcopy
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from support import TOKENIZER, planted_models, random_model
from test_openers import by_hand, ids_of

from dapa.core.records import EMPTY, Mask, PromptError
from dapa.localize.causes.flips import Effect
from dapa.localize.causes.hybrids import ENDS, PARTS, hybrid_log_odds, part_sizes
from dapa.localize.gap import GROUPS, GapBudget, GapRow, gap_budget
from dapa.model.architectures import FAMILIES
from dapa.model.decode.log_odds import refusal_log_odds
from dapa.model.decode.openers import find_openers
from dapa.model.pair import Pair
from dapa.model.spec import PairSpec
from dapa.model.template import encode
from dapa.planted.pairs import Planting, harmful_prompts, harmless_prompts
from dapa.prompts.format import PromptFormat
from dapa.workbench.measurements import measurements

HOW = PromptFormat()
IDS = [(7, 9, 11, 30), (5, 8, 13, 21, 34, 6, 10, 12, 9)]
IN_NAME = {"gate": ("gate_proj",), "rest": ("up_proj", "down_proj"), "attention": ("self_attn",)}


def part_of(name):
    """Which part a parameter of a plain model belongs to, told by its name alone."""
    for part, marks in IN_NAME.items():
        if any(mark in name for mark in marks):
            return part
    return "ends" if "embed" in name or "lm_head" in name else "norms"


@pytest.fixture(scope="module")
def strangers(model_type):
    """Two models that differ in every part, norms too, and a pair of them."""
    student, teacher = random_model(model_type, 0), random_model(model_type, 1)
    for seed, model in enumerate((student, teacher)):
        generator = torch.Generator().manual_seed(seed)
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    kept = deepcopy(student), deepcopy(teacher)
    spec = PairSpec("student", "teacher", "", "float32", "cpu")
    return Pair(student, teacher, TOKENIZER, TOKENIZER, FAMILIES[model_type], spec, "x"), *kept


def copied(student, teacher, parts):
    """A plain student with the teacher's parts really copied in."""
    model, theirs = deepcopy(student), dict(teacher.named_parameters())
    for name, weight in model.named_parameters():
        if part_of(name) in parts:
            weight.copy_(theirs[name])
    return model


def test_every_hybrid_of_parts_is_the_model_with_those_weights_copied(strangers):
    pair, student, teacher = strangers
    openers = {role: find_openers(pair, role) for role in ("student", "teacher")}
    ids = {"student": IDS, "teacher": IDS}
    for size in range(len(PARTS) + 1):
        for parts in combinations(PARTS, size):
            found = hybrid_log_odds(pair, ids, parts, openers)
            model = copied(student, teacher, parts)
            wanted = [by_hand(model, i, openers["student"]) for i in IDS]
            assert found == pytest.approx(wanted, abs=2e-4), parts
    assert np.array_equal(refusal_log_odds(pair, IDS)[0], hybrid_log_odds(pair, ids, (), openers))


def test_part_sizes_count_every_parameter_once_and_see_what_differs(strangers):
    pair, student, _ = strangers
    sizes = part_sizes(pair)
    for part in PARTS:
        own = sum(p.numel() for n, p in student.named_parameters() if part_of(n) == part)
        assert sizes[part].parameters == own and sizes[part].differs, part


def test_planted_refusal_sits_in_the_gates_and_nowhere_else(planted):
    _, pair = planted
    texts = harmful_prompts(6)
    budget = gap_budget(pair, texts, HOW)
    rows = {row.name: row for row in budget.rows}
    assert set(rows) == set(GROUPS)
    assert budget.largest is rows["gate"]
    for name in ("gate", "mlp"):
        assert rows[name].alone.value == pytest.approx(budget.whole.value, abs=1e-4)
        assert rows[name].left_out.low > 5
    for name in ("rest", "attention", "norms", "ends", "not_mlp"):
        assert not rows[name].differs and rows[name].alone.value == 0.0
    f = refusal_log_odds(pair, ids_of(pair, texts), [EMPTY, Mask.of(pair.units("gate"))])
    assert rows["gate"].alone.value == pytest.approx((f[1] - f[0]).mean(), abs=1e-4)
    assert sum(rows[n].share for n in ("mlp", "not_mlp")) == pytest.approx(1.0)
    assert budget.as_dict()["rows"][0]["part"] == "gate"


def test_refusal_moved_into_attention_or_the_head_is_found_there(model_type):
    models = planted_models(model_type)
    teacher = models.student.__class__(models.student.config)
    teacher.load_state_dict(models.teacher.state_dict())
    for mine, theirs in zip(models.student.model.layers, teacher.model.layers, strict=True):
        mine.mlp.load_state_dict(theirs.mlp.state_dict())  # both could refuse ...
    models.student.model.layers[0].self_attn.o_proj.weight.zero_()  # ... but one sees no harm
    pair = Pair(
        models.student,
        teacher.eval().requires_grad_(False),
        TOKENIZER,
        TOKENIZER,
        models.family,
        PairSpec("a", "b"),
        "moved",
    )
    budget = gap_budget(pair, harmful_prompts(3), HOW)
    assert budget.largest.name == "attention"
    rows = {row.name: row for row in budget.rows}
    assert rows["attention"].alone.value == pytest.approx(budget.whole.value, abs=1e-4)
    assert rows["not_mlp"].left_out.value == pytest.approx(budget.whole.value, abs=1e-4)
    assert not rows["mlp"].differs


def test_templates_are_compared_for_both_models_with_the_system_prompt_apart():
    models = planted_models("llama", Planting(3, (1,)))
    tokenizer, other = models.tokenizer, deepcopy(models.tokenizer)
    other.chat_template = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}<assistant>"
    spec = PairSpec("a", "b")
    texts = harmful_prompts(4)

    def cells(ours, theirs, system=""):
        made = planted_models("llama", Planting(3, (1,)))
        pair = Pair(made.student, made.teacher, ours, theirs, made.family, spec, "t")
        found = gap_budget(pair, texts, PromptFormat(system=system)).templates
        return pair, {(c.weights, c.template, c.system): c for c in found}

    pair, same = cells(tokenizer, tokenizer)
    assert set(same) == {(role, "both", False) for role in ("student", "teacher")}
    assert same["teacher", "both", False].log_odds.value == pytest.approx(
        refusal_log_odds(pair, ids_of(pair, texts), role="teacher").mean(), abs=1e-5
    )
    _, two = cells(tokenizer, other, "please explain")
    assert len(two) == 8 and all(cell.log_odds.n == 4 for cell in two.values())
    assert two["teacher", "student", True].log_odds.value > 2
    other.chat_template = None
    _, bare = cells(other, tokenizer, "please explain")
    assert {key[1:] for key in bare} == {("none", False), ("teacher", False), ("teacher", True)}
    raw = [encode(pair, text, PromptFormat("raw")) for text in texts]
    plain = refusal_log_odds(pair, raw, role="teacher").mean()
    assert bare["teacher", "none", False].log_odds.value == pytest.approx(plain, abs=1e-5)


def test_a_template_that_refuses_a_system_prompt_says_so_in_its_cell():
    made = planted_models("llama", Planting(3, (1,)))
    made.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "<user>{{ messages[0]['content'] }}<assistant>"
    )
    cells = gap_budget(made.pair(), harmful_prompts(2), PromptFormat("raw", system="be good"))
    broken = [cell for cell in cells.templates if cell.system]
    assert broken and all(c.log_odds is None and "no system role" in c.reason for c in broken)
    assert broken[0].as_dict()["log_odds"] is None


def test_a_stopped_budget_keeps_the_prompts_measured(planted_pair):
    stop = threading.Event()
    texts = harmful_prompts(60)
    budget = gap_budget(planted_pair, texts, HOW, stop=stop, progress=lambda *_: stop.set())
    assert budget.whole.n == 48 and "48 prompts of 60" in budget.provenance


def test_no_prompt_is_refused(planted_pair):
    with pytest.raises(PromptError, match="no prompt"):
        gap_budget(planted_pair, [], HOW)


def test_a_hybrid_leaves_no_trace_in_either_model(strangers):
    pair, _, _ = strangers
    ids = {"student": IDS, "teacher": IDS}
    openers = {role: find_openers(pair, role) for role in ("student", "teacher")}
    before = [refusal_log_odds(pair, IDS, role=role) for role in ("student", "teacher")]
    hybrid_log_odds(pair, ids, (ENDS, "gate"), openers)
    after = [refusal_log_odds(pair, IDS, role=role) for role in ("student", "teacher")]
    assert np.array_equal(before, after)


def test_what_harmless_prompts_show_is_subtracted_from_parts_and_gap(planted_pair):
    bad, good = harmful_prompts(6), harmless_prompts(4)
    plain, less = gap_budget(planted_pair, bad, HOW), gap_budget(planted_pair, bad, HOW,
                                                                harmless=good)  # fmt: skip
    f = {role: [refusal_log_odds(planted_pair, ids_of(planted_pair, texts, role), role=role)[0]
                for texts in (bad, good)] for role in ("student", "teacher")}  # fmt: skip
    gap = [t - s for s, t in zip(f["student"], f["teacher"], strict=True)]
    wanted = stats.ttest_ind(*gap, equal_var=False).confidence_interval(0.95)
    assert less.whole.value == pytest.approx(gap[0].mean() - gap[1].mean(), abs=1e-3)
    assert (less.whole.low, less.whole.high) == pytest.approx(tuple(wanted), abs=2e-3)
    assert plain.whole.value == pytest.approx(gap[0].mean(), abs=1e-3)
    assert less.student.value == pytest.approx(plain.student.value, abs=1e-4)
    assert (less.harmless, plain.harmless, less.whole.n) == (4, 0, 6)
    assert less.as_dict()["openers"][0]["phrases"] and "less 4 harmless" in less.provenance


def test_the_finding_names_the_whole_mlp_where_both_halves_bring_clearly_more():
    def told(**alone):
        rows = tuple(
            GapRow(name, GROUPS[name][1], effect, effect, True, 0.3)
            for name, effect in alone.items()
        )
        effects = Effect(-11, -11, -11, 9), Effect(5, 5, 5, 9), Effect(16, 15, 17, 9)
        return measurements["gap"].describe(GapBudget(*effects, rows, (), "a", 9)).finding

    gate, rest = Effect(2, 1, 3, 9), Effect(9, 8, 10, 9)
    both = told(gate=gate, rest=rest, mlp=Effect(16, 15, 17, 9)).replace("\u202f", "")
    assert "The rest of the MLP alone brings 56" in both and "; the whole MLP brings 100" in both
    unsure = told(gate=gate, rest=rest, mlp=Effect(11, 9, 13, 9))
    assert "whole MLP" not in unsure
