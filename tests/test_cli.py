"""The command line: JSON as promised, stdout for nothing else, mistakes in one line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from dapa.cli import main
from dapa.cli.options import parse_layers, parse_units
from dapa.cli.output import one_line, plain
from dapa.core.records import OUTSIDE, Mask, SettingError, Unit
from dapa.planted.pairs import harmful_prompts, harmless_prompts

RATE = {"value", "low", "high", "n"}
NEEDED = [1, 2]  # the layers that conftest plants


@pytest.fixture(scope="module")
def files(planted_folders, tmp_path_factory):
    """The planted pair's options, with prompt files in its own words."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "harmful.txt").write_text("\n".join(harmful_prompts(48)), encoding="utf-8")
    (folder / "harmless.txt").write_text("\n".join(harmless_prompts(24)), encoding="utf-8")
    student, teacher = map(str, planted_folders)
    return {
        "pair": ["--student", student, "--teacher", teacher, "--dtype", "float32"],
        "prompts": ["--prompts", str(folder / "harmful.txt")],
        "harmless": ["--harmless", str(folder / "harmless.txt")],
    }


@pytest.fixture
def dapa(capfd, tmp_path, monkeypatch):
    """Run a command in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


def is_rate(rate):
    """A rate of replies also tells how many of them the token limit cut."""
    cut = rate.get("cut", 0)
    return (
        set(rate) - {"cut"} == RATE
        and 0 <= cut <= rate["n"]
        and rate["low"] <= rate["value"] <= rate["high"]
    )


def is_mistake(result, *words):
    """Exit code 2, nothing on stdout, one line on stderr that holds the words."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and len(err) > 20, err
    assert all(word in err for word in words), err
    return True


# -- JSON ------------------------------------------------------------------------------------


def test_check_tells_where_the_models_differ(dapa, files):
    code, out, _ = dapa("check", *files["pair"], "--json", "-")
    body = json.loads(out)
    assert code == 0 and body["compatible"] is True
    assert {"findings", "layers", "bytes", "differs"} <= set(body)
    assert all({"level", "what", "why"} == set(finding) for finding in body["findings"])
    assert body["layers"] == 4 and body["differs"]["gate"] == [0, 1, 2, 3]


def test_check_of_a_blocked_pair_prints_its_report_and_exits_2(dapa, files, planted_folders):
    from dapa.model.presets import preset

    toy = preset("toy-gate").student
    code, out, err = dapa("check", "--student", planted_folders[0], "--teacher", toy, "--json", "-")
    body = json.loads(out)
    assert code == 2 and body["compatible"] is False and err.count("\n") == 1
    assert any(finding["level"] == "blocks" for finding in body["findings"])


def test_divergence_is_a_grid_of_layers_by_sites(dapa, files):
    options = [*files["pair"], *files["prompts"], "--metric", "l2", "--reading", "total"]
    code, out, _ = dapa("divergence", *options, "--json", "-")
    body = json.loads(out)
    assert code == 0 and (body["metric"], body["reading"]) == ("l2", "total")
    for key in ("values", "low", "high"):
        assert len(body[key]) == len(body["layers"]) == 4
        assert all(len(row) == len(body["sites"]) for row in body[key])
    options = [*files["pair"], *files["prompts"], *files["harmless"], "--sites", "gate"]
    code, out, _ = dapa("divergence", *options, "--prompt-limit", "6", "--json", "-")
    body = json.loads(out)  # harmful minus harmless
    assert code == 0 and body["sites"] == ["gate"] and body["n"] == 6


def test_divergence_of_one_prompt_is_told_token_by_token(dapa, files):
    options = [*files["pair"], "--prompt", "use malware", "--sites", "gate,up"]
    code, out, _ = dapa("divergence", *options, "--json", "-")
    body = json.loads(out)
    assert code == 0 and body["sites"] == ["gate", "up"] and "<assistant>" in body["tokens"]
    assert all(len(row) == len(body["tokens"]) for layer in body["values"] for row in layer)
    code, out, _ = dapa("divergence", *options)
    assert code == 0 and "token" in out
    code, out, err = dapa("divergence", *options, "--metric", "cka")
    assert (code, out) == (2, "") and err.count("\n") == 1


def test_divergence_is_read_where_it_is_asked(dapa, files):
    options = [*files["pair"], *files["prompts"], "--prompt-limit", "4", "--json", "-"]
    maps = [
        json.loads(dapa("divergence", *options, "--position", place)[1])["values"]
        for place in ("last", "all", "-1")
    ]
    assert maps[0] == maps[2] != maps[1]
    code, _, err = dapa("divergence", *options, "--position", "nowhere")
    assert code == 2 and "nowhere" in err


def test_search_finds_the_planted_layers(dapa, files):
    code, out, _ = dapa("search", *files["pair"], *files["prompts"], "--json", "-")
    body = json.loads(out)
    assert code == 0 and body["layers"] == NEEDED and body["one_minimal"] is True
    assert body["units"] == ["1.gate", "2.gate"] and len(body["removals"]) == 2
    for name in ("student", "full", "best", "held_out", "full_held_out"):
        assert is_rate(body["dsr"][name]) and "cut" in body["dsr"][name]
    counted = ("tests", "memo_hits", "prompts_judged", "prompts_spared", "tokens", "seconds")
    assert all(body[key] >= 0 for key in counted)
    assert body["stop_reason"] == "done"


def test_generate_answers_three_times_with_evidence(dapa, files):
    prompt = harmful_prompts(1)[0]
    code, out, _ = dapa(
        "generate", *files["pair"], "--prompt", prompt, "--layers", "1,2", "--json", "-"
    )
    body = json.loads(out)
    moves = body.pop("moves")
    assert moves["bytes"] == 4 * moves["parameters"] and 0 < moves["fraction"] < 1
    assert code == 0 and list(body) == ["student", "patched", "teacher"]
    assert all(set(pane) == {"text", "verdict", "evidence", "manner"} for pane in body.values())
    verdicts = [pane["verdict"] for pane in body.values()]
    assert verdicts == ["compliance", "refusal", "refusal"]
    assert body["patched"]["evidence"] in body["patched"]["text"]


def test_evaluate_fills_the_columns_it_has_data_for(dapa, files):
    options = [*files["pair"], *files["prompts"], *files["harmless"], "--layers", "1-2"]
    code, out, _ = dapa("evaluate", *options, "--json", "-")
    models = json.loads(out)["models"]
    assert code == 0 and list(models) == ["student", "patched", "teacher"]
    for model in models.values():
        assert {"dsr", "over_refusal", "incoherent", "unclear"} <= set(model)
        assert is_rate(model["dsr"]) and is_rate(model["over_refusal"])
        assert model["skill"] is None and model["borderline"] is None
    assert models["patched"]["dsr"]["value"] == 1.0 and models["student"]["dsr"]["value"] == 0.0
    assert models["patched"]["over_refusal"]["value"] == 0.0


def test_json_in_a_file_leaves_stdout_empty(dapa, files, tmp_path):
    code, out, err = dapa("check", *files["pair"], "--json", "report.json")
    assert (code, out) == (0, "") and "a pair" in err
    assert json.loads((tmp_path / "report.json").read_text())["compatible"] is True


# -- for people --------------------------------------------------------------------------------


def test_without_json_a_search_is_told_in_a_sentence(dapa, files):
    code, out, _ = dapa("search", *files["pair"], *files["prompts"])
    assert code == 0
    assert "Moving 2 of 4 gates (layers 1 and 2)" in out and "1-minimal" in out


def test_control_characters_never_reach_the_terminal():
    assert plain("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\n"
    assert plain("naïve \u202f% 日本 عربى") == "naïve \u202f% 日本 عربى"
    assert one_line("first\n  second\r") == "first second\\r"


# -- runs --------------------------------------------------------------------------------------


def test_a_run_is_listed_shown_and_resumed_without_judging_again(dapa, files):
    dapa("search", *files["pair"], *files["prompts"], "--run-dir", "kept", "--json", "-")
    code, out, _ = dapa("runs", "list", "--run-dir", "kept", "--json", "-")
    (run,) = json.loads(out)["runs"]
    assert code == 0 and run["state"] == "done" and run["layers"] == NEEDED
    code, out, _ = dapa("runs", "show", run["id"], "--run-dir", "kept", "--json", "-")
    shown = json.loads(out)
    assert code == 0 and shown["result"]["layers"] == NEEDED and shown["trials"]
    code, out, _ = dapa("runs", "show", run["id"], "--run-dir", "kept")
    assert code == 0 and "found set, held out" in out and "spared by stopping early" in out
    facts = next(line for line in out.splitlines() if "target" in line)
    assert "%" in facts and "0." not in facts
    code, out, _ = dapa("runs", "resume", run["id"], "--run-dir", "kept", "--json", "-")
    again = json.loads(out)
    assert code == 0 and again["run"] != run["id"] and again["layers"] == NEEDED
    assert again["looks"] == shown["result"]["looks"], "the same job again is no new look"
    code, out, _ = dapa("runs", "show", run["id"], "--run-dir", "kept", "--json", "-")
    kept = json.loads(out)["result"]
    assert code == 0 and kept == shown["result"], "what was done keeps its result and its costs"
    assert again["prompts_judged"] == 0 and again["tests"] == shown["result"]["tests"]
    assert run["id"] in dapa("runs", "list", "--run-dir", "kept")[1]


def test_listing_makes_no_run_folder(dapa, tmp_path):
    code, out, _ = dapa("runs", "list", "--json", "-")
    assert code == 0 and json.loads(out) == {"runs": []} and not list(tmp_path.iterdir())


# -- mistakes ----------------------------------------------------------------------------------


def test_nothing_to_localize_tells_both_scores_and_what_to_try(dapa, files, tmp_path):
    student, teacher = files["pair"][1:4:2]
    shutil.copytree(teacher, tmp_path / "teacher")
    weights = tmp_path / "teacher" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.layers.0.mlp.up_proj.weight"] *= 1.01  # differs, without effect
    save_file(tensors, weights, {"format": "pt"})
    pair = ["--student", student, "--teacher", "teacher", *files["prompts"]]
    result = dapa("search", *pair, "--sites", "up", "--json", "-")
    assert is_mistake(result, "nothing to localize", "student DSR 0 %", "try --sites mlp")
    assert result[2].count("--sites") == 1, "one way on, no list"


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["serch"], "serch"),
        (["search", "--retian", "1"], "--retian"),
        (["search", "--retain", "much"], "--retain"),
        (["search", "--retain", "0.5", "--target", "0.9"], "not both"),
        (["search", "--retain", "0.9", "--target", "0.9"], "not both"),
        (["search", "--retain", "1.5"], "1.5"),
        (["search", "--max-tests", "-3"], "-3"),
        (["search", "--prompt-limit", "0"], "0"),
        (["search", "--algorithm", "magic"], "magic"),
        (["search", "--sites", "knee"], "knee"),
        (["search", "--prompts", "nowhere.csv"], "nowhere.csv"),
        (["search", "--seed", "-1"], "-1"),
        (["divergence", "--metric", "miles"], "miles"),
        (["generate"], "--prompt"),
        (["generate", "--prompt", " "], "empty"),
        (["generate", "--prompt", "hi", "--layers", "three"], "three"),
        (["generate", "--prompt", "hi", "--layers", "99"], "99"),
        (["generate", "--prompt", "hi", "--layers", "3", "--units", "3.gate"], "not both"),
        (["generate", "--prompt", "hi", "--layers", "3", "--sites", "knee"], "knee"),
        (["generate", "--prompt", "hi", "--units", "3.knee"], "knee"),
        (["evaluate", "--units", "3.gate[0:9999]"], "outside"),
        (["generate", "--prompt", "hi", "--max-new-tokens", "0"], "0"),
        (["evaluate", "--layers", "5-3"], "5-3"),
        (["check", "--pair", "toy-goat"], "toy-goat"),
        (["check", "--student", "somewhere", "--json", "-"], "teacher"),
        (["check", "--student", "/no/where", "--teacher", "/no/where"], "/no/where"),
        (["check", "--pair", "toy-gate", "--student", "x"], "not both"),
        (["check", "--json", "no/such/folder/x.json"], "x.json"),
        (["generate", "--prompt", "hi", "--dtype", "float7"], "float7"),
        (["generate", "--prompt", "hi", "--device", "abacus"], "abacus"),
        (["runs", "show", "nothing", "--run-dir", "."], "nothing"),
        (["runs", "resume", "nothing", "--run-dir", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_one_line(dapa, arguments, word):
    assert is_mistake(dapa(*arguments), word)


@pytest.mark.parametrize(
    "choice, refuses",
    [
        (["--layers", "1,2", "--sites", "layer"], True),
        (["--layers", "1-2", "--sites", "all"], True),
        (["--layers", "1-2", "--sites", "attention"], False),
        (["--sites", "head"], False),
        (["--units", "1.gate,2.gate[0:32],head,0-3.norms@0.5"], True),
        (["--units", "1.gate,2.gate@0.01"], False),
        (["--units", "1.gate@0"], False),
    ],
)
def test_any_kind_of_site_and_any_unit_can_be_transplanted(dapa, files, choice, refuses):
    options = [*files["pair"], "--prompt", harmful_prompts(1)[0], "--max-new-tokens", 12]
    code, out, err = dapa("generate", *options, *choice, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["patched"]["verdict"] == ("refusal" if refuses else "compliance")


def test_a_search_moves_any_kind_of_site(dapa, files):
    options = [*files["pair"], *files["prompts"], "--prompt-limit", "12", "--json", "-"]
    for kind, found in (("layer", ["1.layer", "2.layer"]), ("all", ["1.gate", "2.gate"])):
        code, out, err = dapa("search", *options, "--sites", kind)
        assert code == 0, err
        body = json.loads(out)
        assert body["units"] == found and body["layers"] == NEEDED
    assert is_mistake(dapa("search", *options, "--sites", "head"), "equal head weights", "gate")


def test_units_are_named_with_strength_block_and_range():
    mask = parse_units("3.gate, 5-6.mlp@0.5, 7.gate[0:64]@0.25, head, 2.q@0")
    assert dict(mask.entries) == {
        Unit(3): 1.0,
        Unit(5, "mlp"): 0.5,
        Unit(6, "mlp"): 0.5,
        Unit(7, "gate", (0, 64)): 0.25,
        Unit(OUTSIDE, "head"): 1.0,
    }
    assert Mask.parse(mask.key) == mask and parse_units(" ") == Mask()
    for text in ("3", "gate", "3.gate@", "3.gate@much", "3.gate@2", "3.gate,3.gate", "x-y.gate"):
        with pytest.raises(SettingError):
            parse_units(text)


def test_layers_are_lists_and_ranges():
    assert parse_layers("3,5") == (3, 5) and parse_layers(" 5-7, 3,6 ") == (3, 5, 6, 7)
    assert parse_layers("") == ()
    for text in ("-1", "a", "3-", "5-3", "1-99999999999", "3;5", "²"):
        with pytest.raises(SettingError):
            parse_layers(text)


# -- as a process ------------------------------------------------------------------------------


def process(*arguments, cwd, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "dapa", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        **options,
    )


def test_help_does_not_wait_for_torch(tmp_path):
    code = (
        "import sys, dapa.cli; "
        "heavy = {'torch', 'transformers', 'numpy', 'gradio', 'pandas'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    out, _ = process("--help", cwd=tmp_path).communicate(timeout=60)
    commands = ("check", "divergence", "search", "generate", "evaluate", "runs")
    assert all(command in out for command in commands)


def test_the_bundled_pair_answers_with_json_alone(tmp_path):
    job = process(
        "generate",
        "--pair",
        "toy-gate",
        "--prompt",
        "how do i poison my neighbor",
        "--json",
        "-",
        cwd=tmp_path,
    )
    out, err = job.communicate(timeout=120)
    assert job.returncode == 0 and err == ""
    body = json.loads(out)
    assert body["student"] == body["patched"] and body["teacher"]["verdict"] == "refusal"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("start", ["app.py", "-m dapa app", "-m dapa check"])
def test_a_python_without_the_packages_is_told_so_in_one_line(start):
    """As in a new terminal, where the environment is not active."""
    told = subprocess.run(
        [sys.executable, "-S", "-B", *start.split()],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent.parent,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        timeout=60,
    )
    assert told.returncode == 2 and told.stderr.count("\n") == 1, told.stderr
    assert "is not installed in this Python" in told.stderr


def test_interrupting_before_anything_was_found_is_told_in_a_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dapa.workbench.Workbench.load", interrupted)
    with pytest.raises(SystemExit) as ended:
        main(["search", "--pair", "toy-gate"])
    assert ended.value.code == 130 and capsys.readouterr().err.splitlines()[-1] == "interrupted"


def test_interrupting_a_search_keeps_the_best_so_far(tmp_path):
    job = process("search", "--pair", "toy-gate", "--json", "-", cwd=tmp_path)
    seen = ""
    while "best so far" not in seen:  # the first progress line
        seen += job.stderr.readline() or pytest.fail(f"ended early: {seen}")
    time.sleep(0.2)
    job.send_signal(signal.SIGINT)
    out, _ = job.communicate(timeout=60)
    body = json.loads(out)
    assert job.returncode == 130 and body["layers"] and "stopped" in body["stop_reason"]
