"""How a dialogue becomes a prompt: everything that training and reply must do alike, in one value that both read."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import get_args

from empatheia_jax.conversation import prompt
from empatheia_jax.conversation.schema import ChainOfEmpathy, Profile, Utterance
from empatheia_jax.errors import UserError
from empatheia_jax.settings import Data
from empatheia_jax.settings.choices import Instruction, LabelMap, Modality, Template
from empatheia_jax.tokens import SLOTS

MODALITIES: tuple[Modality, ...] = ("speech", "video")
CHATGLM_MARKS = ("[gMASK]", "sop", "<|user|>", "<|assistant|>")


@dataclasses.dataclass(frozen=True)
class PromptPolicy:
    """How a dialogue becomes a prompt.

    max_length      tokens of prompt and answer together
    answer_length   of which the prompt leaves free for the answer
    utterances      how many of the latest utterances give their recordings
    modalities      what is heard and seen, of MODALITIES; () = text alone
    slots           places per recording in the prompt, a divisor of 24 (reading U2)
    listener_media  the listener's own recordings in the history are given too, not the speaker's alone
    chain_of_empathy, instruction    see `prompt.encode`, where the first is `steps`
    persona         the prompt says whose reply is wanted
    template        "own" = the checkpoint's chat template, "human_assistant" = the released baseline's, "auto" = ChatGLM3's
                    own for ChatGLM3 and the baseline's for all others
    label_map       which table takes an emotion of 32 to one of 7 (`labels.MAPS_TO_7`)
    """

    max_length: int
    answer_length: int = 0
    utterances: int = 4
    modalities: tuple[Modality, ...] = MODALITIES
    slots: int = SLOTS
    listener_media: bool = False
    chain_of_empathy: bool = True
    persona: bool = True
    instruction: Instruction = "paper"
    template: Template = "auto"
    label_map: LabelMap = "paper"

    def __post_init__(self):
        for name, allowed in (("instruction", Instruction), ("template", Template), ("label_map", LabelMap)):
            if getattr(self, name) not in get_args(allowed):
                raise UserError(f"{name} {getattr(self, name)!r}; expected one of {', '.join(get_args(allowed))}")
        if not set(self.modalities) <= set(MODALITIES):
            raise UserError(f"modalities {self.modalities}; expected some of {', '.join(MODALITIES)}")
        if self.utterances < 1 or self.slots < 1 or SLOTS % self.slots:
            raise UserError(
                f"utterances {self.utterances}, slots {self.slots}; expected 1 or more, a divisor of {SLOTS}"
            )

    @classmethod
    def of(cls, data: Data) -> PromptPolicy:
        """The policy of a config's block `data`."""
        return cls(
            max_length=data.max_length,
            answer_length=data.answer_length,
            utterances=data.utterances,
            modalities=data.modalities,
            slots=data.slots,
            listener_media=data.listener_media,
            chain_of_empathy=data.chain_of_empathy,
            persona=data.persona,
            instruction=data.instruction,
            template=data.chat_template,
            label_map=data.label_map,
        )

    def heard(self, history: Sequence[Utterance]) -> tuple[int, ...]:
        """Positions in the history of the utterances whose recordings are given, where they have any."""
        if not self.modalities:
            return ()
        roles = ("speaker", "listener") if self.listener_media else ("speaker",)
        return tuple(position for position, each in enumerate(history) if each.role in roles)[-self.utterances :]

    def template_of(self, tokenizer: prompt.Tokenizer) -> prompt.Template:
        """How messages become text for this core."""
        if self.template == "own":
            return tokenizer.chat
        if self.template == "auto" and tokenizer.has(*CHATGLM_MARKS):
            return tokenizer.chat if tokenizer.chat_template else prompt.chatglm3
        return prompt.human_assistant

    def encode(
        self,
        tokenizer: prompt.Tokenizer,
        history: Sequence[Utterance],
        listener: Profile | None,
        *,
        recorded: dict[str, Collection[int]],
        chain: ChainOfEmpathy | None = None,
        response: str | None = None,
    ) -> prompt.Encoded:
        """Tokens of a prompt, and of its target where a response is given.

        Args:
            tokenizer: of the core.
            history: what was said, the speaker last.
            listener: the profile of who answers; None = unknown.
            recorded: modality → positions in the history with such a recording; those that the policy leaves out do not
                count.
            chain, response: what is to be learnt.

        Raises:
            UserError: as `prompt.encode`.
        """
        heard = self.heard(history)
        speech, video = (
            [i for i in heard if i in recorded.get(kind, ())] if kind in self.modalities else [] for kind in MODALITIES
        )
        return prompt.encode(
            tokenizer,
            history,
            max_length=self.max_length,
            chain=chain,
            response=response,
            steps=self.chain_of_empathy,
            listener=listener if self.persona else None,
            instruction=self.instruction,
            template=self.template_of(tokenizer),
            speech=speech,
            video=video,
            slots=self.slots,
            answer_length=self.answer_length,
        )
