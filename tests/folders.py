"""Model folders to spoil: copies of planted ones, with helpers that each break one thing."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def copy_of(folder, place):
    """A private copy of a model folder."""
    return Path(shutil.copytree(folder, place))


def config(folder, **changes):
    """Change config.json; None takes a key out."""
    path = folder / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def tensors(folder, change):
    """Rewrite the weights through `change(dict)`, in place."""
    path = folder / "model.safetensors"
    content = load_file(path)
    change(content)
    save_file({k: v.contiguous() for k, v in content.items()}, path, {"format": "pt"})


def shard(folder, count=3):
    """Split the one weight file into `count` files with an index."""
    content = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {}
    for i in range(count):
        name = f"model-{i + 1:05}-of-{count:05}.safetensors"
        part = {key: content[key] for key in sorted(content)[i::count]}
        save_file(part, folder / name, {"format": "pt"})
        where.update(dict.fromkeys(part, name))
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return where


def poison(name, value):
    """Put one value into one tensor."""

    def change(content):
        content[name].view(-1)[3] = value

    return lambda folder: tensors(folder, change)


def cast(dtype):
    """Store every weight in another precision."""

    def change(content):
        content.update({k: v.to(dtype) for k, v in content.items()})

    return lambda folder: tensors(folder, change)


def nudge(folder, name="model.layers.0.mlp.up_proj.weight"):
    """Make one tensor differ."""
    tensors(folder, lambda content: content.update({name: content[name] + torch.tensor(0.01)}))


# -- each fault, and what the message must name --------------------------------------------------


def write(name, content):
    def spoil(folder):
        path = folder / name
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)

    return spoil


def without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def setting(**changes):
    return lambda folder: config(folder, **changes)


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lost_shard(folder):
    where = shard(folder)
    (folder / sorted(set(where.values()))[1]).unlink()


def index_of(change):
    def spoil(folder):
        shard(folder)
        path = folder / "model.safetensors.index.json"
        content = json.loads(path.read_text())
        change(content["weight_map"])
        path.write_text(json.dumps(content))

    return spoil


def adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


def drop(name):
    return lambda folder: tensors(folder, lambda content: content.pop(name))


def narrow(folder):
    def change(content):
        name = "model.layers.1.mlp.gate_proj.weight"
        content[name] = content[name][:-1]

    tensors(folder, change)


W, INDEX = "model.safetensors", "model.safetensors.index.json"
GATE = "model.layers.2.mlp.gate_proj.weight"
SPOILED = {
    "no config.json": (without("config.json"), ["has no config.json"]),
    "an adapter": (adapter, ["adapter_config.json", "merge"]),
    "invalid JSON": (write("config.json", "{"), ["config.json cannot be read as JSON"]),
    "binary config": (write("config.json", b"\xff\xfe\x00"), ["config.json cannot be read"]),
    "a list as config": (write("config.json", "[]"), ["names no model_type"]),
    "no model_type": (setting(model_type=None), ["names no model_type"]),
    "model_type a number": (setting(model_type=7), ["names no model_type"]),
    "unknown model_type": (setting(model_type="mamba9"), ["'mamba9'", "choose one of llama"]),
    "remote code": (setting(auto_map={"AutoModel": "x.Y"}), ["auto_map", "never run"]),
    "hidden size a word": (setting(hidden_size="wide"), ["config.json is not usable"]),
    "settings of other weights": (setting(intermediate_size=40), ["MLP width", "40"]),
    "truncated weights": (truncated, [W, "not a whole safetensors file"]),
    "empty weights": (write(W, b""), [f"{W} (0 bytes)"]),
    "garbage header": (write(W, b"\xff" * 64), [f"{W} (64 bytes)"]),
    "header of no JSON": (write(W, b"\x08" + b"\0" * 7 + b"notjson!"), [f"{W} (16 bytes)"]),
    "no weights": (without(W), ["has no model.safetensors"]),
    "pickle only": (pickled, ["pytorch_model.bin", "convert"]),
    "missing shard": (lost_shard, ["model-00002-of-00003.safetensors", "not in"]),
    "empty index": (index_of(dict.clear), ["names no tensor"]),
    "index without map": (
        lambda f: (without(W)(f), write(INDEX, "[]")(f)),
        ["no readable weight_map"],
    ),
    "index outside": (
        index_of(lambda m: m.update({GATE: "../x.safetensors"})),
        ["'../x.safetensors'"],
    ),
    "index promises more": (
        index_of(lambda m: m.update(extra=next(iter(m.values())))),
        ["promises extra"],
    ),
    "NaN in a site": (poison(GATE, float("nan")), ["layer 2's gate holds NaN"]),
    "Inf in the head": (poison("lm_head.weight", float("inf")), ["head holds NaN or infinite"]),
    "a site is missing": (drop(GATE), [f"{GATE} is not among its tensors"]),
    "the head is missing": (drop("lm_head.weight"), ["lm_head.weight is not among its"]),
    "a narrow gate": (narrow, ["model.layers.1.mlp.gate_proj.weight is", "choose"]),
    "other layers": (setting(num_hidden_layers=9), ["layers", "9", "the teacher 4"]),
    "other hidden size": (setting(hidden_size=64), ["hidden size", "64"]),
    "other heads": (setting(num_attention_heads=4), ["attention heads", "4"]),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        ["its tokenizer cannot be read"],
    ),
    "broken tokenizer": (write("tokenizer.json", "{}"), ["its tokenizer cannot be read"]),
    "OPT": (setting(model_type="opt"), ["'opt'", "not a supported family", "architectures.py"]),
    "another's weights": (setting(model_type="gpt2"), ["the student is gpt2, the teacher llama"]),
    "mixture of experts": (setting(model_type="olmoe"), ["'olmoe'"]),
    "encoder only": (setting(model_type="bert", architectures=["BertModel"]), ["BertModel"]),
    "encoder-decoder": (setting(model_type="t5", is_encoder_decoder=True), ["causal"]),
    "a classifier": (
        setting(architectures=["LlamaForSequenceClassification"]),
        ["LlamaForSequenceClassification is no causal"],
    ),
    "quantised": (setting(quantization_config={"quant_method": "gptq"}), ["gptq", "unquantised"]),
    "quantised oddly": (setting(quantization_config="fp4"), ["fp4"]),
}
