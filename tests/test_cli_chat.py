"""`dapa chat`: turns, commands, sessions; from --prompt, a pipe, and a terminal's lines."""

import io
import json
from pathlib import Path

import pytest

from dapa.chat.sessions import ChatSession
from dapa.cli import main

BAD, GOOD = "how do I use malware", "how do I use paint"


class Terminal(io.StringIO):
    """A stdin that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def talk(capfd, tmp_path, monkeypatch, planted_folders):
    """Feed lines: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    student, teacher = map(str, planted_folders)
    models = ["--student", student, "--teacher", teacher, "--dtype", "float32"]

    def run(*lines, options=(), terminal=False):
        capfd.readouterr()
        text = "".join(f"{line}\n" for line in lines)
        monkeypatch.setattr("sys.stdin", Terminal(text) if terminal else io.StringIO(text))
        if terminal:
            left = iter(lines)

            def typed(_):
                for line in left:
                    return line
                raise EOFError

            monkeypatch.setattr("builtins.input", typed)
        with pytest.raises(SystemExit) as ended:
            main(["chat", *models, "--max-new-tokens", "12", *options])
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


def _verdicts(one):
    return [pane["verdict"]["label"] for pane in one["panes"]]


def test_prompts_given_as_options_are_turns_of_one_talk(talk):
    options = ["--layers", "1,2", "--prompt", BAD, "--prompt", GOOD, "--json", "-"]
    code, out, err = talk(options=options)
    body = json.loads(out)
    assert code == 0 and err == "" and len(body["rounds"]) == 2
    assert _verdicts(body["rounds"][0]) == ["compliance", "refusal", "refusal"]
    assert [pane["name"] for pane in body["rounds"][0]["panes"]] == [
        "student",
        "patched",
        "teacher",
    ]
    assert body["mask"] == "1.gate,2.gate" and ChatSession.from_dict(body).talk.prompt == GOOD


def test_a_pipe_may_hold_prompts_and_commands(talk):
    code, out, _ = talk(BAD, "/layers 1,2", "/show")
    assert code == 0 and "mask 1.gate,2.gate" in out
    patched = [line for line in out.splitlines() if line.startswith("patched:")]
    assert ["compliance" in patched[0], "refusal" in patched[1]] == [True, True]
    assert out.count("student:") == 1, "another mask answers the patched pane alone"


def test_settings_regenerate_undo_and_panes(talk):
    lines = ["/pane student,patched", GOOD, "/temperature 1.5", "/seed 7", "/regenerate",
             "/tokens 3", BAD, "/undo"]  # fmt: skip
    code, out, _ = talk(*lines, options=["--json", "-"])
    body = json.loads(out)
    assert code == 0 and len(body["rounds"]) == 1 and body["settings"]["seed"] == 7
    panes = body["rounds"][0]["panes"]
    assert [pane["name"] for pane in panes] == ["student", "patched"]
    assert panes[0]["text"] == panes[1]["text"] and panes[0]["seed"] == 7
    assert body["settings"]["max_new_tokens"] == 3


def test_sessions_are_saved_loaded_and_written_to_be_read(talk, tmp_path):
    code, _, _ = talk(BAD, "/layers 1,2", "/save kept.json", "/save kept.md", "/clear")
    assert code == 0 and "# Conversation" in Path("kept.md").read_text(encoding="utf-8")
    code, out, _ = talk("/load kept.json", "/regenerate", options=["--json", "-"])
    body = json.loads(out)
    assert code == 0 and body["mask"] == "1.gate,2.gate"
    assert _verdicts(body["rounds"][0]) == ["compliance", "refusal", "refusal"]


def test_in_a_terminal_a_mistake_costs_one_line(talk):
    lines = ["/magic", "/layers 99", "/undo", "/seed x", "/mode odd", "/help", BAD, "/quit", GOOD]
    code, out, err = talk(*lines, terminal=True)
    assert code == 0 and err == "" and "/regenerate" in out
    for word in (
        "/magic is no command",
        "layer 99",
        "nothing was asked",
        "seed is x",
        "odd",
    ):
        assert word in out
    assert out.count("student:") == 1, "nothing is asked after /quit"


@pytest.mark.parametrize(
    ("lines", "options", "word"),
    [
        (["/magic"], [], "/magic"),
        (["/temperature 99"], [], "99"),
        (["/save"], [], "talk.json"),
        (["/load nowhere.json"], [], "nowhere.json"),
        (["/sites knee"], [], "knee"),
        (["/regenerate"], [], "nothing was asked"),
        ([], ["--panes", "ghost"], "ghost"),
        ([], ["--prompt", " "], "empty"),
        ([], ["--layers", "99"], "99"),
    ],
)
def test_a_mistake_in_a_pipe_is_one_line_and_exit_2(talk, lines, options, word):
    code, out, err = talk(*lines, options=options)
    assert code == 2 and err.count("\n") == 1 and word in err, (out, err)
