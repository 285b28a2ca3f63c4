"""A tiny text-classification checkpoint that the tests train: refusal or not, from open replies."""

import json
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

REPLIES = Path(__file__).parent / "data" / "replies"


def labelled(name, wanted=("refusal", "compliance")):
    """(prompt, reply, label) of the labelled replies of one file."""
    rows = [json.loads(line) for line in (REPLIES / name).read_text("utf-8").splitlines()]
    return [(r["prompt"], r["reply"], r["label"]) for r in rows if r["label"] in wanted]


def train(folder, classes=("Non-refusal", "Refusal"), steps=60, seed=0):
    """Train two small layers on the open replies and save them; returns the folder."""
    rows = labelled("replies_open.jsonl")
    texts = [f"<|user|>\n{p}\n<|assistant|>\n{r}" for p, r, _ in rows]
    found = sorted({w for text in texts for w in re.findall(r"\w+|[^\w\s]", text.lower())})
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", *found])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", model_max_length=96
    )
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        num_labels=len(classes),
        id2label=dict(enumerate(classes)),
        label2id={name: i for i, name in enumerate(classes)},
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForSequenceClassification(config)
    read = tokenizer(texts, padding=True, truncation=True, max_length=96, return_tensors="pt")
    wanted = torch.tensor([int(label == "refusal") for _, _, label in rows])
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        loss = model(**read, labels=wanted).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder
