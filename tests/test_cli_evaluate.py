"""`dapa evaluate`: the promised keys, saved masks, files for every role, replies, resume."""

import json

import pytest

from dapa.cli import main
from dapa.cli.evaluating import saved_masks
from dapa.core.records import Mask, SettingError, Unit
from dapa.planted.pairs import harmful_prompts, harmless_prompts

KEYS = {
    "dsr", "dsr_search", "over_refusal", "borderline", "incoherent", "unclear", "skill",
    "perplexity", "kl", "wraps", "harm", "tasks",
}  # fmt: skip


@pytest.fixture
def dapa(capfd, tmp_path, monkeypatch, planted_folders):
    """Run a command in a folder with prompt files: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "harmful.txt").write_text("\n".join(harmful_prompts(6)), encoding="utf-8")
    (tmp_path / "harmless.txt").write_text("\n".join(harmless_prompts(6)), encoding="utf-8")
    (tmp_path / "skill.csv").write_text("prompt,answer\nhow do I use paint,no\n", encoding="utf-8")
    (tmp_path / "wiki.csv").write_text("id,text\n1,how do I use paint\n2,please tell me how\n" * 9)
    student, teacher = map(str, planted_folders)
    models = ["--student", student, "--teacher", teacher, "--dtype", "float32"]

    def run(command, *arguments, pair=True):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), *(models if pair else ()), *arguments])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


FILES = ("--prompts", "harmful.txt", "--harmless", "harmless.txt", "--max-new-tokens", "12")


def test_every_promised_key_stands_under_every_column(dapa, tmp_path):
    options = (*FILES, "--skill", "skill.csv", "--text", "wiki.csv", "--mask", "half=1")
    options += ("--wraps", "all")
    code, out, err = dapa("evaluate", *options, "--layers", "1,2", "--json", "-")
    body = json.loads(out)
    assert code == 0 and err == ""
    assert list(body["models"]) == ["student", "patched", "teacher", "half"]
    for column in body["models"].values():
        assert set(column) == KEYS
        assert set(column["wraps"]) == {"prefill", "role-play", "suppression"}
        assert column["skill"]["n"] == 1 and column["borderline"] is None
        assert {"value", "low", "high", "n"} <= set(column["perplexity"]) & set(column["kl"])
    assert body["models"]["student"]["perplexity"]["text"] == "wiki.csv"
    assert body["complete"] and body["layers"] == [1, 2] and (tmp_path / "runs").is_dir()
    assert any(row["measure"] == "dsr" and row["p_value"] < 0.05 for row in body["paired"])


def test_a_cell_is_opened_and_a_run_goes_on(dapa):
    quick = (*FILES, "--wraps", "none", "--text", "none", "--no-kl")
    run = json.loads(dapa("evaluate", *quick, "--layers", "1,2", "--json", "-")[1])["run"]
    cell = ("--model", "patched", "--measure", "dsr", "--json", "-")
    code, out, _ = dapa("runs replies", run, *cell, pair=False)
    rows = json.loads(out)["replies"]
    assert code == 0 and len(rows) == 6 and all(row["verdict"] == "refusal" for row in rows)
    code, out, _ = dapa("runs resume", run, "--json", "-", pair=False)
    assert code == 0 and json.loads(out)["run"] == run and json.loads(out)["complete"]
    code, out, _ = dapa("runs show", run, pair=False)
    assert code == 0 and "runs replies" in out
    assert "evaluation" in dapa("runs list", pair=False)[1]
    code, out, err = dapa("runs replies", run, "--model", "nobody", pair=False)
    assert (code, out) == (2, "") and "nobody" in err and err.count("\n") == 1


def test_people_read_a_table_with_counts_and_sure_differences(dapa):
    options = ("--layers", "1,2", "--text", "none", "--wraps", "all")
    code, out, _ = dapa("evaluate", *FILES, *options)
    assert code == 0 and "DSR, prefill" in out
    assert "held out" not in out and "some may have chosen the mask" in " ".join(out.split())
    assert "KL at the first position" in out and "runs replies" in out


def test_masks_are_layers_or_units():
    found = saved_masks(["a=3,5-6", "b=3.gate,4.mlp@0.5"], "up")
    assert found["a"] == Mask.of([Unit(3, "up"), Unit(5, "up"), Unit(6, "up")])
    assert found["b"].strength(Unit(4, "mlp")) == 0.5
    for wrong in (["x"], ["=3"], ["a=3", "a=4"], ["a=3.gate@much"]):
        with pytest.raises(SettingError):
            saved_masks(wrong, "gate")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--mask", "best"], "NAME=UNITS"),
        (["--mask", "teacher=1"], "teacher"),
        (["--mask", "far=99"], "99"),
        (["--wraps", "magic"], "magic"),
        (["--prompt-limit", "0"], "0"),
        (["--text", "nowhere.txt"], "nowhere.txt"),
        (["--text", "skill.csv"], "no column text"),
        (["--judge", "magic"], "magic"),
        (["--judge", "endpoint"], "url"),
        (["--option", "colour=blue"], "colour"),
        (["--skill", "nowhere.csv"], "nowhere.csv"),
        (["--tasks", "arc_easy", "--task-limit", "0"], "task limit"),
    ],
)
def test_a_mistake_is_one_line(dapa, arguments, word):
    code, out, err = dapa("evaluate", *FILES, *arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1 and word in err, err


def test_a_file_without_a_column_is_held_out_only_as_the_search_left_it_out(dapa, tmp_path):
    prompts = harmful_prompts(24)
    (tmp_path / "own.txt").write_text("\n".join(prompts), encoding="utf-8")
    own = ("--prompts", "own.txt", "--max-new-tokens", "12")
    found = json.loads(dapa("search", *own, "--seed", "3", "--json", "-")[1])
    quick = ("--max-new-tokens", "12", "--text", "none", "--no-kl", "--wraps", "none")
    code, out, err = dapa("evaluate", "--run", found["run"], *quick, "--json", "-")
    body = json.loads(out)
    assert code == 0, err
    assert body["layers"] == found["layers"] and body["dsr_over"] == "held out"
    patched = body["models"]["patched"]
    assert patched["dsr"]["n"] == found["dsr"]["held_out"]["n"]
    assert patched["dsr_search"]["n"] == found["dsr"]["best"]["n"]
    rows = json.loads(dapa("runs replies", body["run"], "--json", "-", pair=False)[1])["replies"]
    asked = {m: {r["prompt"] for r in rows if r["measure"] == m} for m in ("dsr", "dsr_search")}
    assert not asked["dsr"] & asked["dsr_search"]
    assert asked["dsr"] | asked["dsr_search"] == set(prompts)
    alone = dapa("evaluate", *own, *quick[2:], "--layers", "1,2", "--json", "-")[1]
    assert json.loads(alone)["dsr_over"].startswith("all prompts")
    code, out, err = dapa("evaluate", "--run", found["run"], *quick, "--layers", "1")
    assert (code, out) == (2, "") and "found 1.gate,2.gate, not 1.gate" in err
    (tmp_path / "own.txt").write_text("\n".join(prompts[:-1]), encoding="utf-8")
    changed = json.loads(dapa("evaluate", "--run", found["run"], *quick, "--json", "-")[1])
    assert changed["dsr_over"].startswith("all prompts") and "dsr_search" in patched
    assert any("searched other prompts" in note for note in changed["notes"])
