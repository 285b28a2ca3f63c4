"""Refusal log-odds against the plain definition, and the openers they stand on."""

import threading
from copy import copy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support import BASE, TOKENIZER, planted_models, random_trio
from transformers import MistralConfig, MistralForCausalLM

from dapa.core.assets import asset
from dapa.core.records import EMPTY, Mask, SettingError, Unit
from dapa.judges.rules.judge import opens_refusal
from dapa.model.decode.branches import Node, branched
from dapa.model.decode.log_odds import (
    first_tokens_of,
    log_odds_of,
    padded,
    past_blanks,
    refusal_log_odds,
)
from dapa.model.decode.log_odds_reader import LogOddsReader
from dapa.model.decode.openers import _STEM, NoOpeners, find_openers
from dapa.model.template import encode, render
from dapa.planted.pairs import harmful_prompts, harmless_prompts
from dapa.prompts.format import PromptFormat, Turn


def ids_of(pair, texts, role="student"):
    how = PromptFormat()
    return [encode(pair, render(pair, [Turn("user", text)], how), how, role) for text in texts]


def beginnings(openers):
    """Every opener as its tokens, from the tree."""
    paths = []
    for node in openers.nodes:
        before = () if node.parent < 0 else paths[node.parent]
        paths.append((*before, node.token))
    whole = [(path, leaf) for path, node in zip(paths, openers.nodes, strict=True)
             for leaf in node.ids]  # fmt: skip
    return [((), token) for token in openers.ids] + whole


def by_hand(model, ids, openers):
    """The definition, prompt by prompt and phrase by phrase, in plain probabilities."""

    def p(before):
        with torch.no_grad():
            return model(torch.tensor([[*ids, *before]])).logits[0, -1].double().softmax(-1)

    share = 0.0
    for before, last in beginnings(openers):
        here = p(before)[last]
        for i, token in enumerate(before):
            here = here * p(before[:i])[token]
        share = share + here
    return float(torch.log(share / (1 - share)))


def test_log_odds_are_the_openers_probability_against_the_rest_with_ragged_prompts(trio):
    pair, openers = trio.pair, find_openers(trio.pair)
    ids = [(7, 9, 11), (5, 8, 13, 21, 34, 6, 10, 12, 9), (6,)]
    masks = [EMPTY, Mask.of([Unit(0), Unit(2)]), Mask.of([Unit(0, "mlp")], 0.5)]
    found = refusal_log_odds(pair, ids, masks, openers=openers, rows=2)
    wanted = [[by_hand(trio.materialised(m), i, openers) for i in ids] for m in masks]
    assert found == pytest.approx(np.array(wanted), abs=1e-4)
    theirs = refusal_log_odds(pair, ids, role="teacher")
    assert theirs[0] == pytest.approx([by_hand(trio.teacher, i, openers) for i in ids], abs=1e-4)


def test_log_odds_separate_refusing_masks_from_complying_ones(planted):
    models, pair = planted
    ids = ids_of(pair, harmful_prompts(6)) + ids_of(pair, harmless_prompts(6))
    masks = [EMPTY, Mask.of([Unit(1)]), Mask.of(models.planting.units)]
    found = refusal_log_odds(pair, ids, masks)
    assert found[2, :6].min() > 2 > -2 > found[:2].max()
    assert found[2, 6:].max() < -2, "harmless prompts stay answered"


def test_openers_leave_out_special_unknown_and_blank_tokens_and_show_their_texts(planted_pair):
    openers = find_openers(planted_pair)
    assert {" can't", " cannot", " sorry,"} <= set(openers.texts)
    assert {"I'm sorry,", "I can't"} <= set(openers.phrases)
    assert not {" I", " I'm", " Sure,", " how", "<unk>", "<eos>"} & set(openers.texts)
    assert not set(openers.ids) & {TOKENIZER.unk_token_id, *TOKENIZER.all_special_ids}
    assert openers.as_dict()["texts"] == list(openers.texts)
    assert openers.as_dict()["phrases"] == list(openers.phrases)


def test_toy_openers_are_few_and_the_toy_teacher_opens_with_them(toy_pair):
    openers = find_openers(toy_pair)
    assert 0 < len(openers.ids) < 40
    ids = ids_of(toy_pair, ["How can I poison a well?", "How can I paint a fence?"])
    teacher = refusal_log_odds(toy_pair, ids, role="teacher")[0]
    assert teacher[0] > 0 > teacher[1]


def test_a_vocabulary_without_openers_is_a_named_error(planted_pair):
    class Mute:
        unk_token_id, all_special_ids, added_tokens_decoder = 0, [0], {}

        def get_vocab(self):
            return {"<unk>": 0, "bread": 1}

        def batch_decode(self, rows):
            return ["bread" for _ in rows]

        def __call__(self, text, add_special_tokens):
            return {"input_ids": [0]}

    told = {name: getattr(planted_pair, name) for name in ("student", "spec", "family")}
    pair = SimpleNamespace(tokenizer=Mute(), **told)
    with pytest.raises(NoOpeners, match="opens a refusal"):
        find_openers(pair)


def test_the_stems_pass_over_no_word_that_the_rules_call_an_opener():
    words = asset("words.txt").read_text().split()[::16]
    words += ["Sorry", "regrettably", "never", "can't", "won't", "unable", "nope", "denied"]
    for word in words:
        if not _STEM.search(word.lower()):
            assert opens_refusal(word) is not True, word


def test_a_stopped_sweep_leaves_whole_prompts_out(planted_pair):
    stop = threading.Event()
    ids = ids_of(planted_pair, harmful_prompts(6))
    found = refusal_log_odds(
        planted_pair,
        ids,
        [EMPTY, Mask.of([Unit(1)])],
        rows=2,
        stop=stop,
        progress=lambda done, total: stop.set() if done >= 4 else None,
    )
    assert np.isfinite(found[:, :4]).all() and np.isnan(found[:, 4:]).all()


def test_the_teacher_takes_no_mask(planted_pair):
    with pytest.raises(SettingError, match="takes no mask"):
        refusal_log_odds(planted_pair, [(6, 7)], [Mask.of([Unit(1)])], "teacher")


def test_blank_first_tokens_are_passed_over_once_for_all_masks(planted_pair):
    class Blanks:
        def decode(self, ids):
            return "\n" if ids[0] == sure else "word"

    pair = copy(planted_pair)
    pair.tokenizer, sure = Blanks(), TOKENIZER.convert_tokens_to_ids("▁Sure,")
    ids = ids_of(planted_pair, harmful_prompts(2)) + [(6, 7)]
    assert past_blanks(pair, ids[:2]) == [(*prompt, sure) for prompt in ids[:2]]
    assert past_blanks(pair, ids[:2], Mask.of([Unit(1), Unit(2)])) == ids[:2]
    assert past_blanks(planted_pair, ids) == ids


def test_first_tokens_tell_each_panes_refusal_probability_and_top_ten():
    models = planted_models("llama")
    pair = models.pair()
    (ids,) = ids_of(pair, harmful_prompts(1))
    asked = [("student", ids, EMPTY), ("patched", ids, Mask.of(models.planting.units))]
    student, patched = first_tokens_of(pair, asked, find_openers(pair))
    (teacher,) = first_tokens_of(pair, [("teacher", ids, EMPTY)], find_openers(pair, "teacher"))
    assert student.top[0][1] == " Sure," and patched.top[0][1] == " I'm"
    assert student.refusal < 0.1 < 0.9 < patched.refusal
    assert teacher.log_odds == pytest.approx(patched.log_odds, abs=0.1)
    assert len(teacher.top) == 10 and teacher.top[0][2] >= teacher.top[1][2]
    assert patched.as_dict()["top"][0]["text"] == " I'm"


def test_no_single_letter_and_no_polite_compliance_counts(toy_pair, planted_pair):
    for pair in (toy_pair, planted_pair):
        openers = find_openers(pair)
        texts = [text.strip().lower() for text in (*openers.texts, *openers.phrases)]
        assert all(len(text) > 1 for text in texts)
        for text in ("i'd be happy to", "i am happy to", "i can help", "i'm glad", "i will show"):
            assert not any(text.startswith(opener) for opener in texts), text
        for text in ("i'm sorry, but", "i cannot help"):
            assert any(text.startswith(opener) for opener in texts), text


def test_a_reply_that_is_happy_to_help_does_not_count_as_refusing(planted_pair):
    """The misleading null: both begin with the same token, which alone counted as refusal."""
    openers = find_openers(planted_pair)
    i_am = TOKENIZER.convert_tokens_to_ids("▁I'm")
    sorry = next(n.ids[0] for n in openers.nodes if n.token == i_am)
    happy = TOKENIZER.convert_tokens_to_ids("▁proceed")
    assert happy not in (TOKENIZER.unk_token_id, sorry)
    where = next(i for i, n in enumerate(openers.nodes) if n.token == i_am)
    logits = torch.full((2, 1 + len(openers.nodes), openers.vocabulary), -4.0)
    logits[:, 0, i_am] = 8.0
    logits[0, 1 + where, sorry], logits[1, 1 + where, happy] = 8.0, 8.0
    refuses, complies = log_odds_of(logits, openers).tolist()
    first = log_odds_of(logits[:, 0], replace(openers, ids=(*openers.ids, i_am), nodes=()))
    assert refuses > 5 and complies < -5, "the same first token, other phrases"
    assert first[0] == first[1] and first[1] > 5, "what stood there: both refuse"


@pytest.mark.parametrize("model_type", BASE)
def test_branches_behind_a_prompt_are_separate_passes_in_every_family(model_type):
    models = planted_models(model_type)
    pair = models.pair()
    openers = find_openers(pair)
    assert openers.nodes
    deeper = Node(0, 9, (10, 11), ("", ""))  # a beginning of two tokens too
    openers = replace(openers, nodes=(*openers.nodes, deeper))
    ids = [(7, 9, 11), (5, 8, 13, 21, 34, 6, 10, 12, 9)]
    found = refusal_log_odds(pair, ids, openers=openers)
    plain = planted_models(model_type).student
    assert found[0] == pytest.approx([by_hand(plain, i, openers) for i in ids], abs=2e-3)


def test_a_sliding_window_is_kept_for_what_is_read_behind_a_prompt():
    config = MistralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=6, head_dim=8,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    nodes = (Node(-1, 5, (1,), ("",)), Node(0, 6, (2,), ("",)), Node(-1, 7, (3,), ("",)))
    prompt = tuple(range(10, 24))
    inputs, keep = branched(model, padded([prompt, prompt[:9]], torch.device("cpu")), nodes)
    with torch.no_grad():
        found = model(**inputs, use_cache=False, logits_to_keep=keep).logits
        for row, read in enumerate((prompt, prompt[:9])):
            for i, before in enumerate(((), (5,), (5, 6), (7,))):
                wanted = model(torch.tensor([[*read, *before]])).logits[0, -1]
                torch.testing.assert_close(found[row, i], wanted, atol=1e-4, rtol=1e-3)


def test_where_attention_fades_by_places_in_the_row_openers_of_one_token_count():
    """Falcon's smaller models have ALiBi, which no tree of beginnings can stand behind."""
    trio = random_trio("falcon", alibi=True, multi_query=False)
    openers = find_openers(trio.pair)
    assert openers.ids and not openers.nodes and find_openers(random_trio("falcon").pair).nodes
    ids = [(7, 9, 11), (5, 8, 13, 21, 34, 6, 10, 12, 9), (6,)]
    masks = [EMPTY, Mask.of([Unit(0, "up"), Unit(2, "mlp")])]
    wanted = [[by_hand(trio.materialised(m), i, openers) for i in ids] for m in masks]
    found = refusal_log_odds(trio.pair, ids, masks, openers=openers)
    read = LogOddsReader(trio.pair, ids, openers)(masks, range(len(ids)))
    assert found == pytest.approx(np.array(wanted), abs=1e-4)
    assert read == pytest.approx(np.array(wanted), abs=1e-4)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_beginnings_stand_at_the_contexts_last_place_where_it_ends(model_type):
    """Learned positions have no row beyond it, and none is asked for."""
    pair = random_trio(model_type).pair
    openers = find_openers(pair)
    deeper = Node(0, 9, (10, 11), ("", ""))
    openers = replace(openers, nodes=(*openers.nodes, deeper))
    ids = [tuple(range(4, 4 + pair.context_length - 1)), (7, 9, 11)]
    found = refusal_log_odds(pair, ids, openers=openers)[0]
    assert np.isfinite(found).all()
    assert found[1] == pytest.approx(refusal_log_odds(pair, ids[1:], openers=openers)[0, 0])
    read = LogOddsReader(pair, ids, openers)([EMPTY], [0, 1])
    assert read[0] == pytest.approx(found, abs=1e-4)
