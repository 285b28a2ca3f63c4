"""Localize from the command line, on planted folders: JSON, HTML and CSV as promised."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest

from dapa.cli import main
from dapa.planted.pairs import harmful_prompts, harmless_prompts


@pytest.fixture(scope="module")
def files(planted_folders, tmp_path_factory):
    """The planted pair's options, and prompt files in its own words."""
    folder = tmp_path_factory.mktemp("localize")
    bad, good = harmful_prompts(24), harmless_prompts(24)
    (folder / "plain.txt").write_text("\n".join(bad))
    (folder / "harmless.txt").write_text("\n".join(good))
    rows = [("prompt", "twin"), *zip(bad, good, strict=True)]
    with (folder / "twins.csv").open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
    student, teacher = map(str, planted_folders)
    return {
        "pair": ["--student", student, "--teacher", teacher],
        "twins": ["--prompts", str(folder / "twins.csv")],
        "plain": ["--prompts", str(folder / "plain.txt")],
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


def three(dapa, tmp_path, *arguments):
    """The command's JSON, its HTML and its CSV rows; each with the same provenance."""
    code, out, _ = dapa(*arguments, "--json", "-", "--html", "a.html", "--csv", "a.csv")
    assert code == 0
    body = json.loads(out)
    page, text = (tmp_path / "a.html").read_text(), (tmp_path / "a.csv").read_text()
    first, *rest = text.splitlines()
    assert "plotly.js v" in page and '<p id="provenance">' in page
    assert body["provenance"] == first[2:]
    return body, page, list(csv.DictReader(rest))


def test_weights_tell_every_tensor(dapa, files, tmp_path):
    body, page, rows = three(dapa, tmp_path, "weights", *files["pair"])
    changed = [t["tensor"] for t in body["tensors"] if t["relative"]]
    assert changed == [f"model.layers.{i}.mlp.gate_proj.weight" for i in range(4)]
    assert page.count("<figcaption>") == 3
    assert [r["tensor"] for r in rows if float(r["relative_frobenius"])] == changed
    code, out, _ = dapa("weights", *files["pair"])
    assert code == 0 and "effective rank" in out and "tensors are equal" in out


def test_gap_tells_each_part_and_each_template(dapa, files, tmp_path):
    options = [*files["pair"], *files["plain"], "--prompt-limit", "6", "--system", "please"]
    body, page, rows = three(dapa, tmp_path, "gap", *options)
    parts = {row["part"]: row for row in body["rows"]}
    whole = body["whole"]["value"]
    assert whole > 5 and parts["gate"]["alone"]["value"] == pytest.approx(whole, abs=1e-3)
    assert not parts["attention"]["differs"] and len(body["templates"]) == 4
    assert "6 prompts" in body["provenance"] and "plain · seed 0" in body["provenance"]
    gates = [row for row in rows if row["what"] == "gates" and row["case"] == "alone"]
    assert float(gates[0]["value"]) == pytest.approx(whole, abs=1e-3)
    assert page.count("<figcaption>") == 2
    code, out, _ = dapa("gap", *options)
    assert code == 0 and "The gates alone bring" in out


def test_trace_points_at_the_planted_layers_and_counts_what_it_skipped(dapa, files, tmp_path):
    options = [*files["pair"], *files["twins"], "--prompt-limit", "4"]
    body, page, rows = three(dapa, tmp_path, "trace", *options)
    last = body["groups"].index("last")
    mlp = [layer[last] for layer in body["values"][body["kinds"].index("mlp")]]
    assert sorted(range(4), key=lambda i: -mlp[i])[:2] in ([1, 2], [2, 1])
    assert (body["n"], body["skipped"]) == (4, 0) and page.count("<figcaption>") == 2
    picked = {(r["module"], r["layer"], r["tokens"]): r["value"] for r in rows}
    assert float(picked["mlp", "1", "last"]) == pytest.approx(mlp[1])
    found = dapa("trace", *files["pair"], *files["plain"], *files["harmless"], "--json", "-")
    assert found[0] == 0 and json.loads(found[1])["n"] > 0
    code, out, err = dapa("trace", *files["pair"], *files["plain"])
    assert (code, out) == (2, "") and "twin" in err and err.count("\n") == 1
    noisy = ["--corruption", "noise", "--draws", "1", "--prompt-limit", "2"]
    code, out, _ = dapa("trace", *files["pair"], *files["plain"], *noisy)
    assert code == 0 and "Gaussian noise, sd" in out


def test_trace_along_one_prompt_is_told_token_by_token(dapa, files, tmp_path):
    options = [*files["pair"], "--prompt", "use malware", "--twin", "use software"]
    body, page, rows = three(dapa, tmp_path, "trace", *options)
    assert body["tokens"][2] == " malware → software" and len(rows) == 2 * 4 * 4
    code, out, _ = dapa("trace", *options)
    assert code == 0 and "refusal log-odds to bring back" in out


def test_patching_moves_refusal_at_the_planted_layers(dapa, files, tmp_path):
    options = [*files["pair"], *files["plain"], "--prompt-limit", "4", "--sites", "mlp,residual"]
    body, page, rows = three(dapa, tmp_path, "patching", *options)
    assert body["sites"] == ["residual", "mlp"]
    mlp = [line[1] for line in body["values"]]
    assert sorted(range(4), key=lambda i: -mlp[i])[:2] in ([1, 2], [2, 1])
    assert body["values"][3][0] == pytest.approx(body["whole"]["value"], abs=0.01)
    assert len(rows) == 8 and "plain · seed 0" in body["provenance"]
    code, out, _ = dapa("patching", *options, "--into", "teacher")
    assert code == 0 and "student's activations in the teacher" in out


KEYS = [
    *("layer", "divergence", "weights", "single", "left_out", "trace", "patching", "gradient"),
    "in_search",
]


def test_summary_is_a_row_per_layer_with_what_a_search_found(dapa, files, tmp_path):
    options = [*files["pair"], *files["twins"], "--prompt-limit", "4"]
    searched = ["search", *files["pair"], *files["plain"], "--max-new-tokens", "12"]
    assert dapa(*searched, "--json", "-")[0] == 0
    body, page, rows = three(dapa, tmp_path, "summary", *options)
    assert [list(row) for row in body["rows"]] == [KEYS] * 4
    assert [row["in_search"] for row in body["rows"]] == [False, True, True, False]
    for column in ("left_out", "patching", "gradient", "trace"):
        values = [row[column] for row in body["rows"]]
        assert min(values[1:3]) > max(values[0], values[3]), column
    assert page.count("<figcaption>") == 2 and [r["in_search"] for r in rows][1] == "true"
    code, out, err = dapa("summary", *options)
    assert code == 0 and err == "" and "rank correlation" in out


def test_a_summary_without_twins_or_a_run_says_so_and_goes_on(dapa, files):
    options = [*files["pair"], *files["plain"], "--prompt-limit", "2"]
    code, out, err = dapa("summary", *options, "--json", "-")
    body = json.loads(out)
    assert code == 0 and {row["trace"] for row in body["rows"]} == {None}
    assert {row["in_search"] for row in body["rows"]} == {None}
    assert "Left out, causal trace of the MLP: " in err and "in_search" not in err
    assert "Left out, found by the search: no search of this pair" in err
    assert "dapa search" not in err and err.count("\n") == 2
    code, out, err = dapa("summary", *options, "--sites", "up")
    assert (code, out) == (2, "") and "up" in err


def test_what_if_tells_the_refusal_after_each_flip(dapa, files, tmp_path):
    options = [*files["pair"], "--prompt", "use malware", "--layers", "1"]
    body, page, rows = three(dapa, tmp_path, "whatif", *options)
    assert [cell["unit"] for cell in body["cells"] if cell["refusal"] > 0.5] == ["2.gate"]
    assert [row["added"] for row in rows] == ["true", "false", "true", "true"]
    code, out, _ = dapa("whatif", *options)
    assert code == 0 and "taken out" in out
    assert dapa("whatif", *files["pair"], "--prompt", " ")[0] == 2


def test_directions_place_three_models_by_layer(dapa, files, tmp_path):
    options = [*files["pair"], *files["twins"], "--layers", "1,2", "--prompt-limit", "8"]
    body, page, rows = three(dapa, tmp_path, "directions", *options)
    assert set(body["panes"]) == {"student", "patched", "teacher"} and len(rows) == 12
    assert body["panes"]["teacher"]["auc"][3]["value"] == 1.0 and body["n"] == [4, 4]
    assert page.count("<figcaption>") == 3 and "mask 1.gate,2.gate" in body["provenance"]
    body, _, rows = three(dapa, tmp_path, "directions", *options, "--projection")
    assert len(body["projection"]["prompts"]) == 16 and set(rows[0]) >= {"x", "y", "prompt"}
    plain = [*files["pair"], *files["plain"], *files["harmless"], "--prompt-limit", "6"]
    code, out, _ = dapa("directions", *plain)
    assert code == 0 and "mask 0.gate,1.gate,2.gate,3.gate" in out  # all of them, for want of a run


def test_divergence_is_exported_with_what_can_be_told_from_zero(dapa, files, tmp_path):
    options = [*files["pair"], *files["twins"], "--metric", "l2", "--sites", "gate,neurons,up"]
    body, page, rows = three(dapa, tmp_path, "divergence", *options, "--contrast")
    assert body["sites"] == ["gate", "up", "neurons"] and "their 12 twins" in body["provenance"]
    assert [row[:2] for row in body["significant"]] == [[True, False]] * 4
    assert page.count("<figcaption>") == 2 and len(rows) == 12
    assert {row["significant"] for row in rows if row["site"] == "gate"} == {"true"}
    body, page, rows = three(dapa, tmp_path, "divergence", *options, "--by-prompt", "gate")
    assert len(body["prompts"]) == 12 and len(rows) == 12 * 4 and page.count("<figcaption>") == 2
    assert dapa("divergence", *options, "--by-prompt", "mlp")[0] == 2
    code, out, _ = dapa("divergence", *options, "--contrast")
    assert code == 0 and "*: told from zero" in out


def test_divergence_along_one_prompt_is_exported_token_by_token(dapa, files, tmp_path):
    options = [*files["pair"], "--prompt", "use malware", "--sites", "gate,up"]
    body, page, rows = three(dapa, tmp_path, "divergence", *options)
    assert body["sinks"] == [0] and len(rows) == 4 * 2 * 4 and page.count("<figcaption>") == 2
    assert rows[0]["token"] == "<user>" and rows[0]["sink"] == "true"


def test_sinks_are_left_out_unless_they_are_asked_for(dapa, files):
    options = [*files["pair"], *files["plain"], "--prompt-limit", "4", "--position", "all"]
    bodies = [
        json.loads(dapa("divergence", *options, *more, "--json", "-")[1])
        for more in ([], ["--sinks"])
    ]
    assert "4 sinks of" in bodies[0]["provenance"] and "sinks" not in bodies[1]["provenance"]
    assert bodies[0]["values"] != bodies[1]["values"]


@pytest.mark.parametrize(
    "command", ["weights", "gap", "divergence", "trace", "patching", "summary"]
)
@pytest.mark.parametrize("seed", ["-1", str(2**70)])
def test_a_seed_out_of_range_is_one_line(dapa, files, command, seed):
    options = [] if command == "weights" else files["twins"]
    code, out, err = dapa(command, *files["pair"], *options, "--seed", seed)
    assert (code, out) == (2, "") and f"seed is {seed}" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["trace", "--window", "9"], "9"),
        (["trace", "--noise", "nan", "--corruption", "noise"], "nan"),
        (["trace", "--modules", "gate"], "gate"),
        (["patching", "--sites", "knee"], "knee"),
        (["patching", "--into", "both"], "both"),
        (["directions", "--prompt-limit", "2"], "too few"),
        (["directions", "--layers", "x"], "x"),
        (["summary", "--prompt-limit", "0"], "0"),
        (["divergence", "--by-prompt", "knee"], "knee"),
        (["divergence", "--html", "-"], "--html"),
        (["gap", "--csv", "no/such/x.csv"], "x.csv"),
    ],
)
def test_a_mistake_is_one_line(dapa, files, arguments, word):
    command, *rest = arguments
    code, out, err = dapa(command, *files["pair"], *files["twins"], *rest)
    assert (code, out) == (2, "") and word in err and err.count("\n") == 1, err


def test_weights_without_ranks_are_quick(dapa, files, tmp_path):
    body, page, rows = three(dapa, tmp_path, "weights", *files["pair"], "--no-rank")
    assert {t["effective_rank"] for t in body["tensors"]} == {None}
    assert page.count("<figcaption>") == 2 and any(float(r["relative_frobenius"]) for r in rows)


def test_gradients_and_interactions_are_exported_too(dapa, files, tmp_path):
    options = [*files["pair"], *files["plain"], "--prompt-limit", "3"]
    body, page, rows = three(dapa, tmp_path, "gradients", *options)
    assert len(rows) == len(body["rows"]) == 4 and page.count("<figcaption>") == 1
    body, page, rows = three(dapa, tmp_path, "interaction", *options)
    together = {(row["first"], row["second"]): float(row["value"]) for row in rows}
    assert len(together) == 6 and max(together, key=together.get) == ("1.gate", "2.gate")


def test_interrupting_a_sweep_keeps_what_it_has(tmp_path):
    arguments = ["patching", "--pair", "toy-gate", "--prompt-limit", "64", "--json", "-"]
    job = subprocess.Popen(
        [sys.executable, "-c", TELLING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
    )
    for line in job.stderr:
        if line == "measured\n":
            break
    else:
        pytest.fail("it ended before a prompt was measured")
    job.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=120)
    body = json.loads(out)
    assert job.returncode == 130 and 0 < body["n"] < 64, err
    assert f"{body['n']} prompts of 64" in body["provenance"]


TELLING = """
import sys
import dapa.localize.causes.patching as patching
record = patching.record
def told(*arguments):
    print("measured", file=sys.stderr, flush=True)
    return record(*arguments)
patching.record = told
from dapa.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["gap", "flips"])
def test_harmless_prompts_are_subtracted_on_demand_and_openers_shown(files, dapa, command):
    options = [*files["pair"], *files["plain"], "--prompt-limit", "4"]
    code, out, _ = dapa(command, *options)
    assert code == 0 and "harmless ones not subtracted" in " ".join(out.split())
    assert "Counted as the opening of a refusal" in " ".join(out.split()) and "I'm sorry" in out
    code, out, _ = dapa(command, *options, *files["harmless"], "--contrast", "--json", "-")
    body = json.loads(out)
    told = body if command == "gap" else body["alone"]
    assert code == 0 and told["harmless"] == 4 and told["openers"]
