"""The language model cores, LoRA, tokenizers and decoding."""
