"""The words that a switch of the config may have, each set once: a type that rules check and type checkers know.

The networks and the conversation take these words too; they import them from here.
"""

from __future__ import annotations

from typing import Literal

Stage = Literal["coe", "content", "style", "joint"]
"""The stages of training, in the order of the paper (§5)."""
Loss = Literal["emp", "ccl", "sac"]
"""L_emp (8), L_ccl (9), L_sac (12)."""
Modality = Literal["speech", "video"]
Dtype = Literal["bfloat16", "float16", "float32"]
Remat = Literal["nothing", "dots", "full"]
"""What the backward pass computes again; see `nn.stack`."""
Attention = Literal["xla", "blocked", "cudnn", "splash", "auto"]
"""Implementations of attention; see `nn.attention`."""
VideoPooling = Literal["patches", "cls"]
Phonemizer = Literal["auto", "gruut", "espeak"]
"""What spells words in sounds; see `styletts2.phonemes`."""
BridgeKind = Literal["vae", "linear"]
"""A VAE block of the paper, or the linear map of the ablation without it."""
Sharing = Literal["all", "modality", "none"]
StyleInputs = Literal["own", "speech"]
Fuse = Literal["linear", "mean"]
SignalSource = Literal["tokens", "all"]
"""What the bridge reads of an answer (paper §4.2): the states at the reply's and the signal tokens, or of the whole answer."""
SpeechTarget = Literal["text_encoder", "with_bert"]
"""What C^s learns: the frames of the voice's text encoder, or those and its projected PL-BERT states beside them (U7)."""
VideoTarget = Literal["content", "speech"]
"""What C^v learns: the output of the talking head's content encoder, or the speech features that go into it (U8)."""
Regression = Literal["mse", "l2", "sum"]
Instruction = Literal["paper", "short", "plain"]
Template = Literal["auto", "own", "human_assistant"]
"""How a dialogue becomes text; see `conversation.policy`."""
Expression = Literal["empathic", "mirror"]
"""What a listener shows: the answer to the speaker's emotion, or that emotion, weaker; see `conversation.expression`."""
LabelMap = Literal["paper", "e3rg_recognition", "e3rg_face"]
AnswerForm = Literal["fixed", "free"]
"""Who writes the titles of the steps: decoding, or the model."""
Decay = Literal["cosine", "linear", "constant"]
