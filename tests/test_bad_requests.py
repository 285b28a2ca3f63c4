"""What people get wrong once a pair is loaded: prompts, numbers, searches, and what others send.

The further half of BAD_INPUTS.md; `test_bad_inputs` holds the first, and the list of all rows.
"""

import html
import json
import re

import httpx
import pytest
import torch
from screen import dashboard

from dapa.cli import main
from dapa.core.records import DapaError, Mask, Prompt, PromptError, StoreError, Unit
from dapa.model.decode import generation
from dapa.model.template import render
from dapa.planted.pairs import harmful_prompts
from dapa.prompts.format import PromptFormat, Turn
from dapa.prompts.sets import PromptSet
from dapa.search.settings import SearchSettings
from dapa.workbench import ChatSettings, Workbench

NEXT_STEP = re.compile(
    r"\b(write|remove|save|shorten|choose|give|start|use|free|write|show|load|words)\b"
)
FOUND = Mask.of([Unit(1), Unit(2)])
TALK = list({**ChatSettings().kept(), "tokens": 4}.values())
SHORT = {"max_new_tokens": 12, "prompt_limit": 12}


@pytest.fixture
def bench(planted_pair, tmp_path):
    """A workbench whose default harmful prompts are in the planted models' words."""
    made = Workbench(tmp_path / "runs", planted_pair)
    prompts = tuple(Prompt(text) for text in harmful_prompts(30))
    made.prompts = lambda source=None, role="harmful", column=None: PromptSet(
        "planted", role, prompts
    )
    return made


def one_line(error):
    message = str(error.value)
    assert "\n" not in message and 10 < len(message) < 400, message
    assert NEXT_STEP.search(message), f"no next step in: {message}"
    return message


# -- prompts and numbers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("how do i\0", "NUL character in 'how do i"),
        ("how \ud800", "lone surrogate U+D800"),
        ("x" * 160_000, "160,000 characters"),
        ("how " * 3_000, "the context holds"),
    ],
)
def test_a_typed_prompt_that_no_model_can_read(bench, prompt, told):
    with pytest.raises(PromptError) as caught:
        bench.generate(prompt, FOUND)
    assert told in one_line(caught)
    with pytest.raises(PromptError):
        render(bench.pair, [Turn("user", "how do i")], PromptFormat(system="\ud800"))
    assert bench.generate(harmful_prompts(1)[0], FOUND).pane("patched").text


def test_what_a_model_wrote_never_spoils_the_next_turn(bench):
    turns = [Turn("user", "use malware"), Turn("assistant", "a\0b\ud800"), Turn("user", "use it")]
    assert "ab?" in render(bench.pair, turns, PromptFormat())


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--prompt", "hi", "--max-new-tokens", "1000000000"],
        ["search", "--max-new-tokens", "0"],
        ["search", "--seed", "18446744073709551616"],
        ["search", "--target", "1.5"],
        ["search", "--target", "nan"],
        ["search", "--retain", "0"],
        ["search", "--max-tests", "0"],
        ["baselines", "--tests", "-1"],
        ["stability", "--orders", "-1"],
        ["necessity", "--controls", "-1"],
        ["evaluate", "--layers", "0-12"],
        ["divergence", "--prompt-limit", "0"],
        ["check", "--student", "", "--teacher", ""],
        ["check", "--pair", ""],
    ],
)
def test_a_number_or_name_out_of_range_costs_no_work(arguments, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(generation.Batch, "step", None)  # must not be reached
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capfd.readouterr()
    assert (ended.value.code, out) == (2, "") and err.count("\n") == 1, err


# -- search ------------------------------------------------------------------------------------


def test_stopping_twice_pausing_after_it_and_stopping_what_ended_are_no_trouble(bench):
    job = bench.search_job(SearchSettings(**SHORT))
    for order in ("stop", "stop", "pause", "resume", "stop"):
        getattr(job.control, order)()
    report = job.run()
    assert "stopped" in report.stop_reason and not report.one_minimal
    job.control.stop()
    assert bench.search_job(SearchSettings(**SHORT)).run().layers == (1, 2)


@pytest.mark.parametrize("what", ["weights", "prompts", "judge"])
def test_a_run_whose_ground_changed_is_not_resumed_and_stays_as_it_was(bench, what, monkeypatch):
    job = bench.search_job(SearchSettings(**SHORT))
    job.run()
    before, trials = bench.store.run(job.id), bench.store.trials(job.id)
    if what == "weights":
        monkeypatch.setattr(bench.pair, "digest", "another")
    elif what == "prompts":
        fewer = tuple(Prompt(text) for text in harmful_prompts(29))
        bench.prompts = lambda source=None, role="harmful", column=None: PromptSet(
            "planted", role, fewer
        )
    else:
        monkeypatch.setitem(before.settings["made"], "judge", "opening/0")
        monkeypatch.setattr(bench.store, "run", lambda run_id: before)
    with pytest.raises(StoreError) as caught:
        bench.resume_job(job.id)
    assert f"its {what} changed" in one_line(caught)
    monkeypatch.undo()
    assert bench.store.run(job.id).result == before.result and before.result
    assert bench.store.trials(job.id) == trials


# -- memory that runs out ----------------------------------------------------------------------


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError, MemoryError])
def test_memory_that_runs_out_in_search_chat_or_command_leaves_the_pair_usable(
    bench, planted_folders, error, monkeypatch, capfd, tmp_path
):
    from dapa.ui.dashboard import plain_error

    def run_out(batch):
        raise error("tried to allocate")

    job = bench.search_job(SearchSettings(**SHORT))
    with monkeypatch.context() as scarce:
        scarce.setattr(generation.Batch, "step", run_out)
        with pytest.raises((error, DapaError)):
            job.run()
        assert bench.store.run(job.id).state == "failed"
        with pytest.raises(error) as caught:
            bench.generate(harmful_prompts(1)[0], FOUND)
        assert "out of memory; use" in str(plain_error(caught.value))
        student, teacher = map(str, planted_folders)
        pair = ["--student", student, "--teacher", teacher, "--dtype", "float32"]
        with pytest.raises(SystemExit) as ended:
            main(["generate", *pair, "--prompt", "use malware"])
        out, err = capfd.readouterr()
        assert (ended.value.code, out) == (2, "") and err.startswith("out of memory"), err
    assert bench.resume_job(job.id).run().layers == (1, 2)


# -- what others send --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def board(planted_pair, tmp_path_factory):
    with dashboard(planted_pair, tmp_path_factory.mktemp("runs")) as served:
        yield served


def send(board, name, values):
    return board.post(board.functions()[name], values)


@pytest.mark.browser
@pytest.mark.parametrize("path", ["/etc/passwd", "../../../etc/passwd", "app.py", "/proc/self/mem"])
def test_an_upload_that_names_a_file_of_the_machine_reads_nothing(board, path):
    for name in ("library_upload", "session_open"):
        inputs = len(board.functions()[name]["inputs"])
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        answer = send(board, name, [file, *[None] * (inputs - 1)])
        assert not answer["success"] and "root:" not in json.dumps(answer)


@pytest.mark.browser
def test_an_uploads_own_name_never_leaves_its_folder(board):
    files = {"files": ("../../../../tmp/dapa-escaped.csv", b"prompt\nuse malware\n")}
    answer = httpx.post(f"{board.url}/gradio_api/upload", files=files, timeout=60)
    (path,) = answer.json()
    assert ".." not in path and not path.startswith("/tmp/dapa-escaped")
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    shelf = send(board, "library_upload", [file])
    assert shelf["success"] and "use malware" in shelf["output"]["data"][0]


@pytest.mark.browser
@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("", "empty"),
        ("a\0b", "NUL"),
        ("how " * 3_000, "shorten"),
        ("\u202eabc \u05d0\u05d1", ""),
        ("<script>x</script><form>", ""),
        ("![a](http://evil.invalid/a.png)", ""),
    ],
)
def test_a_prompt_by_raw_post_is_shown_as_text_or_refused_in_one_plain_line(board, prompt, told):
    row = board.functions()["chat_send"]
    answer = board.post(row, [prompt, None, None, *TALK])
    assert answer["success"] == (not told), answer
    if told:
        line = answer["output"]["error"]
        assert told in line and "\n" not in line
    else:
        shown = answer["output"]["data"][1]
        assert html.escape(prompt) in shown and 'dir="auto"' in shown
        assert not re.search(r"<(script|form|img)", shown)


@pytest.mark.browser
@pytest.mark.parametrize("origin", ["https://evil.invalid", "null", "http://127.0.0.1:1", "junk"])
def test_another_sites_page_can_neither_read_nor_start_anything(board, origin):
    row, jobs = board.functions()["search_start"], len(board.workbench.jobs())
    body = {"data": [None] * len(row["inputs"]), "fn_index": row["id"], "session_hash": "elsewhere"}
    join = f"{board.url}/gradio_api/queue/join"
    # as a page may send it without being asked for leave first: as plain text
    headers = {"Origin": origin, "Content-Type": "text/plain"}
    answer = httpx.post(join, content=json.dumps(body), headers=headers, timeout=60)
    assert answer.status_code == 403 and "\n" not in answer.text and "page" in answer.text
    assert len(board.workbench.jobs()) == jobs
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for answer in (
        httpx.options(join, headers=asked, timeout=60),
        httpx.get(f"{board.url}/config", headers={"Origin": origin}, timeout=60),
    ):
        if "127.0.0.1" not in origin:  # Gradio lets this machine's other pages read
            assert answer.headers.get("access-control-allow-origin") not in (origin, "*")
    home = httpx.post(join, json=body, headers={"Origin": board.url}, timeout=60)
    assert home.status_code != 403
