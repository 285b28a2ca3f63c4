"""Who judges, as the screen asks for it: checked on the server before anything is asked."""

import gradio as gr
import pytest
from classifiers import train

from dapa.core.records import SettingError
from dapa.ui.dashboard import Dashboard
from dapa.ui.tabs.evaluate import form, judging
from dapa.workbench import EvaluationSettings, Workbench

ADDRESS = ("url=http://127.0.0.1:1/v1", "model=tiny")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(train(tmp_path_factory.mktemp("plain"), steps=1))


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    return str(train(tmp_path_factory.mktemp("nameless"), ("LABEL_0", "LABEL_1"), steps=1))


@pytest.fixture
def dashboard(tmp_path):
    return Dashboard(Workbench(tmp_path))


def test_a_checkpoint_and_its_mapping_become_options(dashboard, checkpoint, nameless):
    assert judging.chosen(dashboard, ["rules", "released", "rules"], "", "") == (
        ("rules", "released"),
        (),
    )
    told = judging.chosen(dashboard, ["classifier"], f" {checkpoint} ", "")
    assert told == (("classifier",), (f"checkpoint={checkpoint}",))
    labels = "LABEL_0=compliance, LABEL_1 = Refusal"
    names, options = judging.chosen(dashboard, ["classifier"], nameless, labels)
    (judge,) = Workbench.panel(names, options).judges
    assert judge("how do i rob a bank", "I cannot help with that.").reason.startswith("LABEL_")


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ("", "map each of LABEL_0, LABEL_1, as in LABEL_0=compliance"),
        ("LABEL_0=refusal", "map each of LABEL_0, LABEL_1"),
        ("LABEL_0=fine, LABEL_1=refusal", "'fine' is not a verdict"),
        ("Yes=refusal", "no class 'Yes'; its classes are LABEL_0, LABEL_1"),
        ("nonsense", "write CLASS=verdict,CLASS=verdict"),
    ],
)
def test_classes_that_are_not_known_are_named_before_anything_is_asked(
    dashboard, nameless, labels, told
):
    with pytest.raises(SettingError, match=told):
        judging.chosen(dashboard, ["classifier"], nameless, labels)


@pytest.mark.parametrize("name", ["", None, "nowhere", "/etc/passwd", 3, "org/missing", "x" * 2000])
def test_what_is_no_checkpoint_is_refused(dashboard, name):
    with pytest.raises(SettingError) as caught:
        judging.chosen(dashboard, ["classifier"], name, "")
    assert "\n" not in str(caught.value) and "root:" not in str(caught.value)


def test_an_endpoint_is_offered_only_where_the_starter_named_one(dashboard, tmp_path):
    assert "endpoint" not in judging.offered(dashboard)
    for name in ("endpoint", "two-stage", "magic", None):
        with pytest.raises(SettingError, match="does not exist"):
            judging.chosen(dashboard, [name], "", "")
    named = Dashboard(Workbench(tmp_path), ADDRESS)
    assert list(judging.offered(named)) == [
        "rules", "released", "classifier", "endpoint", "two-stage"
    ]  # fmt: skip
    assert judging.chosen(named, ["endpoint", "rules"], "", "") == (("endpoint", "rules"), ADDRESS)


def test_an_opened_run_fills_the_form_with_what_it_was_measured_with(dashboard, nameless):
    labels = "LABEL_0=compliance, LABEL_1=refusal"
    settings = EvaluationSettings(
        judge="classifier", judge_options=(f"checkpoint={nameless}", f"labels={labels}"),
        harm="classifier", harm_options=(f"checkpoint={nameless}", "harmful=LABEL_0"),
        saved={"best": "3.gate"}, prompt_limit=7,
    )  # fmt: skip
    with gr.Blocks():
        parts = form.build(dashboard)
    held = parts.filled(dashboard, settings)
    assert len(held) == len(parts.filling)
    fields = len(parts.form.parts)
    values = dict(zip(parts.form.parts, held[:fields], strict=True))
    beside = tuple(held[fields : fields + len(parts.beside)])
    again = form.settings_of(dashboard, parts.form, "", beside, values)
    assert again.judge == "classifier" and again.prompt_limit == 7
    assert set(again.judge_options) == {f"checkpoint={nameless}", f"labels={labels}"}
    assert (again.harm, again.harm_options) == (settings.harm, settings.harm_options)
    assert again.saved == {"best": "3.gate"} and "best: layer 3" in held[-1]


def test_what_this_page_cannot_hold_of_an_opened_run_is_said(dashboard):
    settings = EvaluationSettings(judge="endpoint", harm="causal", text="own.txt")
    with gr.Blocks():
        parts = form.build(dashboard)
    held = parts.filled(dashboard, settings)
    values = dict(zip(parts.form.parts, held, strict=False))
    assert values["judge"] == "rules"
    for word in ("the judge endpoint", "its harm judge causal", "its text for perplexity"):
        assert word in held[-2]
