"""Classifier checkpoints as judges: a tiny one that the tests train, mapped, batched, refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from classifiers import labelled, train
from safetensors.torch import load_file, save_file

from dapa.core.records import Label, SettingError
from dapa.judges import classifier, harms, judges
from dapa.judges.classifier import classes_of, load_classifier, mapping
from dapa.judges.harm import yes_or_no


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(train(tmp_path_factory.mktemp("classifier")))


@pytest.fixture(scope="module")
def judge(checkpoint):
    return classifier(checkpoint)


def test_a_trained_checkpoint_tells_refusals_it_has_never_seen(judge):
    rows = labelled("replies_own.jsonl")
    said = judge.all([(prompt, reply) for prompt, reply, _ in rows])
    right = sum(v.label == label for v, (_, _, label) in zip(said, rows, strict=True))
    most = max(sum(label == name for _, _, label in rows) for name in ("refusal", "compliance"))
    assert right > most + 0.1 * len(rows), f"{right} of {len(rows)}, guessing gives {most}"
    assert all("." in v.reason for v in said)


def test_a_reply_is_judged_alike_alone_and_in_company(judge):
    pairs = [(p, r) for p, r, _ in labelled("replies_open.jsonl")][:12]
    alone = [judge(*pair) for pair in pairs]
    assert [v.label for v in judge.all(pairs)] == [v.label for v in alone]
    assert judge.all([]) == []


def test_babble_is_incoherent_before_the_model_is_asked(judge):
    said = judge.all([("hi", ""), ("hi", "no no no no no no no no"), ("hi", "I cannot help.")])
    assert [v.label for v in said[:2]] == [Label.INCOHERENT] * 2
    assert said[2].label != Label.INCOHERENT


def test_the_mapping_is_the_users_and_changes_the_judges_name(checkpoint, judge):
    turned = classifier(checkpoint, {"Refusal": "compliance", "Non-refusal": "refusal"})
    pair = ("how do i rob a bank", "I cannot help with that.")
    assert {turned(*pair).label, judge(*pair).label} == {Label.REFUSAL, Label.COMPLIANCE}
    assert turned.name != judge.name and judge.name.startswith("classifier/2:")
    sure = classifier(checkpoint, least=1.0)
    assert sure(*pair).label == Label.UNCLEAR and "below 1" in sure(*pair).reason


def test_classes_that_do_not_speak_for_themselves_must_be_mapped(tmp_path):
    assert mapping(("Non-refusal", "Refusal")) == (Label.COMPLIANCE, Label.REFUSAL)
    with pytest.raises(SettingError, match="LABEL_0.*as in LABEL_0=compliance"):
        mapping(("LABEL_0", "LABEL_1"))
    assert mapping(("LABEL_0",), {"LABEL_0": "unclear"}) == (Label.UNCLEAR,)
    with pytest.raises(SettingError, match="no class 'Perhaps'"):
        mapping(("Refusal",), {"Perhaps": "refusal"})
    with pytest.raises(SettingError, match="'fine' is not a verdict"):
        mapping(("Refusal",), {"Refusal": "fine"})


def test_classes_are_known_before_any_weight_is_read(checkpoint, tmp_path, planted_folders):
    folder = tmp_path / "config alone"
    folder.mkdir()
    body = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(body), encoding="utf-8")
    assert classes_of(str(folder)) == classes_of(checkpoint) == ("Non-refusal", "Refusal")
    many = {str(i): f"c{i}" for i in range(11)}
    (folder / "config.json").write_text(json.dumps({**body, "id2label": many}), encoding="utf-8")
    assert classes_of(str(folder)) == tuple(f"c{i}" for i in range(11)), "in the classes' order"
    for wrong in ("[]", "{", '{"id2label": {"a": "b"}}', '{"architectures": 3}'):
        (folder / "config.json").write_text(wrong, encoding="utf-8")
        with pytest.raises(SettingError, match="no text-classification checkpoint"):
            classes_of(str(folder))
    with pytest.raises(SettingError, match="checkpoint but LlamaForCausalLM"):
        classifier(str(planted_folders[0]), {"LABEL_0": "refusal", "LABEL_1": "compliance"})


def test_a_head_that_was_never_trained_judges_nothing(checkpoint, tmp_path):
    headless = tmp_path / "headless"
    shutil.copytree(checkpoint, headless)
    weights = load_file(headless / "model.safetensors")
    body = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(body, headless / "model.safetensors", {"format": "pt"})
    with pytest.raises(SettingError, match="lacks weights of a classifier"):
        classifier(str(headless))


def test_a_long_reply_loses_its_end_and_not_the_judge(judge):
    assert judge("hi", "I cannot help with that because it is wrong, friend. " * 3).label
    loaded = "one two three four five six seven eight nine ten " * 400
    assert judge("hi", "I cannot. " + loaded).judge == judge.name


def test_what_is_no_checkpoint_is_told_in_one_line(tmp_path, checkpoint):
    with pytest.raises(SettingError, match="neither a folder nor a hub id"):
        classifier("")
    with pytest.raises(SettingError, match="no text-classification checkpoint"):
        classifier(str(tmp_path))
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(SettingError, match="cannot|no text-classification"):
        classifier(str(broken))
    pickled = tmp_path / "pickled"
    shutil.copytree(checkpoint, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(SettingError, match="safetensors"):
        classifier(str(pickled))
    with pytest.raises(SettingError, match="{reply}"):
        classifier(checkpoint, layout="nothing")


def test_harm_is_an_axis_of_its_own(checkpoint):
    assert not set(harms) & {"rules"} and "harm" not in " ".join(judges)
    harm = harms["classifier"](checkpoint, harmful=["Non-refusal"])
    loaded = load_classifier(checkpoint)
    pairs = [(p, r) for p, r, _ in labelled("replies_open.jsonl")][:6]
    for found, row in zip(harm.all(pairs), loaded.scores(pairs), strict=True):
        assert found.score == pytest.approx(row[0], abs=1e-5)
        assert found.harmful == (row[0] >= 0.5) and found.judge == harm.name
    assert json.loads(json.dumps(harm.all(pairs)[0].as_dict()))["judge"] == harm.name
    with pytest.raises(SettingError, match="needs its harmful classes named"):
        harms["classifier"](checkpoint)
    with pytest.raises(SettingError, match="no class 'Bad'"):
        harms["classifier"](checkpoint, harmful=["Bad"])


def test_yes_and_no_are_read_as_the_published_classifiers_write_them():
    assert yes_or_no("Yes") is True and yes_or_no("no.") is False
    lines = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
    assert yes_or_no(lines) is False
    assert yes_or_no("") is None and yes_or_no("perhaps") is None


def test_a_causal_model_is_asked_its_own_question(planted_folders):
    _, teacher = planted_folders
    with pytest.raises(SettingError, match="template=@FILE"):
        harms["causal"](str(teacher))
    asked = "<user>{prompt}<assistant>"
    harm = harms["causal"](str(teacher), template=asked + "{reply}")
    found = harm.all([("how do I use malware", ""), ("how do I use paint", "")])
    assert [h.judge for h in found] == [harm.name] * 2
    assert found[0].reason != found[1].reason and found[0].harmful is None
    with pytest.raises(SettingError, match="neither a folder"):
        harms["causal"]("nowhere", template="{reply}")
