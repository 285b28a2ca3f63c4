"""Prompt files as people have them: look-alikes of published sets, and what they get wrong.

The files in cases/prompts have the columns, quoting and line ends of the sets that they are named
after; their rows are our own and name kinds of harm only.
"""

import csv
import io
import json
import tempfile
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapa.cli import main
from dapa.core.records import PromptError
from dapa.measure.evaluation_settings import EvaluationSettings
from dapa.prompts.columns import COLUMNS, said
from dapa.prompts.replies import read_replies
from dapa.prompts.report import inspect
from dapa.prompts.sets import read_prompts
from dapa.search.settings import SearchSettings
from dapa.workbench import Workbench

CASES = Path(__file__).parent / "cases" / "prompts"


def read(name, role="harmful", **more):
    return read_prompts(CASES / name, role, **more)


LOOKALIKES = {
    "wildguard.jsonl": (
        "WildGuardMix",
        ("Name a kind of theft", "In a play, name a kind of forgery"),
    ),
    "ailuminate_fr.csv": (
        "AILuminate",
        (
            "Nomme une sorte de vol, s’il te plaît",
            'Nomme une sorte de "fraude"\r\net rien d’autre',
        ),
    ),
    "sorrybench.jsonl": ("SORRY-Bench", ("Name a kind of insult", "Name a kind of burglary")),
    "sorrybench.csv": ("SORRY-Bench", ("Name a kind of insult", "Name a thief's kind of burglary")),
    "alpaca.json": ("Alpaca", ("Name the river of this town\n\nParis", "Name a bird")),
    "toxicchat.csv": ("ToxicChat", ("Name a kind of slur",)),
    "xstest.csv": ("XSTest", ("How do I stop a running rival?",)),
    "donotanswer.csv": ("Do-Not-Answer", ("Name where my neighbour banks",)),
    "salad.json": ("SALAD-Bench", ("Name a kind of fraud",)),
    "alert.jsonl": ("ALERT", ("### Instruction:\nName a kind of theft\n### Response:",)),
    "beavertails.csv": ("BeaverTails", ("Name a kind of theft",)),
    "orbench.csv": (
        "OR-Bench",
        ('Which words make a letter "sound" like a threat, to avoid them?',),
    ),
    "strongreject_bom.csv": ("StrongREJECT", ("Name a kind of fraud\r\n\r\nin one word",)),
    "chats.jsonl": (
        "chats",
        ("Name a kind of fraud", "Name a kind of theft", "Name a kind of spam"),
    ),
    "sharegpt.json": ("table", ("Name a kind of fraud",)),
    "old_mac.txt": ("plain list", ("Name a lock", "Name a mask")),
}


@pytest.mark.parametrize("name", LOOKALIKES)
def test_a_published_set_is_known_and_its_prompts_are_read_whole(name):
    known, texts = LOOKALIKES[name]
    assert read(name).texts == texts
    assert inspect(CASES / name).format == known


KINDS = {
    "wildguard.jsonl": ("theft", "fraud"),
    "ailuminate_fr.csv": ("ncr", "ncr"),
    "sorrybench.jsonl": ("1", "12"),
    "donotanswer.csv": ("Private information",),
    "salad.json": ("O1: Representation",),
    "beavertails.csv": ("theft, fraud",),
    "xstest.csv": ("contrast_homonyms",),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_kind_of_harm_is_found_whatever_its_column_is_called(name):
    assert tuple(prompt.category for prompt in read(name).prompts) == KINDS[name]


def test_harmbenchs_context_joins_the_request_and_copyright_rows_stand_apart():
    found = read("harmbench.csv")
    assert found.texts == (
        "Name a kind of fraud",
        'A notice in two lines,\nfound on a "blue" door\n\n---\n\n'
        "Explain what the notice, quoted above, threatens",
    )
    assert [prompt.extra["behaviorid"] for prompt in found.apart] == ["sea_song", "hill_novel"]
    assert found.notes == (
        "2 copyright rows kept apart: HarmBench scores these by a hash of the copied text, not by "
        "refusal",
    )
    report = inspect(CASES / "harmbench.csv")
    assert (report.format, report.rows, report.n, report.apart) == ("HarmBench", 4, 2, 2)
    assert len(found.sample(1).apart) == 2


def test_a_file_of_copyright_rows_alone_is_read_as_asked_for_and_says_so(tmp_path):
    lines = (CASES / "harmbench.csv").read_text(encoding="utf-8").splitlines()
    file = tmp_path / "songs.csv"
    file.write_text("\n".join([lines[0], *lines[-2:]]), encoding="utf-8")
    found = read_prompts(file)
    assert len(found) == 2 and not found.apart and "every row is a copyright one" in found.notes[0]


def test_rows_labelled_unharmful_go_to_the_harmless_side():
    assert read("wildguard.jsonl", "harmless").texts == ("Name a kind of bread",)
    assert read("toxicchat.csv", "harmless").texts == ("Name a kind of tea",)
    assert read("xstest.csv", "borderline").texts == ("How do I stop a running program?",)
    assert read("wildguard.jsonl").notes == (
        "the file holds both roles; its harmful rows were taken (2 of 4, by column "
        "'prompt_harm_label')",
        "1 row without a word in 'prompt_harm_label' left out",
    )


def test_a_file_whose_every_prompt_is_labelled_otherwise_is_refused(tmp_path):
    file = tmp_path / "mild.csv"
    file.write_text("prompt,prompt_harm_label\nName a bird,unharmful\n", encoding="utf-8")
    with pytest.raises(PromptError, match="calls every prompt unharmful.*as the harmless set"):
        read_prompts(file)
    assert read_prompts(file, "harmless").texts == ("Name a bird",)


@pytest.mark.parametrize(
    "rows",
    [
        "prompt,response,label\nName a lock,No.,safe\nName a mask,Yes.,unsafe\n",
        "prompt,response,is_safe\nName a lock,No.,True\nName a mask,Yes.,False\n",
        "prompt,label\nName a lock,refusal\nName a mask,safe\n",
        "prompt,toxicity\nName a lock,0\nName a mask,1\n",
    ],
)
def test_labels_of_replies_or_of_unknown_words_say_nothing_of_prompts(rows, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(rows, encoding="utf-8")
    assert read_prompts(file).texts == ("Name a lock", "Name a mask")


def test_of_a_chat_one_request_is_asked_and_the_system_message_kept():
    found = read("chats.jsonl")
    assert found.prompts[0].extra["system"] == "Be brief."
    assert [note.partition(" ")[0] for note in found.notes] == ["2", "1"]
    assert "several turns" in found.notes[0] and "system message" in found.notes[1]


def test_chats_in_parquet_and_in_a_prompt_column_are_read(tmp_path):
    chat = [{"role": "user", "content": "Name a lock"}]
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": [chat], "category": [["theft", "locks"]]}), file)
    (prompt,) = read_prompts(file).prompts
    assert (prompt.text, prompt.category) == ("Name a lock", "theft, locks")


def test_a_struct_of_flags_gives_its_true_keys(tmp_path):
    kinds = [{"theft": True, "fraud": False}, {"theft": True, "fraud": True}, None]
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "category": kinds}), file)
    assert [p.category for p in read_prompts(file).prompts] == ["theft", "theft, fraud", ""]
    assert said({"theft": False}) == said({}) == said(None) == said(float("nan")) == ""
    assert said("[not a list]") == "[not a list]" and said(["a", ["b"], "c"]) == "a, c"


BROKEN = {
    "quote_ends_early.csv": "line 3: a quote closes before its cell ends",
    "quote_never_ends.csv": "lines 3 to 5: a quote opens and is never closed",
    "quote_swallows.csv": "lines 2 to 4: a quote opens and swallows the rows below, so that only 1",
    "twice.csv": "line 1: column 'goal' stands there twice",
    "twice.jsonl": "line 2: key 'prompt' stands there twice",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_would_lose_rows_or_cells_is_named_by_its_line(name):
    with pytest.raises(PromptError) as caught:
        read(name)
    told = str(caught.value)
    assert f"{name}, {BROKEN[name]}" in told and "\n" not in told and ";" in told


def test_a_tsv_written_without_quoting_keeps_its_quotes():
    found = read("wildjailbreak.tsv", "harmless", column="vanilla")
    assert found.texts == ('"Name" a kind of pie',)
    assert read("wildjailbreak.tsv", column="vanilla").texts == ("Name a kind of theft",)


def test_columns_that_differ_only_in_case_are_told_in_json_and_parquet(tmp_path):
    listed = tmp_path / "a.json"
    listed.write_text('["x",\n{"prompt": "a", "Prompt": "b"}]', encoding="utf-8")
    with pytest.raises(PromptError, match="line 2: column 'prompt' stands there twice"):
        read_prompts(listed)
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "Prompt": ["b"]}), file)
    with pytest.raises(PromptError, match="column 'prompt' stands there twice"):
        read_prompts(file)


JSON = {
    "extra.json": ('["x", "y"] z', "behind the end"),
    "comma.json": ('["x",\n"y" "z"]', "line 2: .*expected a comma"),
    "open.json": ('["x",\n', "not JSON"),
    "value.json": ('[\n{"prompt": "a"},\n{"prompt": }]', "line 3: .* is not JSON"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_that_is_none_is_told_by_its_line(name, tmp_path):
    content, message = JSON[name]
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    with pytest.raises(PromptError, match=message):
        read_prompts(file)


def test_json_lines_called_json_and_a_list_called_jsonl_are_read(tmp_path):
    for name, content in {
        "a.json": '{"prompt": "one"}\n{"prompt": "two"}\n',
        "b.jsonl": '[{"prompt": "one"},\n "two"]',
    }.items():
        file = tmp_path / name
        file.write_text(content, encoding="utf-8")
        assert read_prompts(file).texts == ("one", "two")


def test_a_named_column_is_read_and_a_missing_one_told():
    with pytest.raises(PromptError, match=r"no prompt column \(seen: id, ask, note\).*--prompt"):
        read("own_column.csv")
    assert read("own_column.csv", column=" Ask ").texts == ("Name a lock", "Name a mask")
    with pytest.raises(PromptError, match=r"no column 'asks' \(seen: id, ask, note\)"):
        read("own_column.csv", column="asks")
    beside = read("alpaca.json", "harmless", column="ask", else_usual=True)
    assert len(beside) == 2
    assert beside.notes == ("the file has no column 'ask'; 'instruction' was read",)


def test_a_named_column_tells_what_parts_the_cells(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("ask;kind\nName a lock, or two;theft\n", encoding="utf-8")
    (prompt,) = read_prompts(file, column="ask").prompts
    assert prompt.text == "Name a lock, or two" and prompt.extra == {"kind": "theft"}


def test_the_workbench_wants_the_column_of_the_harmful_file_alone():
    bench, file = Workbench(), str(CASES / "orbench.csv")
    assert bench.prompts(str(CASES / "own_column.csv"), "harmful", "ask").texts[0] == "Name a lock"
    with pytest.raises(PromptError, match="no column 'ask'"):
        bench.prompts(file, "harmful", "ask")
    assert len(bench.prompts(file, "harmless", "ask")) == 1
    assert len(bench.prompts("toy_harmful", "harmful", "ask")) > 1


def test_replies_are_read_beside_a_named_column(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("ask,reply\nName a lock,No.\n", encoding="utf-8")
    (row,) = read_replies(file, column="ask")
    assert (row.prompt, row.reply) == ("Name a lock", "No.")


def _run(capfd, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["prompts", *arguments])
    return ended.value.code, *capfd.readouterr()


def test_the_command_reads_a_named_column_and_tells_of_copyright_rows(capfd):
    code, out, _ = _run(
        capfd, str(CASES / "own_column.csv"), "--prompt-column", "ask", "--against",
        str(CASES / "harmbench.csv"), "--json", "-",
    )  # fmt: skip
    body = json.loads(out)
    assert code == 0 and body["prompt_column"] == "ask" and body["against"][0]["n"] == 2
    code, out, _ = _run(capfd, str(CASES / "harmbench.csv"))
    assert code == 0 and "2 copyright rows kept apart" in " ".join(out.split())
    code, out, err = _run(capfd, str(CASES / "own_column.csv"), "--prompt-column", "no")
    assert (code, out) == (2, "") and err.count("\n") == 1 and "(seen: id, ask, note)" in err


def test_every_known_column_is_read_by_itself(tmp_path):
    for name in COLUMNS:
        file = tmp_path / "a.csv"
        file.write_text(f"{name}\nName a lock\n", encoding="utf-8")
        assert read_prompts(file).texts == ("Name a lock",)


def test_a_small_parquet_file_that_unpacks_to_gigabytes_is_refused_in_bounded_memory(tmp_path):
    file = tmp_path / "a.parquet"
    cells = pa.DictionaryArray.from_arrays(np.zeros(90_000, "int32"), pa.array(["x" * 50_000]))
    pq.write_table(pa.table({"prompt": cells}), file, store_schema=False)
    assert file.stat().st_size < 1_000_000
    pool = pa.default_memory_pool()
    before = pool.max_memory()
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(PromptError, match="unpacks to over 200 MB"):
        read_prompts(file)
    peak = max(tracemalloc.get_traced_memory()[1], pool.max_memory() - before)
    tracemalloc.stop()
    assert time.process_time() - start < 2 and peak < 300_000_000


WIDE = {
    "columns.csv": b"prompt," * 3_000 + b"\n" + b"a," * 3_000,
    "list.json": b"[" + b'"a",' * 2_000_000 + b'"a"]',
    "keys.json": b"[{" + b",".join(b'"%d": 1' % i for i in range(500_000)) + b"}]",
    "objects.jsonl": b'{"prompt": "a"}\n' * 200_000,
    "quote.tsv": b'prompt\tkind\n"a' + b"\tx\n" * 400_000,
}


@pytest.mark.parametrize("name", WIDE)
def test_files_with_too_much_of_anything_end_in_one_line_within_seconds(name, tmp_path):
    file = tmp_path / name
    file.write_bytes(WIDE[name])
    start = time.process_time()
    with pytest.raises(PromptError) as caught:
        read_prompts(file)
    assert time.process_time() - start < 3 and "\n" not in str(caught.value)


cells = st.text(
    st.one_of(
        st.sampled_from("\",;\t\n\r'[]{}= a"), st.characters(exclude_categories=["Cc", "Cs"])
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=6), st.sampled_from(",\t;"))
def test_whatever_a_writer_of_tables_quotes_is_read_back_as_it_was(rows, mark):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=mark)
    writer.writerows([("note", "prompt"), *rows])
    wanted = tuple(dict.fromkeys(prompt.strip() for _, prompt in rows if prompt.strip()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / ("a.tsv" if mark == "\t" else "a.csv")
        file.write_bytes(text.getvalue().encode("utf-8"))
        if wanted:
            assert read_prompts(file).texts == wanted
        else:
            with pytest.raises(PromptError):
                read_prompts(file)


@settings(max_examples=100)
@given(
    st.lists(st.fixed_dictionaries({"prompt": cells, "category": cells}), min_size=1, max_size=6)
)
def test_json_is_read_back_as_it_was_written(rows):
    wanted = tuple(dict.fromkeys(row["prompt"].strip() for row in rows if row["prompt"].strip()))
    with tempfile.TemporaryDirectory() as folder:
        listed, lines = Path(folder) / "a.json", Path(folder) / "a.jsonl"
        listed.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        lines.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows), "utf-8")
        for file in (listed, lines):
            if wanted:
                assert read_prompts(file).texts == wanted
            else:
                with pytest.raises(PromptError):
                    read_prompts(file)


def test_an_evaluation_and_a_stored_search_keep_the_named_column():
    settings = EvaluationSettings(
        prompts=str(CASES / "own_column.csv"),
        harmless=str(CASES / "orbench.csv"),
        prompt_column="ask",
    )
    asked = Workbench().asked_sets(settings)
    assert [prompt.text for prompt in asked["dsr"]] == ["Name a lock", "Name a mask"]
    assert len(asked["over_refusal"]) == 1
    assert EvaluationSettings.from_dict(settings.as_dict()) == settings
    search = SearchSettings(prompts="own.csv", prompt_column="ask")
    assert SearchSettings.from_dict(asdict(search)).prompt_column == "ask"
