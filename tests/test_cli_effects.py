"""`gradients` and `interaction`, run as a user runs them, on planted folders."""

import json

import pytest

from dapa.cli import main
from dapa.planted.pairs import harmful_prompts

NEEDED = {"1.gate", "2.gate"}


@pytest.fixture(scope="module")
def asked(planted_folders, tmp_path_factory):
    prompts = tmp_path_factory.mktemp("effects") / "harmful.txt"
    prompts.write_text("\n".join(harmful_prompts(12)))
    student, teacher = map(str, planted_folders)
    return ["--student", student, "--teacher", teacher, "--prompts", str(prompts)]


def run(capsys, *arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert ended.value.code == code, said.err
    return said.out if code == 0 else said.err


def test_gradients_share_the_whole_effect_out(asked, capsys):
    body = json.loads(run(capsys, "gradients", *asked, "--neurons", "2", "--json", "-"))
    rows = sorted(body["rows"], key=lambda row: -row["value"])
    assert {row["unit"] for row in rows[:2]} == NEEDED
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert abs(body["total"] - body["whole"]["value"]) < 0.05 * abs(body["whole"]["value"])
    assert body["error"] < 0.05 and abs(body["residual"]["value"]) < 1
    assert body["agreement"]["left_out"]["rho"] > 0 and len(rows[0]["neurons"]) == 2
    told = run(capsys, "gradients", *asked, "--sites", "gate, gate", "--no-check")
    assert "the shares miss the whole by" in told and "3.gate" in told and "flips" not in told


def test_interaction_is_above_zero_between_the_needed_layers(asked, capsys):
    body = json.loads(run(capsys, "interaction", *asked, "--json", "-"))
    values = {frozenset(row["units"]): row for row in body["rows"]}
    best = max(values, key=lambda units: values[units]["value"])
    assert best == NEEDED and values[best]["low"] > 0
    assert "leaves out 0" in run(capsys, "interaction", *asked, "--layers", "1-2")


def test_mistakes_are_one_line(asked, capsys):
    assert "does not exist" in run(capsys, "interaction", *asked, "--layers", "99", code=2)
    assert "not a kind" in run(capsys, "gradients", *asked, "--sites", "nothing", code=2)
