"""Empatheia (WWW 2025) in PyTorch: a language model with LoRA, its decoding, and the bridge (`bridge_empatheia`) behind it.

    from transformers import AutoModel, AutoProcessor
    model = AutoModel.from_pretrained("RELEASE", trust_remote_code=True, base="PATH OR NAME OF THE BASE MODEL")
    processor = AutoProcessor.from_pretrained("RELEASE", trust_remote_code=True)
    reply = model.generate(**processor([{"role": "speaker", "text": "I lost my dog today."}]), processor=processor)
    reply.answers[0]["response"]

    style = model.style(reply.speech_states, reply.video_states, reply.state_lengths)    # S^s, S^v, E, P, class logits
    content = model.speech_content(reply.response_states, reply.response_lengths, phonemes)  # C^s, as many rows as phonemes
    motion = model.video_content(reply.response_states, reply.response_lengths, frames)      # C^v, 25 frames a second

Letters: B batch, R tokens of a reply, G signal tokens, H width of the language model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from .bridge_empatheia import ContentSynchronizer, Style, StyleDisentangler
from .configuration_empatheia import RELEASE_FORMAT, EmpatheiaConfig

FILES = ("*.json", "*.jinja", "*.py", "model.safetensors", "form.safetensors", "adapter/*")
"""What is fetched of a release on the hub: not the merged model, not the GGUF file."""


# ------------------------------------------------------------------------------------------------ the fixed form


class Form:
    """The form of an answer: fixed words are written by force, and the model fills the slots between them.

    A row is at one node: at a fixed token (0 … f−1), in a free slot (f … f+k−1), in the trie of a slot with options
    (f+k … f+k+s−1), or at the end.
    """

    GOES_ON, ENDS, ENDS_AFTER, FIXED = 0, 1, 2, -1

    def __init__(self, arrays: dict[str, Tensor], names: tuple[str, ...], longest: int, first: int):
        self.names, self.longest, self.first = names, longest, first
        for name, value in arrays.items():
            setattr(self, name, value)
        self.f, self.k, self.s = len(self.fixed), len(self.limits), len(self.trie_tokens)
        self.end = self.f + self.k + self.s

    @classmethod
    def load(cls, path: str | os.PathLike) -> Form:
        """From `form.safetensors` of a release."""
        with safe_open(path, "pt") as file:
            said = file.metadata()
        arrays = {name: value.long() if value.dtype != torch.bool else value for name, value in load_file(path).items()}
        return cls(arrays, tuple(json.loads(said["names"])), int(said["longest"]), int(said["first"]))

    def allowed(self, node: int, wrote: bool, vocab: int) -> Tensor | None:
        """Which tokens may be chosen at a node (V,); None = all, or the model is not asked."""
        if node < self.f or node >= self.end:
            return None
        if node < self.f + self.k:
            return None if wrote else (self.kinds[node - self.f] == self.GOES_ON) & ~self.blank
        possible = self.trie_tokens[node - self.f - self.k]
        options = torch.zeros(vocab, dtype=torch.bool)
        options[possible[possible >= 0]] = True
        return options

    def advance(self, node: int, count: int, wrote: bool, token: int) -> tuple[int, int, tuple[int, int, bool]]:
        """(token that is written, its slot or -1, (node, tokens in the slot, whether it holds a letter) after it)."""
        f, k = self.f, self.k
        if node < f:
            return int(self.fixed[node]), self.FIXED, (int(self.after_fixed[node]), 0, False)
        if node < f + k:
            slot = node - f
            kind = self.ENDS if count >= int(self.limits[slot]) else int(self.kinds[slot, token])
            if kind == self.ENDS:  # the first fixed word behind the slot stands in place of the token that ends it
                at = int(self.closing[slot, 0])
                return int(self.fixed[at]), self.FIXED, (int(self.after_fixed[at]), 0, False)
            if kind == self.ENDS_AFTER:
                return token, int(self.slot_of_node[node]), (int(self.closing[slot, 1]), 0, False)
            return token, int(self.slot_of_node[node]), (node, count + 1, wrote or not bool(self.blank[token]))
        if node < self.end:
            state = node - f - k
            edge = (self.trie_tokens[state] == token).nonzero()
            then = int(self.trie_following[state, edge[0, 0]]) if len(edge) else 0
            return token, int(self.slot_of_node[node]), (then, 0, False)
        return token, self.FIXED, (node, 0, False)


# ------------------------------------------------------------------------------------------------ choosing tokens


def _repeats(history: list[int], n: int) -> set[int]:
    """Tokens that would complete an n-gram which `history` already holds; what does not count (below 0) is in none."""
    tail = history[len(history) - (n - 1) :]
    if len(tail) < n - 1 or min(tail) < 0:
        return set()
    windows = (history[i : i + n] for i in range(len(history) - n + 1))
    return {window[-1] for window in windows if window[:-1] == tail and window[-1] >= 0}


def _truncate(logits: Tensor, top_k: int, top_p: float) -> Tensor:
    """Leaves the `top_k` likeliest, then the smallest set of them that holds `top_p`."""
    lowest = torch.finfo(logits.dtype).min
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, len(logits))).values[-1], lowest)
    if top_p < 1:
        order = logits.sort(descending=True).values
        mass = order.softmax(-1)
        count = max(1, int((mass.cumsum(-1) - mass < top_p).sum()))
        logits = logits.masked_fill(logits < order[count - 1], lowest)
    return logits


@dataclasses.dataclass
class Reply:
    """What `generate` gives.

    tokens: ids of each answer. texts: all that was written. answers: its fields by name (chain and response).
    response_states (B, R, H) with response_lengths (B,): r^t. speech_states, video_states (B, G, H) with state_lengths (B,):
    r^s and r^v.
    """

    tokens: list[list[int]]
    texts: list[str]
    answers: list[dict[str, str | None]]
    response_states: Tensor
    response_lengths: Tensor
    speech_states: Tensor
    video_states: Tensor
    state_lengths: Tensor


@dataclasses.dataclass
class EmpatheiaOutput:
    """`hidden` (B, T, H): final-norm states. `logits` (B, T, V): over the base's vocabulary and the added tokens."""

    hidden: Tensor
    logits: Tensor


# ------------------------------------------------------------------------------------------------ the whole


def base_hash(model: nn.Module) -> str:
    """SHA-256 of a language model's weights, rounded to bfloat16, so that it is the same for float32 and bfloat16 copies."""
    tied = getattr(model.config, "tie_word_embeddings", False)
    parts = []
    for key, value in sorted(model.state_dict().items()):
        if key.endswith("rotary_emb.inv_freq") or (tied and key == "lm_head.weight"):
            continue
        data = value.detach().to("cpu", torch.bfloat16).contiguous()
        digest = hashlib.sha256(f"{key}|{tuple(data.shape)}|".encode())
        digest.update(data.flatten().view(torch.uint8).numpy().data)
        parts.append(digest.hexdigest())
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _folder(release: str | os.PathLike, **hub: Any) -> Path:
    """The folder of a release; one on the hub is fetched first."""
    if os.path.isdir(release):
        return Path(release)
    from huggingface_hub import snapshot_download

    known = ("revision", "token", "cache_dir", "force_download", "local_files_only")
    chosen = {key: hub[key] for key in known if hub.get(key) is not None}
    return Path(snapshot_download(str(release), allow_patterns=list(FILES), **chosen))


def prepare_base(base: PreTrainedModel, config: EmpatheiaConfig, check: bool = True) -> PreTrainedModel:
    """Checks that a language model is the one that was trained on, and gives its vocabulary the added rows.

    Raises ValueError, one line, for another model or one whose vocabulary was resized already.
    """
    rows = base.get_input_embeddings().weight.shape[0]
    name = getattr(base.config, "_name_or_path", "") or "the given model"
    if rows != config.base_vocab_size:
        raise ValueError(
            f"{name} has {rows} rows in its vocabulary and the release was trained on a base of {config.base_vocab_size}; "
            "give the base as it was published, it is resized here"
        )
    if check and config.base_sha256 and base_hash(base) != config.base_sha256:
        raise ValueError(
            f"{name} has other weights than the base of this release (SHA-256 {config.base_sha256[:16]}…); give "
            f"{config.base_model_name_or_path}, or check_base=False where it is a copy in another precision"
        )
    base.resize_token_embeddings(config.vocab_size, mean_resizing=False)
    return base


class EmpatheiaModel(PreTrainedModel):
    """The language model with its adapter, the projections, the content synchronizer and the style disentangler.

    `language_model`: a causal language model with the added rows in its vocabulary, and the adapter on it.
    """

    config_class = EmpatheiaConfig
    base_model_prefix = "empatheia"

    def __init__(self, config: EmpatheiaConfig, language_model: nn.Module, form: Form | None = None):
        super().__init__(config)
        rows = language_model.get_input_embeddings().weight.shape[0]
        if rows != config.vocab_size:
            raise ValueError(
                f"the language model has {rows} rows in its vocabulary, expected {config.vocab_size}: resize it with "
                f"resize_token_embeddings({config.vocab_size}), or use EmpatheiaModel.from_pretrained, which does"
            )
        hidden = language_model.config.hidden_size
        self.language_model, self.form = language_model, form
        self.speech_projection = nn.Linear(config.speech_features, hidden)
        self.video_projection = nn.Linear(config.video_features, hidden)
        self.synchronizer = ContentSynchronizer(config.synchronizer)
        classes = {task: len(names) for task, names in config.labels.items()}
        self.disentangler = StyleDisentangler(config.disentangler, classes)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        release: str | os.PathLike,
        *_: Any,
        config: EmpatheiaConfig | None = None,
        base: str | os.PathLike | PreTrainedModel | None = None,
        check_base: bool = True,
        dtype: Any = None,
        merge: bool = False,
        **others: Any,
    ) -> EmpatheiaModel:
        """Loads a release.

        Args:
          release: its folder, or its name on the hub.
          config: its configuration, if it is read already.
          base: the frozen language model: a path, a name, or a model of transformers; None takes the one that the release
            names.
          check_base: compare the base's weights with those of the training.
          dtype: of the language model, float32 by default; the bridge computes in float32.
          merge: fold LoRA into the weights (faster; the sums are rounded once).
          others: revision, token, cache_dir … of the hub; device_map and the like go to the base.

        Raises: ValueError, one line, for a newer release, or a base that does not fit; FileNotFoundError for a lost file.
        """
        from peft import PeftModel

        for name in ("trust_remote_code", "adapter_kwargs", "_from_auto", "code_revision", "subfolder", "torch_dtype"):
            value = others.pop(name, None)
            dtype = value if name == "torch_dtype" and dtype is None else dtype
        hub_names = ("revision", "token", "cache_dir", "force_download", "local_files_only")
        folder = _folder(release, **{key: others.pop(key, None) for key in hub_names})
        config = config or EmpatheiaConfig.from_pretrained(folder)
        if config.release_format > RELEASE_FORMAT:
            raise ValueError(
                f"{release} has the release format {config.release_format} and its code reads {RELEASE_FORMAT}; take the code "
                "that came with it"
            )
        base = base if base is not None else config.base_model_name_or_path
        if base is None:
            raise ValueError(f"{release} names no base model; give base=PATH")
        if not isinstance(base, PreTrainedModel):
            base = AutoModelForCausalLM.from_pretrained(base, dtype=dtype or torch.float32, **others)
        language_model: Any = PeftModel.from_pretrained(
            prepare_base(base, config, check_base), str(folder), subfolder="adapter"
        )
        if merge:
            language_model = language_model.merge_and_unload()
        form = Form.load(folder / "form.safetensors") if (folder / "form.safetensors").is_file() else None
        model = cls(config, language_model, form)
        tensors = load_file(folder / "model.safetensors")
        left = model.load_state_dict(tensors, strict=False)
        lost = [key for key in left.missing_keys if not key.startswith("language_model.")]
        if lost or left.unexpected_keys:
            raise ValueError(
                f"{folder}/model.safetensors does not fit: missing {lost[:3]}, unknown {left.unexpected_keys[:3]}"
            )
        device = language_model.get_input_embeddings().weight.device
        for name, part in model.named_children():
            if name != "language_model":
                part.to(device)
        return model.eval()

    # -------------------------------------------------------------------------------------------- the language model

    @property
    def _causal(self) -> Any:
        model = self.language_model
        return model.get_base_model() if hasattr(model, "get_base_model") else model

    def _states(
        self, embeds: Tensor, mask: Tensor, positions: Tensor, cache: Any = None, use_cache: bool = False
    ) -> Any:
        decoder = getattr(self._causal, self._causal.base_model_prefix)
        name = "cache" if "cache" in inspect.signature(decoder.forward).parameters else "past_key_values"
        given = {name: cache, "attention_mask": mask, "position_ids": positions, "use_cache": use_cache}
        return decoder(inputs_embeds=embeds, **given)

    @staticmethod
    def _cache(out: Any) -> Any:
        found = getattr(out, "cache", None)
        return out.past_key_values if found is None else found

    def _logits(self, hidden: Tensor) -> Tensor:
        return self._causal.lm_head(hidden)

    def embed(self, input_ids: Tensor, speech: Tensor | None = None, video: Tensor | None = None) -> Tensor:
        """Embeddings (B, T, H), with the k-th `<Aud>` (`<Vid>`) of a row replaced by its k-th projected feature."""
        x = self._causal.get_input_embeddings()(input_ids)
        for offset, features, projection in (
            (0, speech, self.speech_projection),
            (1, video, self.video_projection),
        ):
            if features is None:
                continue
            mask = input_ids == self.config.base_vocab_size + offset
            rows = projection(features.to(projection.weight.dtype)).to(x.dtype)
            index = mask.cumsum(1) - 1
            mask = mask & (index < rows.shape[1])
            index = index.clamp(0, rows.shape[1] - 1)[..., None].expand(-1, -1, rows.shape[-1])
            x = torch.where(mask[..., None], rows.gather(1, index), x)
        return x

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        speech_features: Tensor | None = None,
        video_features: Tensor | None = None,
    ) -> EmpatheiaOutput:
        """States and scores of whole sequences, padded on either side."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        hidden = self._states(self.embed(input_ids, speech_features, video_features), mask, positions).last_hidden_state
        return EmpatheiaOutput(hidden, self._logits(hidden))

    # -------------------------------------------------------------------------------------------- writing

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        speech_features: Tensor | None = None,
        video_features: Tensor | None = None,
        *,
        processor: Any,
        generator: torch.Generator | None = None,
        **changes: Any,
    ) -> Reply:
        """Chain of Empathy and response for prompts that are padded on the left.

        Args:
          input_ids, attention_mask, speech_features, video_features: as the processor gives them.
          processor: decodes tokens.
          generator: of the draws, where temperature > 0.
          changes: temperature, top_k, top_p, repetition_penalty, no_repeat_ngram, max_new_tokens, form ("fixed", "free").

        The answer follows the form of the training; the signal tokens are fed behind it for their states.
        """
        settings = {**self.config.decoding, **changes}
        form = self.form if settings.get("form", "fixed") == "fixed" else None
        batch, vocab = len(input_ids), self.config.vocab_size
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        out = self._states(self.embed(input_ids, speech_features, video_features), mask, positions, None, True)
        cache, hidden, place = self._cache(out), out.last_hidden_state[:, -1], mask.sum(1)
        tokens: list[list[int]] = [[] for _ in range(batch)]
        slots: list[list[int]] = [[] for _ in range(batch)]
        history: list[list[int]] = [[] for _ in range(batch)]
        states: list[list[Tensor]] = [[] for _ in range(batch)]
        nodes = [(form.first, 0, False) if form else (0, 0, False) for _ in range(batch)]
        real = [True] * batch
        limit = form.longest if form else settings["max_new_tokens"]
        for _ in range(limit):
            logits = self._logits(hidden).float().cpu()
            chosen = []
            for row in range(batch):
                if not real[row]:
                    chosen.append(0)
                    continue
                node, count, wrote = nodes[row]
                allowed = form.allowed(node, wrote, vocab) if form else None
                forced = form is not None and node < form.f  # the model is not asked
                token = 0 if forced else self._choose(logits[row], settings, history[row], allowed, generator)
                slot = 0
                if form:
                    token, slot, nodes[row] = form.advance(node, count, wrote, token)
                tokens[row].append(token)
                slots[row].append(slot)
                history[row].append(token if slot >= 0 else -1)
                chosen.append(token)
            step = torch.tensor(chosen, device=input_ids.device)[:, None]
            live = torch.tensor(real, device=input_ids.device)
            mask = torch.cat([mask, live[:, None].to(mask.dtype)], 1)
            out = self._states(self._causal.get_input_embeddings()(step), mask, place[:, None], cache, True)
            cache, hidden, place = self._cache(out), out.last_hidden_state[:, -1], place + live
            for row in range(batch):
                if real[row]:
                    states[row].append(hidden[row])
                    real[row] = not self._ends(form, nodes[row], tokens[row], processor)
            if not any(real):
                break
        count = 2 * self.config.signals
        first = self.config.base_vocab_size + 2
        signals = torch.arange(first, first + count, device=input_ids.device).expand(batch, -1)
        mask = torch.cat([mask, torch.ones(batch, count, dtype=mask.dtype, device=mask.device)], 1)
        places = place[:, None] + torch.arange(count, device=input_ids.device)[None]
        forced = self._states(self._causal.get_input_embeddings()(signals), mask, places, cache, True).last_hidden_state
        return self._reply(form, tokens, slots, states, forced, processor)

    def _choose(
        self, logits: Tensor, settings: dict, history: list[int], allowed: Tensor | None, generator: Any
    ) -> int:
        lowest = torch.finfo(logits.dtype).min
        penalty, ngram = settings.get("repetition_penalty", 1.0), settings.get("no_repeat_ngram", 0)
        if penalty != 1.0:
            seen = torch.tensor(sorted({token for token in history if token >= 0}), dtype=torch.long)
            score = logits[seen]
            logits = logits.index_copy(0, seen, torch.where(score > 0, score / penalty, score * penalty))
        repeats = sorted(_repeats(history, ngram)) if ngram else []
        banned = torch.zeros(len(logits), dtype=torch.bool)
        banned[repeats] = True
        banned[self.config.base_vocab_size : self.config.base_vocab_size + 2 + 2 * self.config.signals] = True
        logits = logits.masked_fill(banned, lowest)
        if allowed is not None:  # the form wins over the other bans
            logits = torch.where(allowed, logits.clamp(min=lowest / 2), torch.full_like(logits, lowest))
        temperature = settings.get("temperature", 0.0)
        if not temperature:
            return int(logits.argmax())
        logits = _truncate(logits / temperature, settings.get("top_k", 0), settings.get("top_p", 1.0))
        return int(torch.multinomial(logits.softmax(-1), 1, generator=generator))

    def _ends(self, form: Form | None, node: tuple, tokens: list[int], processor: Any) -> bool:
        if form:
            return node[0] == form.end
        prompt = self.config.prompt
        return tokens[-1] == prompt["eos"] or prompt["end"] in processor.decode(tokens)

    def _reply(self, form: Form | None, tokens: Any, slots: Any, states: Any, forced: Tensor, processor: Any) -> Reply:
        size, signals = self.config.reply_tokens, self.config.signals
        texts = [processor.decode(row) for row in tokens]
        answers, chosen = [], []
        for row, text in enumerate(texts):
            if form:
                named = {
                    name: processor.decode([t for t, s in zip(tokens[row], slots[row]) if s == number]).strip()
                    for number, name in enumerate(form.names)
                }
                at = [i for i, slot in enumerate(slots[row]) if slot == form.names.index("response")]
            else:
                named, at = processor.parse(text, tokens[row])
            answers.append(named)
            if self.config.signal_source == "all":
                rows = torch.cat([torch.stack(states[row]), forced[row]])[-size:]
            else:
                rows = torch.stack([states[row][i] for i in at[:size]]) if at else forced[row][:0]
            chosen.append(rows)
        lengths = torch.tensor([len(rows) for rows in chosen], device=forced.device)
        text = torch.stack([F.pad(rows, (0, 0, 0, size - len(rows))) for rows in chosen]).float()
        if self.config.signal_source == "all":
            return Reply(tokens, texts, answers, text, lengths, text, text, lengths)
        count = torch.full_like(lengths, signals)
        forced = forced.float()
        return Reply(tokens, texts, answers, text, lengths, forced[:, :signals], forced[:, signals:], count)

    # -------------------------------------------------------------------------------------------- the bridge

    def style(self, speech_states: Tensor, video_states: Tensor, lengths: Tensor | None = None) -> Style:
        """S^s, S^v, E, P and the class logits from r^s and r^v."""
        return self.disentangler(speech_states, video_states, lengths)

    def classes(self, style: Style) -> list[dict[str, str]]:
        """The likeliest class of every task by name, for each row."""
        best = {task: logits.argmax(-1).tolist() for task, logits in style.logits.items()}
        return [
            {task: self.config.labels[task][rows[i]] for task, rows in best.items()} for i in range(len(style.speech))
        ]

    def speech_content(self, response_states: Tensor, lengths: Tensor, phonemes: Tensor | int) -> Tensor:
        """C^s (B, P, 512): one row a phoneme, what StyleTTS2's text encoder would give."""
        return self.synchronizer(response_states, lengths, self._wanted(phonemes, lengths), "speech")

    def video_content(self, response_states: Tensor, lengths: Tensor, frames: Tensor | int) -> Tensor:
        """C^v (B, F, 11, 256): one window a frame, what DreamTalk's content encoder would give."""
        return self.synchronizer(response_states, lengths, self._wanted(frames, lengths), "video")

    @staticmethod
    def _wanted(count: Tensor | int, lengths: Tensor) -> Tensor:
        return count if isinstance(count, Tensor) else torch.full_like(lengths, count)
