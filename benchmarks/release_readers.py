"""Whether PEFT, transformers and llama.cpp write what we write: the language model of a release alone, token by token.

    python -m benchmarks.release_readers --weights=weights --folder=out/readers                          # the starter
    python -m benchmarks.release_readers --workdir=runs/quickstart --release=DIR --folder=out/readers    # a run and its release

We answer twice, greedily and freely (no fixed form), in float32: with the run, and with the language model of `merged/` read
back, whose numbers are rounded to bfloat16. Then each reader answers in a process of its own. It gets the words alone: the
release's chat template and the reader's tokenizer make the prompt, and the reader's own greedy decoding the answer.

| reader | must write what we write with |
|---|---|
| PEFT: `adapter/` on the plain base; `lora/` on `base_with_tokens/` | the run |
| transformers: `merged/`; the file in `gguf/`, by its GGUF loader; both in float32 | the rounded model |
| llama.cpp: the file in `gguf/` with its bfloat16 numbers stored as float32 | the rounded model |
| llama.cpp: the file in `gguf/` as it is | nothing, since it rounds activations to bfloat16, too; the difference is shown |

llama.cpp is asked where the package `xllamacpp` is installed. Exits with 1 where a prompt or an answer differs that must not, or
where a logit of PEFT or transformers lies too far from ours: more than 1e-4 in float64, in which both sides compute the first
answers once more, or more than 5e-6 of the largest logit in float32, in which either side is rounded ("their_rounding",
"our_rounding": how far from its own float64). "their_float32_from_our_float64" says how far what the reader gives lies from our
logits without our rounding.
"parted" lists where an answer leaves ours, and how far our scores of the two tokens lie apart there.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import release_parity

LENGTH = 64
"""Most tokens of an answer."""
TOLERANCE = 1e-4
"""Of the logits, where both sides compute in float64."""
FLOAT32_PART = 5e-6
"""Of the logits in float32, as a part of the largest one: 42 times the relative step 2^-23 of float32."""
IN_FLOAT64 = 4
"""How many of the first answers are computed so, too."""
PARTS = "merged,base_with_tokens,gguf"
RUN, ROUNDED = "run.npz", "rounded.npz"
FLOAT32_FILE = "float32.gguf"
PROFILE = ("age", "gender", "tone")


@dataclasses.dataclass(frozen=True)
class Reader:
    """about: what it reads with what. reference: the file of our answers that its answers are compared with; exact: whether
    they must be equal.
    """

    about: str
    reference: str
    exact: bool = True


READERS = {
    "adapter": Reader("PEFT, the adapter on the resized base", RUN),
    "lora": Reader("PEFT, lora on base_with_tokens", RUN),
    "merged": Reader("transformers, merged", ROUNDED),
    "gguf": Reader("transformers' GGUF loader, gguf", ROUNDED),
    "llama.cpp-float32": Reader("llama.cpp, gguf with its numbers stored as float32", ROUNDED),
    "llama.cpp": Reader("llama.cpp, gguf", ROUNDED, exact=False),
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """prompt, tokens: ids. logits: (tokens, vocabulary), the scores that each token was chosen by; None where not known.
    in_float64: the same, computed in float64; None but for the first answers.
    """

    prompt: list[int]
    tokens: list[int]
    logits: np.ndarray | None
    in_float64: np.ndarray | None = None


# ------------------------------------------------------------------------------------------------ here


def questions(count: int) -> list[list[dict[str, str]]]:
    """Histories whose words hold no control token: those a plain tokenizer, which gets one text, cannot tell from its own."""
    histories = [each["history"] for each in release_parity.questions(2 * count, {})]
    return [said for said in histories if "</response>" not in json.dumps(said)][:count]


def answer_here(model: Any, prompts: Sequence[Sequence[int]], end: int) -> list[Answer]:
    """Greedy answers of a run's model, or of a language model alone."""
    import jax
    import jax.numpy as jnp

    from empatheia_jax.core.decoding import DecodingSettings, generate

    lengths = [len(prompt) for prompt in prompts]
    tokens = np.zeros((len(prompts), max(lengths) + LENGTH), np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    settings = DecodingSettings(max_new_tokens=LENGTH, stop_ids=(end,))
    core, added = getattr(model, "core", model), getattr(model, "added", None)
    found = generate(core, added, model.embed(jnp.asarray(tokens[:, : max(lengths)])), lengths, settings)
    places = np.zeros((len(prompts), LENGTH), np.int32)
    for row, start in enumerate(lengths):
        written = found.row(row)
        tokens[row, start : start + len(written)] = written
        places[row] = np.arange(start - 1, start - 1 + LENGTH)
    logits = scores(model, tokens, places)
    with jax.enable_x64(True):
        exact = scores(in_float64(model), tokens[:IN_FLOAT64], places[:IN_FLOAT64])
    answers = []
    for row, prompt in enumerate(prompts):
        count = len(found.row(row))
        wide = exact[row, :count] if row < IN_FLOAT64 else None
        answers.append(Answer(list(prompt), found.row(row), logits[row, :count], wide))
    return answers


def scores(model: Any, tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Logits (rows, places, vocabulary) of whole texts, at some of their places."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    graph, state = nnx.split(model)

    @jax.jit
    def compute(state, tokens, places):
        model = nnx.merge(graph, state)
        hidden = getattr(model, "core", model)(model.embed(tokens)).hidden
        return model.logits(jnp.take_along_axis(hidden, places[..., None], axis=1))

    return np.asarray(compute(state, tokens, places))


def in_float64(model: Any) -> Any:
    """The same networks with the same numbers, computing in float64. `model` is used up."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    for _, module in nnx.iter_modules(model):
        if hasattr(module, "dtype"):
            module.dtype = jnp.float64
    graph, state = nnx.split(model)
    return nnx.merge(
        graph, jax.tree.map(lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x, state)
    )


def answer_twice(config: Any, workdir: Path, release: Path, folder: Path, asked: Sequence[Any]) -> None:
    """Writes our answers with the run and with the rounded language model of the release into `folder`."""
    import jax.numpy as jnp

    from converters import convert
    from converters.registry import find_conversion
    from empatheia_jax import weights
    from empatheia_jax.conversation.schema import Profile, Utterance
    from empatheia_jax.core.llama import Llama
    from empatheia_jax.core.llama_config import LlamaConfig
    from empatheia_jax.dialogue.trained_model import trained
    from empatheia_jax.dialogue.writer import Question, Writer
    from empatheia_jax.runs.run import Run

    assembly = trained(config, Run(workdir))
    writer, listener = Writer.of(config, assembly, None), Profile(*(release_parity.LISTENER[key] for key in PROFILE))
    histories = [
        [Utterance(index=place, role=each["role"], text=each["text"]) for place, each in enumerate(said)]
        for said in asked
    ]
    prompts = [writer.prompt(Question(history, {}, listener)).tokens.tolist() for history in histories]
    end = assembly.tokenizer.eos_id
    save(folder / RUN, answer_here(assembly.model, prompts, end))
    read_back = folder / "merged"
    convert.to_weights(find_conversion("llama"), release / "merged", read_back, "float32", overwrite=True)
    model = weights.restore(read_back, Llama, LlamaConfig, kind="llama", dtype=jnp.float32)
    save(folder / ROUNDED, answer_here(model, prompts, end))


def save(path: Path, answers: Sequence[Answer]) -> None:
    """Answers in one file."""
    stored = {f"{n}.{key}": value for n, each in enumerate(answers) for key, value in vars(each).items()}
    np.savez(path, **{key: value for key, value in stored.items() if value is not None})


def load(path: Path) -> list[Answer]:
    """What `save` wrote."""
    with np.load(path) as stored:
        count = sum(key.endswith(".tokens") for key in stored.files)
        return [
            Answer(
                stored[f"{n}.prompt"].tolist(),
                stored[f"{n}.tokens"].tolist(),
                stored[f"{n}.logits"],
                stored.get(f"{n}.in_float64"),
            )
            for n in range(count)
        ]


def gguf_file(release: Path) -> Path:
    """The GGUF file of a release."""
    (path,) = (release / "gguf").iterdir()
    return path


def widen(source: Path, target: Path) -> None:
    """Copies a GGUF file; its numbers stay the same and are stored as float32."""
    import gguf

    read, writer = gguf.GGUFReader(source), gguf.GGUFWriter(target, "llama")
    for name, field in read.fields.items():
        if name == "general.file_type":
            writer.add_file_type(int(gguf.LlamaFileType.ALL_F32))
        elif name != "general.architecture" and not name.startswith("GGUF."):
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ------------------------------------------------------------------------------------------------ the readers


def messages(release: Path, history: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """A dialogue in the words of a chat template: the instruction with whose reply it is, then what was said."""
    prompt = json.loads((release / "config.json").read_text(encoding="utf-8"))["prompt"]
    listener = " ".join(release_parity.LISTENER[key] for key in PROFILE)
    roles = {"speaker": "user", "listener": "assistant"}
    instruction = f"{prompt['instruction']}\n{prompt['personas'][listener]}"
    said = [{"role": roles[each["role"]], "content": each["text"]} for each in history]
    return [{"role": "system", "content": instruction}, *said]


def answer_in_torch(name: str, release: Path, base: Path, asked: Sequence[Any]) -> list[Answer]:
    """Greedy answers by PEFT or transformers, in one batch, padded on the left."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    torch.set_num_threads(1)

    def model_of(folder: Path, **others: Any) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype="float32", **others)

    if name == "adapter":
        plain = model_of(base)
        added = len(json.loads((release / "config.json").read_text(encoding="utf-8"))["added_tokens"])
        plain.resize_token_embeddings(plain.config.vocab_size + added, mean_resizing=False)
        model = peft.PeftModel.from_pretrained(plain, release, subfolder="adapter")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            release
        )  # `AutoTokenizer` would ask to trust the code there
    elif name == "lora":
        model = peft.PeftModel.from_pretrained(model_of(release / "base_with_tokens"), release / "lora")
        tokenizer = AutoTokenizer.from_pretrained(release / "base_with_tokens")
    elif name == "merged":
        model = model_of(release / "merged")
        tokenizer = AutoTokenizer.from_pretrained(release / "merged")
    else:
        file = {"gguf_file": gguf_file(release).name}
        model = model_of(release / "gguf", **file)
        tokenizer = AutoTokenizer.from_pretrained(release / "gguf", **file)
    tokenizer.padding_side, end = "left", tokenizer.eos_token_id
    inputs = tokenizer.apply_chat_template(
        [messages(release, said) for said in asked],
        add_generation_prompt=True,
        padding=True,
        return_dict=True,
        return_tensors="pt",
    )
    given = {"do_sample": False, "max_new_tokens": LENGTH, "eos_token_id": end, "pad_token_id": end}
    shape = inputs["input_ids"].shape
    print(f"{name}: {shape[0]} prompts of at most {shape[1]} tokens", file=sys.stderr, flush=True)
    with torch.no_grad():
        found = model.eval().generate(**inputs, **given, output_logits=True, return_dict_in_generate=True)
    written = found.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    answers = []
    for row, tokens in enumerate(written):
        count = tokens.index(end) + 1 if end in tokens else len(tokens)
        prompt = inputs["input_ids"][row][inputs["attention_mask"][row] > 0].tolist()
        answers.append(Answer(prompt, tokens[:count], np.stack([step[row].numpy() for step in found.logits[:count]])))
    model.double()
    for row, each in enumerate(answers[:IN_FLOAT64]):
        with torch.no_grad():
            again = model(input_ids=torch.tensor([[*each.prompt, *each.tokens]])).logits[0, len(each.prompt) - 1 : -1]
        answers[row] = dataclasses.replace(each, in_float64=again.numpy())
    return answers


def answer_in_llama_cpp(path: Path, texts: Sequence[str]) -> list[Answer]:
    """Greedy answers by llama.cpp. It does not tell the ids of a prompt; `prompt` has as many zeros as it read."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(path)
    settings.n_ctx, settings.n_parallel, settings.n_gpu_layers, settings.warmup = 1024, 1, 0, False
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    settings.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    server, answers = xllamacpp.Server(settings), []
    for number, text in enumerate(texts):
        asked = {"prompt": text, "max_tokens": LENGTH, "temperature": 0, "cache_prompt": False}
        said = server.handle_completions({**asked, "return_tokens": True, "verbose": True})
        found = (json.loads(said) if isinstance(said, str) else said)["__verbose"]
        answers.append(Answer([0] * found["tokens_evaluated"], found["tokens"], None))
        print(f"{path.name}: answered {number + 1} of {len(texts)}", file=sys.stderr, flush=True)
    return answers


def read(name: str, release: Path, base: Path, folder: Path) -> list[Answer]:
    """The answers of one reader."""
    asked = json.loads((folder / "asked.json").read_text(encoding="utf-8"))
    if not name.startswith("llama.cpp"):
        return answer_in_torch(name, release, base, asked)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(release / "merged")  # for its chat template alone
    texts = [
        tokenizer.apply_chat_template(messages(release, said), add_generation_prompt=True, tokenize=False)
        for said in asked
    ]
    return answer_in_llama_cpp(gguf_file(release) if name == "llama.cpp" else folder / FLOAT32_FILE, texts)


def compare(answers: Sequence[Answer], ours: Sequence[Answer], end: int) -> dict[str, Any]:
    """How many prompts and answers are equal, how far logits lie apart as long as the tokens are equal, and where they part.

    end: the token that ends an answer; llama.cpp does not count it.
    """
    prompts, equal, count, farthest, parted = 0, 0, 0, 0.0, []
    for number, (theirs, own) in enumerate(zip(answers, ours, strict=True)):
        assert own.logits is not None
        known = any(theirs.prompt)
        prompts += theirs.prompt == own.prompt if known else len(theirs.prompt) == len(own.prompt)
        tokens = theirs.tokens + [end] * (own.tokens[-1] == end and theirs.tokens == own.tokens[:-1])
        pairs = zip(tokens, own.tokens)
        place = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(tokens), len(own.tokens)))
        same = tokens == own.tokens
        equal, count = equal + same, count + place
        if theirs.logits is not None:
            shared = slice(0, place + (not same))
            farthest = max(farthest, float(np.abs(theirs.logits[shared] - own.logits[shared]).max()))
        if not same:
            a, b = (row[place] if place < len(row) else end for row in (own.tokens, tokens))
            apart = round(float(own.logits[place][a] - own.logits[place][b]), 4) if place < len(own.tokens) else None
            parted.append({"answer": number, "place": place, "apart": apart})
    found: dict[str, Any] = {
        "answers": len(ours),
        "prompts_equal": prompts,
        "answers_equal": equal,
        "tokens_equal": count,
    }
    if all(each.logits is not None for each in answers):
        found |= {"logits_differ": farthest, "largest_logit": max(float(np.abs(each.logits).max()) for each in ours)}
    wide = [
        (each, own)
        for each, own in zip(answers, ours, strict=True)
        if each.in_float64 is not None and own.in_float64 is not None and each.tokens == own.tokens
    ]
    if wide:
        found["float64_differ"] = max(float(np.abs(each.in_float64 - own.in_float64).max()) for each, own in wide)
        found["their_rounding"] = max(float(np.abs(each.in_float64 - each.logits).max()) for each, _ in wide)
        found["our_rounding"] = max(float(np.abs(own.in_float64 - own.logits).max()) for _, own in wide)
        found["their_float32_from_our_float64"] = max(
            float(np.abs(each.logits - own.in_float64).max()) for each, own in wide
        )
    return {**found, "parted": parted}


def passes(reader: Reader, found: Mapping[str, Any]) -> bool:
    """Whether a reader writes what we write, where it must."""
    right = found["prompts_equal"] == found["answers"]
    if reader.exact:
        right = right and found["answers_equal"] == found["answers"] and found.get("float64_differ", 0.0) <= TOLERANCE
    return right and found.get("logits_differ", 0.0) <= FLOAT32_PART * found.get("largest_logit", 0.0)


# ------------------------------------------------------------------------------------------------ the command


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks.release_readers")
    parser.add_argument("--read", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument(
        "--weights", type=Path, default=Path("weights"), help="the folder of smollm2-135m-instruct and kokoro"
    )
    parser.add_argument("--workdir", type=Path, help="a trained run (default: the starter alone)")
    parser.add_argument("--release", type=Path, help=f"its release with {PARTS} (default: it is exported)")
    parser.add_argument("--folder", type=Path, required=True, help="where to work")
    parser.add_argument("--prompts", type=int, default=20)
    if "--read" in sys.argv:  # one reader, in its process
        name, *paths = sys.argv[sys.argv.index("--read") + 1 :]
        release, base, folder = map(Path, paths)
        answers, reader = read(name, release, base, folder), READERS[name]
        end = json.loads((release / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
        found = compare(answers, load(folder / reader.reference), end)
        print("\n" + json.dumps({name: reader.about, **found, "passes": passes(reader, found)}))
        return 0
    options = parser.parse_args()
    from converters.release import export

    options.folder.mkdir(parents=True, exist_ok=True)
    workdir = options.workdir or options.folder / "no-run"
    config = release_parity.configuration(options.weights, workdir)
    release = options.release or options.folder / "release"
    if not release.exists():
        export.run(config, workdir, release, PARTS)
    base = release_parity.base_folder(config, options.folder / "base")
    asked = questions(options.prompts)
    (options.folder / "asked.json").write_text(json.dumps(asked), encoding="utf-8")
    answer_twice(config, workdir, release, options.folder, asked)
    end = json.loads((release / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    found = compare(load(options.folder / ROUNDED), load(options.folder / RUN), end)
    print(json.dumps({"rounded": "we with merged against we with the run", **found}), flush=True)
    names, done = list(READERS), True
    if importlib.util.find_spec("xllamacpp") is None:
        print("llama.cpp is not asked; pip install xllamacpp", file=sys.stderr)
        names = [name for name in names if not name.startswith("llama.cpp")]
    else:
        widen(gguf_file(release), options.folder / FLOAT32_FILE)
    for name in names:
        command = [sys.executable, "-m", "benchmarks.release_readers", "--read", name]
        command += [str(path) for path in (release, base, options.folder)]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, stdin=subprocess.DEVNULL)
        said = run.stdout.splitlines()[-1]
        done = done and json.loads(said)["passes"]
        print(said, flush=True)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
