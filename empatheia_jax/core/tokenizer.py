"""Text ⇄ token ids, and the chat template of a checkpoint.

A weights folder keeps its tokenizer as released: `tokenizer.json`, with `tokenizer_config.json` (names of the special
tokens, chat template) beside it. `converters` rebuilds both where a release has them in another form (GGUF metadata,
SentencePiece).
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object
from empatheia_jax.tokens import ADDED_TOKENS

Message = Mapping[str, str]
Part = tuple[str, bool]
"""A text, and whether control tokens written in it are meant: False for everything that a user or a file says."""
DAY = datetime.datetime(2024, 7, 26)
"""The day that every chat template is told: the one that Llama 3's has where nobody tells it. It must not be the clock's. A reply
would then be asked in other words than the training, and a training in others after midnight.
"""
_DIRECTIVES = [f"%{flag}{letter}" for flag in ("-", "") for letter in "aAbBcdDeFHIjmMpSTwxXyY"]
_FIXED_DAY = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f" | replace('{each}', '{DAY.strftime(each)}')" for each in _DIRECTIVES)
    + " }}{%- endmacro -%}"
)
"""Takes the place of the function of this name, in any reader of Jinja."""
_MARKUP = re.compile(r"[<\[{｜].+[>\]}｜]", re.DOTALL)


class Tokenizer:
    """A checkpoint's own tokenizer plus the tokens that Empatheia adds.

    An added token's id follows the rows of the embedding table (`vocab_size`), which a release may have padded beyond
    the tokens that its tokenizer knows; it is one id wherever it stands in a text.

    Attributes:
      vocab_size: rows of the base model's embedding table; the id of the first added token.
      added_tokens: in the order of their ids; control tokens, which `decode` leaves out.
      words: further added tokens, which are part of a text: what the vocabulary has no pieces for.
      frame: ids that the checkpoint wants before and after a prompt.
      add_bos: False = the checkpoint names a BOS token, but wants none before a text.
      bos_id, eos_id, pad_id: ids, None where the checkpoint has none.
      chat_template: Jinja source, None where the checkpoint has none. One that asks for the day is told `DAY`.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        vocab_size: int,
        added_tokens: Sequence[str] = ADDED_TOKENS,
        words: Sequence[str] = (),
        bos: str | None = None,
        eos: str | None = None,
        pad: str | None = None,
        chat_template: str | None = None,
        add_bos: bool = True,
    ):
        backend = tokenizers.Tokenizer.from_str(backend.to_str())  # tokens are added below: not to the caller's
        backend.no_padding()
        backend.no_truncation()
        if backend.get_vocab_size() > vocab_size:
            raise UserError(
                f"the tokenizer has {backend.get_vocab_size()} tokens and the model only {vocab_size} rows; "
                "they are not of the same checkpoint"
            )
        taken = sorted(token for token in (*added_tokens, *words) if backend.token_to_id(token) is not None)
        if taken:
            raise UserError(f"the tokenizer already has the tokens {', '.join(taken)}, which were to be added")
        self._own = set(backend.get_added_tokens_decoder())
        backend.add_special_tokens([AddedToken(token, normalized=False) for token in added_tokens])
        backend.add_tokens([AddedToken(word, normalized=False) for word in words])
        self._backend = backend
        if chat_template is not None and "strftime_now" in chat_template and _FIXED_DAY not in chat_template:
            chat_template = _FIXED_DAY + chat_template
        self.vocab_size, self.added_tokens, self.chat_template = vocab_size, tuple(added_tokens), chat_template
        self.words, self.add_bos = tuple(words), add_bos
        new = [(backend.token_to_id(token), i) for i, token in enumerate((*added_tokens, *words))]
        self._outer = {token: vocab_size + i for token, i in new if token is not None}
        self._inner = {outer: inner for inner, outer in self._outer.items()}
        self._names = {"bos_token": bos, "eos_token": eos, "pad_token": pad}
        self.bos_id, self.eos_id, self.pad_id = (
            None if name is None else self.token_id(name) for name in self._names.values()
        )

    @classmethod
    def load(
        cls, folder: str | Path, added_tokens: Sequence[str] = ADDED_TOKENS, words: Sequence[str] = ()
    ) -> Tokenizer:
        """From a weights folder, or from the folder of a Hugging Face release.

        Raises: UserError where a file is missing or cannot be read.
        """
        folder = Path(folder)
        config = read_json_object(folder / "config.json", "the config of a language model")
        rows = config.get("config", config)
        rows = rows if isinstance(rows, dict) else {}
        vocab_size = rows.get("vocab_size", rows.get("padded_vocab_size"))
        if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
            raise UserError(f"{folder}/config.json has no vocab_size; is it a language model's?")
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise UserError(f"{folder} has no tokenizer.json; convert the checkpoint together with its tokenizer files")
        try:
            backend = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise UserError(f"{path} cannot be read: {error}") from error
        beside = folder / "tokenizer_config.json"
        settings = read_json_object(beside, "the settings of a tokenizer") if beside.is_file() else {}
        names = {key: _token_name(settings, f"{key}_token", beside) for key in ("bos", "eos", "pad")}
        return cls(
            backend,
            vocab_size=vocab_size,
            added_tokens=added_tokens,
            words=words,
            chat_template=_template_of(folder, settings.get("chat_template")),
            add_bos=_adds_bos(settings, backend, names["bos"]),
            **names,
        )

    def __len__(self) -> int:
        """Base rows and added tokens together."""
        return self.vocab_size + len(self.added_tokens) + len(self.words)

    @property
    def names(self) -> dict[str, str | None]:
        """`bos_token`, `eos_token`, `pad_token` by name, as the checkpoint calls them."""
        return dict(self._names)

    def to_json(self) -> str:
        """`tokenizer.json` in which every added token has its own id. Rows of the base that no token has get one that stands
        for nothing, since the format numbers tokens without gaps.
        """
        if all(inner == outer for inner, outer in self._inner.items()):
            return self._backend.to_str()
        spec = json.loads(self._backend.to_str())
        mine = {*self.added_tokens, *self.words}
        spec["added_tokens"] = [entry for entry in spec["added_tokens"] if entry["content"] not in mine]
        backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
        unused = range(backend.get_vocab_size(), self.vocab_size)
        backend.add_special_tokens([AddedToken(f"<|unused_row_{row}|>", normalized=False) for row in unused])
        backend.add_special_tokens([AddedToken(token, normalized=False) for token in self.added_tokens])
        backend.add_tokens([AddedToken(word, normalized=False) for word in self.words])
        wrong = [token for token in mine if backend.token_to_id(token) != self.token_id(token)]
        if wrong:
            raise UserError(
                f"the base's tokenizer numbers its tokens with gaps, so that {wrong[0]} cannot get its id in tokenizer.json"
            )
        return backend.to_str()

    @cached_property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The BOS token where the checkpoint names one and wants it; otherwise what its tokenizer puts around a text by
        itself (T5: EOS after it; ChatGLM: two tokens before it).
        """
        if self.bos_id is not None:
            return ((self.bos_id,) if self.add_bos else ()), ()
        plain, framed = (self._backend.encode("a", add_special_tokens=around).ids for around in (False, True))
        places = [i for i in range(len(framed)) if framed[i : i + len(plain)] == plain]
        first = places[0] if places else 0
        return tuple(framed[:first]), tuple(framed[first + len(plain) :])

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without a token before or after it; special tokens written in the text become their ids.

        For texts of our own alone. What a user or a file says goes through `encode_parts`.
        """
        return [self._outer.get(i, i) for i in _ids(self._backend, text)]

    def encode_parts(self, parts: Iterable[Part]) -> list[int]:
        """Ids of a text given in parts, without a token before or after it.

        Control tokens written in the text become their ids in parts that are trusted. In the others they are letters
        like any: no spelling of them, nested or broken up, gives a control id. Apart from that the ids are those of
        `encode` on the joined text; letters join across the borders of parts.
        """
        backend, names, ids = self._guarded
        pattern = self._control_pattern
        text = "".join(
            pattern.sub(lambda found: names[found[0]], text) if trusted and pattern else text for text, trusted in parts
        )
        return [ids.get(i, i) for i in _ids(backend, text)]

    @cached_property
    def _control_pattern(self) -> re.Pattern[str] | None:
        """Finds control tokens in a trusted text, the longest first as the backend does; None where there are none."""
        names = sorted(self._guarded[1], key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names))) if names else None

    @cached_property
    def _guarded(self) -> tuple[tokenizers.Tokenizer, dict[str, str], dict[int, int]]:
        """The same tokenizer, in which control tokens have names that nobody can guess: (backend, name of each control
        token, its ids → ours). Their pieces in the vocabulary are renamed too, since a unigram model would find them.
        """
        spec = json.loads(self._backend.to_str())
        secret = secrets.token_hex(8)
        # Tokens that are not special but look like markup (turn marks of DeepSeek, <think> of Qwen) count as control.
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
            model["merges"] = [merge for merge in model["merges"] if names.keys().isdisjoint(_made_by(merge))]
        spec["post_processor"] = None
        backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
        added = [e["content"] for e in json.loads(self._backend.to_str())["added_tokens"]]
        inner = {content: backend.token_to_id(names.get(content, content)) for content in added}
        ids = {token: self.token_id(content) for content, token in inner.items() if token is not None}
        return backend, names, ids

    def writes_blanks(self, token: int) -> bool:
        """Whether a token is text and stands for blanks alone, as the lone `▁` of SentencePiece does."""
        return token not in self.special_ids and not self.decode([token]).strip()

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of some ids; control tokens and added tokens are left out or written by name."""
        inner = [self._inner.get(int(i), int(i)) for i in ids]
        return self._backend.decode(inner, skip_special_tokens=skip_special)

    def texts(self) -> list[str]:
        """What each token writes when it stands alone, by its id; "" for control tokens and unused rows."""
        return list(self._texts)

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        inner = [[self._inner.get(token, token)] for token in range(len(self))]
        return tuple(self._backend.decode_batch(inner, skip_special_tokens=True))

    def token_id(self, token: str) -> int:
        """Id of one token by its name. Raises UserError where there is none."""
        found = self._backend.token_to_id(token)
        if found is None:
            raise UserError(f"the tokenizer has no token {token!r}")
        return self._outer.get(found, found)

    def has(self, *tokens: str) -> bool:
        """Whether all of these are tokens by name."""
        return all(self._backend.token_to_id(token) is not None for token in tokens)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of control tokens and added tokens."""
        return frozenset(self._own) | {
            outer for outer in self._inner if outer < self.vocab_size + len(self.added_tokens)
        }

    def chat(self, messages: Sequence[Message], generation_prompt: bool = True) -> str:
        """The conversation in the checkpoint's own chat format, by default up to where the answer begins.

        Args:
          messages: {"role": "system" | "user" | "assistant", "content": text}, in order.
          generation_prompt: end with the opening of the assistant's turn.
        Raises: UserError where the checkpoint has no template, or its template refuses the messages.
        """
        if self.chat_template is None:
            raise UserError("the checkpoint has no chat template; choose --config.data.chat_template=human_assistant")
        # Templates are written for transformers: its own function knows `strftime_now`, `{% generation %}` and the rest.
        from transformers.utils.chat_template_utils import render_jinja_template

        names: dict[str, Any] = {name: token or "" for name, token in self._names.items()}
        try:
            rendered: Any = render_jinja_template(
                [[dict(message) for message in messages]],
                chat_template=self.chat_template,
                add_generation_prompt=generation_prompt,
                **names,
            )
            (text,), _ = rendered
        except Exception as error:  # a template is a program of somebody else's: it may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(
                f"the checkpoint's chat template cannot be used ({reason}); repair it, or choose "
                "--config.data.chat_template=human_assistant"
            ) from error
        return text

    def stream(self) -> TextStream:
        """A decoder for tokens that arrive one at a time."""
        return TextStream(self)


class TextStream:
    """Turns tokens into text as they come; holds back bytes that do not yet make a character."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._told = tokenizer, ""
        self._ids: list[int] = []

    @property
    def text(self) -> str:
        """All text so far."""
        return self._tokenizer.decode(self._ids)

    def push(self, token: int) -> str:
        """The text that became certain with this token, possibly empty."""
        self._ids.append(int(token))
        text = self.text
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        new, self._told = text[len(self._told) :], text
        return new


def _made_by(merge: str | Sequence[str]) -> set[str]:
    """Both halves of a BPE merge and what they give. Older files write a merge as one text."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return {left, right, left + right}


def _ids(backend: tokenizers.Tokenizer, text: str) -> list[int]:
    """Raises UserError for half a surrogate pair, which JSON and a command line can hold and no encoding of text can."""
    try:
        return backend.encode(text, add_special_tokens=False).ids
    except TypeError:
        wrong = next(c for c in text if "\ud800" <= c <= "\udfff")
        raise UserError(
            f"a text holds a lone surrogate ({wrong!r}), which is no character; write it again, in UTF-8"
        ) from None


def _token_name(settings: Mapping[str, Any], key: str, where: Path) -> str | None:
    entry = settings.get(key)
    name = entry.get("content") if isinstance(entry, Mapping) else entry
    if name is not None and not isinstance(name, str) or (entry is not None and name is None):
        raise UserError(f"{where}: {key} is {str(entry)[:80]!r}; expected the name of a token")
    return name


def _template(entry: Any, where: Path) -> str | None:
    """`chat_template` of a tokenizer_config.json: one template, or several by name of which "default" counts."""
    if isinstance(entry, list):
        named = {each.get("name"): each.get("template") for each in entry if isinstance(each, Mapping)}
        entry = named.get("default")
    if entry is not None and not isinstance(entry, str):
        raise UserError(f"{where}: chat_template is a {type(entry).__name__}; expected a text")
    return entry


def _template_of(folder: Path, entry: Any) -> str | None:
    """The template of a release: its own file, or an entry of `tokenizer_config.json`."""
    path = folder / "chat_template.jinja"
    if not path.is_file():
        return _template(entry, folder / "tokenizer_config.json")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


_WITH_BOS = frozenset(("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"))
"""Tokenizers of transformers that put a BOS token before a text where `add_bos_token` is not said."""


def _adds_bos(settings: Mapping[str, Any], backend: tokenizers.Tokenizer, bos: str | None) -> bool:
    """Whether a release wants its BOS token before a text: as `add_bos_token` says; where that is absent, as its kind of
    tokenizer does by itself, or as the post-processor of its `tokenizer.json` does. That a BOS token has a name says nothing:
    SmolLM2's is `<|im_start|>`, and stands before no text.
    """
    said = settings.get("add_bos_token")
    if isinstance(said, bool):
        return said
    if str(settings.get("tokenizer_class")).removesuffix("Fast") in _WITH_BOS:
        return True
    return bos is not None and backend.token_to_id(bos) in backend.encode("a").ids[:1]


def contains_any(text: str, stops: Sequence[str]) -> int | None:
    """Where the first of `stops` begins in `text`, None where there is none."""
    places = [found.start() for stop in stops if (found := re.search(re.escape(stop), text))]
    return min(places) if places else None
