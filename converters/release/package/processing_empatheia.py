"""From a dialogue to the tokens of a prompt, exactly as in the training, and from tokens back to text.

    processor = AutoProcessor.from_pretrained("RELEASE", trust_remote_code=True)
    inputs = processor(
        [{"role": "speaker", "text": "My boss said she is disappointed."}],
        listener={"age": "young", "gender": "female", "tone": "mild"},
        speech={0: features},   # by place in the history: (frames, width) of the speech encoder, see the model card
        video={0: features},
    )

What people say never becomes a control token: templates are rendered with placeholders, and the words of people are given to a
tokenizer in which control tokens have names that nobody can guess.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any

import tokenizers
import torch
from transformers import PreTrainedTokenizerFast, ProcessorMixin

from .configuration_empatheia import EmpatheiaConfig

Part = tuple[str, bool]
"""A text, and whether control tokens written in it are meant."""
_MARKUP = re.compile(r"[<\[{｜].+[>\]}｜]", re.DOTALL)
_SECRET = str(secrets.randbits(96))
_PLACEHOLDER = re.compile(rf"{_SECRET}-(\d+)-")
_LONGEST_WORD = 40


def one_line(text: str) -> str:
    """Blanks and line breaks → one blank."""
    return " ".join(text.split())


def pool(rows: Any, places: int) -> torch.Tensor:
    """Features (T, C) of a recording → (places, C): means over equal spans of time."""
    rows = torch.as_tensor(rows, dtype=torch.float64)
    if len(rows) == places:
        return rows.float()
    edges = torch.linspace(0, len(rows), places + 1, dtype=torch.float64)
    starts = (edges[:-1] + 1e-9).floor().long().clamp(max=len(rows) - 1)
    ends = torch.maximum((edges[1:] - 1e-9).ceil().long(), starts + 1)
    return torch.stack([rows[a:b].mean(0) for a, b in zip(starts.tolist(), ends.tolist())]).float()


class EmpatheiaProcessor(ProcessorMixin):
    """Prompts and texts of one release. `tokenizer` has the added tokens; `config` is the release's."""

    attributes = ["tokenizer"]
    tokenizer_class = "PreTrainedTokenizerFast"

    def __init__(self, tokenizer: Any = None, config: EmpatheiaConfig | None = None, **_: Any):
        super().__init__(tokenizer)
        self.config = config
        self.prompt = config.prompt if config is not None else {}

    @classmethod
    def from_pretrained(cls, release: str | os.PathLike, **others: Any) -> EmpatheiaProcessor:  # type: ignore[override]
        """From the folder of a release, or its name on the hub."""
        names = ("revision", "token", "cache_dir", "force_download", "local_files_only")
        hub = {key: others[key] for key in names if others.get(key) is not None}
        tokenizer = PreTrainedTokenizerFast.from_pretrained(release, **hub)
        return cls(tokenizer, EmpatheiaConfig.from_pretrained(release, **hub))

    # -------------------------------------------------------------------------------------------- texts and tokens

    @cached_property
    def _guarded(self) -> tuple[tokenizers.Tokenizer, dict[str, str], dict[int, int]]:
        """The tokenizer with secret names for control tokens: (backend, name of each, its ids → the real ones)."""
        plain = self.tokenizer.backend_tokenizer
        spec = json.loads(plain.to_str())
        secret = secrets.token_hex(8)
        added = [entry["content"] for entry in spec["added_tokens"]]
        control = [e["content"] for e in spec["added_tokens"] if e["special"] or _MARKUP.fullmatch(e["content"])]
        names = {content: f"q{secret}x{number}q" for number, content in enumerate(control)}
        for entry in spec["added_tokens"]:
            entry["content"] = names.get(entry["content"], entry["content"])
        model = spec["model"]
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {names.get(piece, piece): i for piece, i in model["vocab"].items()}
        else:
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        if "merges" in model:
            halves = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
            kept = [not ({left, right, left + right} & names.keys()) for left, right in halves]
            model["merges"] = [merge for merge, keep in zip(model["merges"], kept) if keep]
        spec["post_processor"] = spec["padding"] = spec["truncation"] = None
        backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
        inner = {content: backend.token_to_id(names.get(content, content)) for content in added}
        ids = {token: plain.token_to_id(content) for content, token in inner.items() if token is not None}
        return backend, names, ids

    def encode_parts(self, parts: Sequence[Part]) -> list[int]:
        """Ids of a text in parts; control tokens count in trusted parts alone."""
        backend, names, ids = self._guarded
        ordered = sorted(names, key=len, reverse=True)
        pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
        text = "".join(
            pattern.sub(lambda found: names[found[0]], piece) if trusted and pattern else piece
            for piece, trusted in parts
        )
        return [ids.get(i, i) for i in backend.encode(text, add_special_tokens=False).ids]

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        """The text of some tokens, without control tokens."""
        return self.tokenizer.backend_tokenizer.decode(list(tokens), skip_special_tokens=True)

    def parse(self, text: str, tokens: Sequence[int]) -> tuple[dict[str, str | None], list[int]]:
        """Fields of an answer that was written freely, and which tokens wrote its response."""
        body = text.partition(self.prompt["end"])[0]
        keys = self.prompt["steps"]
        pieces = re.split(r"[^\S\n]*Step-([1-5])\b[^:\n]*:[^\S\n]*", body)
        found: dict[str, str | None] = dict.fromkeys(keys)
        for number, value in reversed(list(zip(pieces[1::2], pieces[2::2]))):
            found[keys[int(number) - 1]] = value.strip() or None
        emotion = re.search(r"<emo>\s*(.*?)\s*</emo>", body, re.DOTALL)
        if emotion:
            found["speaker_emotion"] = emotion.group(1)
        response = found["response"] or ""
        if len(pieces) == 1:
            response = (body[emotion.end() :] if emotion else body).strip()
        found["response"] = response
        ends = [len(self.decode(tokens[: n + 1])) for n in range(len(tokens))]
        first = self.decode(tokens).rfind(response)
        at = [k for k, (a, b) in enumerate(zip([0, *ends[:-1]], ends)) if a < first + len(response) and b > first]
        return found, at

    # -------------------------------------------------------------------------------------------- the prompt

    def _persona(self, listener: Mapping[str, str] | None) -> str:
        if listener is None or not self.prompt["persona"]:
            return ""
        name = " ".join(listener[key] for key in ("age", "gender", "tone"))
        if name not in self.prompt["personas"]:
            raise ValueError(f"listener {name!r} is unknown; expected one of {', '.join(self.prompt['personas'])}")
        return "\n" + self.prompt["personas"][name]

    def _parts(
        self, history: Sequence[Mapping[str, str]], persona: str, heard: Mapping[str, Collection[int]]
    ) -> list[Part]:
        contents: list[list[Part]] = [[(self.prompt["instruction"] + persona, False)]]
        roles = ["system"]
        for place, each in enumerate(history):
            runs = "".join(run for kind, run in self.prompt["runs"].items() if place in heard[kind])
            contents.append([*([(f"{runs} ", True)] if runs else []), (one_line(each["text"]), False)])
            roles.append("user" if each["role"] == "speaker" else "assistant")
        places = [{"role": role, "content": f"{_SECRET}-{n}-"} for n, role in enumerate(roles)]
        rendered = self.tokenizer.apply_chat_template(places, tokenize=False, add_generation_prompt=True)
        pieces = _PLACEHOLDER.split(rendered)
        parts: list[Part] = [(pieces[0], True)]
        for number, text in zip(pieces[1::2], pieces[2::2]):
            parts += [*contents[int(number)], (text, True)]
        return parts

    def _ids(
        self, history: Sequence[Mapping[str, str]], persona: str, heard: Mapping[str, Collection[int]]
    ) -> list[int]:
        runs = {self.tokenizer.convert_tokens_to_ids(run) for run in self.prompt["runs"].values()}
        begin, end = self.prompt["frame"]
        ids = self.encode_parts(self._parts(history, persona, heard))
        begin = [] if ids[: len(begin)] == begin else begin
        slots = self.prompt["slots"]
        return [*begin, *(each for token in ids for each in ([token] * slots if token in runs else [token])), *end]

    def encode(
        self,
        history: Sequence[Mapping[str, str]],
        listener: Mapping[str, str] | None = None,
        speech: Collection[int] = (),
        video: Collection[int] = (),
    ) -> tuple[list[int], dict[str, list[int]]]:
        """Ids of a prompt, and whose recordings stand in it by kind. The oldest utterances go until it fits.

        Raises ValueError where the history does not end with the speaker, or nothing fits.
        """
        if not history or history[-1]["role"] != "speaker":
            raise ValueError(
                "the dialogue history is empty or ends with the listener; it must end with what the speaker said"
            )
        roles = ("speaker", "listener") if self.prompt["listener_media"] else ("speaker",)
        last_heard = [i for i, each in enumerate(history) if each["role"] in roles][-self.prompt["utterances"] :]
        given = {"speech": speech, "video": video}
        kept = {
            k: [i for i in last_heard if i in v] if k in self.prompt["modalities"] else [] for k, v in given.items()
        }
        room, persona = self.prompt["max_length"] - self.prompt["answer_length"], self._persona(listener)

        def prompt(first: int, said: Sequence[Mapping[str, str]]) -> list[int]:
            return self._ids(said, persona, {k: [i - first for i in v if i >= first] for k, v in kept.items()})

        last = len(history) - 1
        for first in (i for i, each in enumerate(history) if i == last or each["role"] == "speaker"):
            ids = prompt(first, history[first:])
            if len(ids) <= room:
                return ids, {k: [i for i in v if i >= first] for k, v in kept.items()}
        text = one_line(history[last]["text"])

        def ending(length: int) -> list[int]:
            return prompt(last, [{**history[last], "text": text[len(text) - length :]}])

        length = _longest(lambda n: len(ending(n)) <= room, len(text))
        if not length:
            raise ValueError(f"the instruction and the media of the last utterance do not fit into {room} tokens")
        start = len(text) - length
        if start and text[start - 1] != " ":
            blank = text.find(" ", start, start + _LONGEST_WORD)
            length = length if blank < 0 else len(text) - blank - 1
        return ending(length), {k: [i for i in v if i >= last] for k, v in kept.items()}

    def __call__(  # type: ignore[override]
        self,
        history: Sequence[Any],
        listener: Any = None,
        speech: Any = None,
        video: Any = None,
    ) -> dict[str, torch.Tensor | None]:
        """Prompts, padded on the left: `input_ids`, `attention_mask`, `speech_features`, `video_features`.

        Args:
          history: one dialogue, [{"role": "speaker" | "listener", "text": …}, …], or a list of them.
          listener: {"age", "gender", "tone"} whose reply is wanted, or None; a list of them for several dialogues.
          speech, video: {place in the history: features (T, width)}; a list of them for several dialogues.
        """
        many = bool(history) and not isinstance(history[0], Mapping)
        dialogues = list(history) if many else [history]
        empty: list[Any] = [None] * len(dialogues)
        listeners = (listener or empty) if many else [listener]
        given = {
            "speech": [each or {} for each in ((speech or empty) if many else [speech])],
            "video": [each or {} for each in ((video or empty) if many else [video])],
        }
        encoded = [
            self.encode(said, who, given["speech"][row], given["video"][row])
            for row, (said, who) in enumerate(zip(dialogues, listeners))
        ]
        longest = max(len(ids) for ids, _ in encoded)
        result: dict[str, torch.Tensor | None] = {
            "input_ids": torch.tensor([[0] * (longest - len(ids)) + ids for ids, _ in encoded]),
            "attention_mask": torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in encoded]),
        }
        for kind, features in given.items():
            rows = [
                [pool(features[row][i], self.prompt["slots"]) for i in kept[kind]]
                for row, (_, kept) in enumerate(encoded)
            ]
            most = max(map(len, rows))
            if not most:
                result[f"{kind}_features"] = None
                continue
            width = next(each.shape[1] for row in rows for each in row)
            filled = torch.zeros(len(rows), most * self.prompt["slots"], width)
            for number, row in enumerate(rows):
                if row:
                    filled[number, : len(row) * self.prompt["slots"]] = torch.cat(row)
            result[f"{kind}_features"] = filled
        return result


def _longest(fits: Callable[[int], bool], most: int) -> int:
    """The largest n up to `most` with `fits(n)`, 0 where 1 does not fit; what fits must fit when it is less."""
    low, high = 0, 1
    while high <= most and fits(high):
        if high == most:
            return most
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
