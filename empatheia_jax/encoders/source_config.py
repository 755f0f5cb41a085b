"""Reads a released `config.json` field by field: what we do not implement is refused, not skipped."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from empatheia_jax.errors import UserError

# Fields that any Hugging Face configuration may carry and that do not change what an encoder computes at inference.
COMMON_FIELDS = frozenset(
    """
    _name_or_path _commit_hash _attn_implementation_autoset architectures model_type torch_dtype dtype
    transformers_version tokenizer_class tokenizer_name gradient_checkpointing initializer_range
    initializer_factor finetuning_task id2label label2id num_labels problem_type return_dict output_attentions
    output_hidden_states use_cache bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id
    decoder_start_token_id begin_suppress_tokens suppress_tokens forced_bos_token_id forced_eos_token_id
    task_specific_params prefix chunk_size_feed_forward tie_word_embeddings is_encoder_decoder is_decoder
    cross_attention_hidden_size add_cross_attention tie_encoder_decoder pruned_heads torchscript use_bfloat16
    remove_invalid_values max_length min_length do_sample early_stopping num_beams num_beam_groups
    diversity_penalty temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
    encoder_no_repeat_ngram_size bad_words_ids num_return_sequences output_scores return_dict_in_generate
    exponential_decay_length_penalty tf_legacy_loss
    """.split()  # noqa: SIM905
)


def read_fields(
    source: Mapping[str, Any],
    what: str,
    required: Collection[str],
    fixed: Mapping[str, Any],
    ignored: Collection[str] = (),
    model_types: Collection[str] = (),
    optional: Collection[str] = (),
) -> dict[str, Any]:
    """The values of `required` fields, and those of `optional` ones that are there.

    Args:
      source: the configuration as released.
      what: name of the network, for messages.
      required: fields that must be there.
      fixed: fields that may be there, and then must have this value, the only one implemented; a tuple lists several.
      ignored: fields that have no effect on inference; `COMMON_FIELDS` are added.
      model_types: accepted values of `model_type`; empty accepts any.
      optional: fields that may be there.

    Raises: UserError naming every field that is missing, unknown, or has a value that is not implemented.
    """
    problems = []
    if model_types and source.get("model_type") not in model_types:
        problems.append(f"model_type is {source.get('model_type')!r}, expected one of {sorted(model_types)}")
    problems += [f"{name} is missing" for name in required if name not in source]
    for name, value in source.items():
        if name in fixed:
            allowed = fixed[name] if isinstance(fixed[name], tuple) else (fixed[name],)
            if value not in allowed:
                problems.append(f"{name} is {value!r}, only {' or '.join(map(repr, allowed))} is implemented")
        elif name not in required and name not in optional and name not in ignored and name not in COMMON_FIELDS:
            problems.append(f"{name} = {value!r} is not known here")
    if problems:
        raise UserError(f"the configuration of {what} is not implemented: {'; '.join(problems)}")
    return {name: source[name] for name in (*required, *optional) if name in source}
