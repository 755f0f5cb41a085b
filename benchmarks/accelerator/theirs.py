"""The rows that PyTorch does too: transformers with SDPA, peft, the same sizes, weights drawn on the device."""

from __future__ import annotations

import dataclasses
from typing import Any

from benchmarks.accelerator.sizes import Sizes
from benchmarks.accelerator.timing import Measurement, median_seconds


class Torch:
    """PyTorch's side. The language model is built once and kept until a row needs another."""

    def __init__(self, sizes: Sizes):
        import torch

        self.torch, self.sizes = torch, sizes
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = getattr(torch, str(jax_dtype(sizes)))
        self._kept: tuple[str, Any] = ("", None)

    def _wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def _time(self, call) -> float:
        def once():
            call()
            self._wait()

        return median_seconds(once, self.sizes.repeats, warm=2)

    def _built(self, kind: str, construct) -> Any:
        if self._kept[0] != kind:
            self._kept = ("", None)
            if self.device == "cuda":
                self.torch.cuda.empty_cache()
            self.torch.manual_seed(0)
            before = self.torch.get_default_dtype()
            self.torch.set_default_dtype(self.dtype)
            try:
                with self.torch.device(self.device):
                    self._kept = (kind, construct())
            finally:
                self.torch.set_default_dtype(before)
        return self._kept[1]

    def _llm(self):
        import transformers

        values = {name: value for name, value in self.sizes.llm.items() if name != "model_type"}
        config = transformers.LlamaConfig(**values, attn_implementation="sdpa")
        return self._built("llm", lambda: transformers.LlamaForCausalLM(config).eval())

    def lora(self, rows: int, length: int, *, recompute: bool = True) -> Measurement:
        """A step of peft's LoRA; `recompute`: with gradient checkpointing, as the other side recomputes its layers."""
        import peft
        import transformers

        torch = self.torch

        def construct():
            values = {name: value for name, value in self.sizes.llm.items() if name != "model_type"}
            base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**values, attn_implementation="sdpa"))
            if recompute:
                base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
                base.enable_input_require_grads()
            targets = ["q_proj", "k_proj", "v_proj", "o_proj"]
            return peft.get_peft_model(base, peft.LoraConfig(r=8, lora_alpha=32.0, target_modules=targets)).train()

        model = self._built("lora" if recompute else "lora, nothing recomputed", construct)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=5e-4, betas=(0.9, 0.95), weight_decay=0.0)
        ids = torch.randint(3, self.sizes.llm["vocab_size"], (rows, length), device=self.device)
        labels = ids.clone()
        labels[:, : length // 2] = -100

        def step():
            optimizer.zero_grad(set_to_none=True)
            model(input_ids=ids, labels=labels, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()

        seconds = self._time(step)
        peak = torch.cuda.max_memory_allocated() if self.device == "cuda" else None
        return Measurement(seconds, rows * length, "tokens/s", peak=peak)

    def decode(self, rows: int) -> Measurement:
        """Greedy `generate`: the time of many tokens less the time of one."""
        model, sizes, torch = self._llm(), self.sizes, self.torch
        ids = torch.randint(3, sizes.llm["vocab_size"], (rows, sizes.prompt), device=self.device)

        def run(count: int):
            with torch.inference_mode():
                model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=count,
                    min_new_tokens=count,
                    do_sample=False,
                    pad_token_id=0,
                )

        many, one = self._time(lambda: run(1 + sizes.new)), self._time(lambda: run(1))
        return Measurement(max(many - one, 1e-9), rows * sizes.new, "tokens/s")

    def prefill(self) -> Measurement:
        """One prompt, the head at its last token."""
        model, torch = self._llm(), self.torch
        ids = torch.randint(3, self.sizes.llm["vocab_size"], (1, self.sizes.length), device=self.device)

        def run():
            with torch.inference_mode():
                model(input_ids=ids, use_cache=False, logits_to_keep=1)

        return Measurement(self._time(run), self.sizes.length, "tokens/s")

    def hubert(self) -> Measurement:
        """HuBERT of the same sizes."""
        import transformers

        c = self.sizes.hubert
        config = transformers.HubertConfig(
            hidden_size=c.width,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            intermediate_size=c.mlp,
            conv_dim=list(c.conv_channels),
            conv_kernel=list(c.conv_widths),
            conv_stride=list(c.conv_strides),
            conv_bias=c.conv_bias,
            feat_extract_norm=c.conv_norm,
            do_stable_layer_norm=c.pre_norm,
            num_conv_pos_embeddings=c.position_width,
            num_conv_pos_embedding_groups=c.position_groups,
            attn_implementation="sdpa",
        )
        model = self._built("hubert", lambda: transformers.HubertModel(config).eval())
        waves = self.torch.randn(self.sizes.clips, self.sizes.clip_samples, device=self.device, dtype=self.dtype)
        return self._forward(lambda: model(waves), self.sizes.clips)

    def clip(self) -> Measurement:
        """The vision tower of the same sizes."""
        import transformers

        c = self.sizes.clip
        config = transformers.CLIPVisionConfig(
            hidden_size=c.width,
            num_hidden_layers=c.layers,
            num_attention_heads=c.heads,
            intermediate_size=c.mlp,
            image_size=c.image,
            patch_size=c.patch,
            attn_implementation="sdpa",
        )
        model = self._built("clip", lambda: transformers.CLIPVisionModel(config).eval())
        pixels = self.torch.randn(self.sizes.frames, 3, c.image, c.image, device=self.device, dtype=self.dtype)
        return self._forward(lambda: model(pixels), 1)

    def _forward(self, call, units: float) -> Measurement:
        def run():
            with self.torch.inference_mode():
                call()

        return Measurement(self._time(run), units, "clips/s")


def jax_dtype(sizes: Sizes) -> str:
    """The name that both frameworks give a dtype."""
    import numpy as np

    return np.dtype(sizes.dtype).name


def measure(side: Torch, name: str) -> Measurement:
    """One row of PyTorch's side."""
    sizes = side.sizes
    if name.startswith("decode_"):
        return side.decode(int(name.removeprefix("decode_")))
    calls = {
        "lora": lambda: side.lora(sizes.batch, sizes.length),
        "lora_dots": lambda: side.lora(sizes.batch, sizes.length, recompute=False),
        "lora_packed": lambda: dataclasses.replace(
            side.lora(1, sizes.packed, recompute=False), note="one sequence a row: transformers' SDPA does not pack"
        ),
        "prefill": side.prefill,
        "hubert": side.hubert,
        "clip": side.clip,
    }
    return calls[name]()
