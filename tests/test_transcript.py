"""Text decoded from its tail equals the decoding of the whole, for every kind of tokenizer."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import TOKENIZER
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dapa.model.decode.transcript import Transcript, Words, visible

SPECIAL = {"eos_token": "<eos>", "unk_token": "<unk>"}
PIECES = ["a", "b", "▁", "▁a", "▁the", "é", "▁é", "n't", ".", ",", "'s", "\n", "ing", "東", "�"]


def fast(model, decoder, **more):
    raw = Tokenizer(model)
    raw.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=raw, **SPECIAL, **more)


def byte_level(**more):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: i for i, t in enumerate(["<eos>", "<unk>", *alphabet, "Ġthe", "Ġ.", "Ãł"])}
    return fast(models.BPE(vocabulary, []), decoders.ByteLevel(), **more)


def byte_fallback():
    """As Llama 2 decodes: metaspaces, runs of single bytes, one leading space stripped."""
    singles = [f"<0x{i:02X}>" for i in range(256)]
    vocabulary = {t: i for i, t in enumerate(["<eos>", "<unk>", *singles, *PIECES])}
    steps = [
        decoders.Replace("▁", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ]
    return fast(models.BPE(vocabulary, [], byte_fallback=True), decoders.Sequence(steps))


def metaspace():
    vocabulary = {t: i for i, t in enumerate(["<eos>", "<unk>", *PIECES])}
    return fast(models.WordLevel(vocabulary, unk_token="<unk>"), decoders.Metaspace())


def word_piece():
    """Whose clean-up joins what stands on both sides of a token border."""
    words = ["do", "n't", "##ing", ".", ",", "we", "'s", "'", "a"]
    vocabulary = {t: i for i, t in enumerate(["<eos>", "<unk>", *words])}
    model = models.WordPiece(vocabulary, unk_token="<unk>")
    return fast(model, decoders.WordPiece(cleanup=False), clean_up_tokenization_spaces=True)


TOKENIZERS = {
    "byte level": byte_level(),
    "byte level, told to clean up": byte_level(clean_up_tokenization_spaces=True),
    "byte fallback": byte_fallback(),
    "metaspace": metaspace(),
    "word piece": word_piece(),
    "planted": TOKENIZER,
}


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60)
@given(data=st.data())
def test_the_text_equals_the_decoding_of_all_tokens_at_every_moment(name, data):
    tokenizer = TOKENIZERS[name]
    likely = st.integers(0, len(tokenizer) + 1)  # some beyond the vocabulary, as padded heads emit
    few = st.sampled_from(range(max(0, len(tokenizer) - 20), len(tokenizer)))
    ids = data.draw(st.lists(st.one_of(likely, few, few), max_size=90))
    every = data.draw(st.integers(1, 5))
    transcript = Transcript(Words(tokenizer))
    for i, token in enumerate(ids, start=1):
        transcript.push(token)
        if i % every == 0:
            assert transcript.text == tokenizer.decode(ids[:i], skip_special_tokens=True)
    assert transcript.finish() == tokenizer.decode(ids, skip_special_tokens=True)
    assert transcript.text == transcript.finish()


@pytest.mark.parametrize("name", ["byte level", "byte fallback"])
@settings(max_examples=60)
@given(text=st.text(max_size=40))
@example(text="naïve 東京 🇯🇵 👩‍👩‍👧 é" * 3)
def test_real_text_arrives_whole_and_never_as_half_a_character(name, text):
    tokenizer = TOKENIZERS[name]
    if name == "byte level":
        names = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        ids = [
            tokenizer.convert_tokens_to_ids(c) for c in names.pre_tokenize_str(text or " ")[0][0]
        ]
        text = text or " "
    else:
        ids = [tokenizer.convert_tokens_to_ids(f"<0x{b:02X}>") for b in b" " + text.encode()]
    transcript = Transcript(Words(tokenizer))
    for token in ids:
        transcript.push(token)
        shown = visible(transcript.text)
        assert text.startswith(shown) or name == "byte fallback"  # a run may wait as a whole
    assert transcript.text == text


def test_a_long_reply_is_decoded_from_its_tail_only():
    lengths = []

    class Counting(Words):
        def decode(self, ids):
            lengths.append(len(ids))
            return super().decode(ids)

    transcript = Transcript(Counting(TOKENIZER))
    for token in [9, 14, 23, 31] * 250:
        transcript.push(token)
        assert transcript.text
    assert max(lengths) < 60 and sum(lengths) < 60 * 1000


def test_visible_holds_back_what_is_not_whole_yet():
    assert visible("caf\ufffd") == "caf"
    assert visible("a\ufffdb\ufffd\ufffd") == "a\ufffdb"
