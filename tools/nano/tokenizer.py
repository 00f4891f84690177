"""The tokenizer file, and prompts exactly as mistral_common builds them for Voxtral's version (v11)."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import FunctionCall, Tool, ToolCall
from mistral_common.tokens.tokenizers.base import SpecialTokens
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from tools.nano.phrases import Call
from tools.nano.tasks import FUNCTIONS, arguments_json

CHUNK_SECONDS = 10
FRAMES_PER_SECOND = 12.5
SPECIAL_COUNT, VOCABULARY_COUNT = 1000, 1000
VOCABULARY_SIZE = SPECIAL_COUNT + VOCABULARY_COUNT

BOS, EOS, INST, END_INST, AUDIO, BEGIN_AUDIO, TRANSCRIBE = 1, 2, 3, 4, 24, 25, 34
LANGUAGES = (*["en"] * 8, "de", "fr", "es", "it", "nl", "pt", "hi", "ar")

_FIRST_TOKENS = (
    SpecialTokens.unk, SpecialTokens.bos, SpecialTokens.eos, SpecialTokens.begin_inst, SpecialTokens.end_inst,
    SpecialTokens.begin_tools, SpecialTokens.end_tools, SpecialTokens.begin_tool_results,
    SpecialTokens.end_tool_results, SpecialTokens.tool_calls, SpecialTokens.img, SpecialTokens.pad,
    SpecialTokens.img_break, SpecialTokens.img_end, SpecialTokens.prefix, SpecialTokens.middle,
    SpecialTokens.suffix, SpecialTokens.begin_system, SpecialTokens.end_system,
    SpecialTokens.begin_tool_content,
)  # fmt: skip
_LATER_TOKENS = {
    AUDIO: SpecialTokens.audio,
    BEGIN_AUDIO: SpecialTokens.begin_audio,
    32: SpecialTokens.args,
    33: SpecialTokens.call_id,
    TRANSCRIBE: SpecialTokens.transcribe,
}


def write_tekken(path: Path) -> None:
    """A tekken.json: control tokens at Voxtral's ranks, then the first thousand of Mistral's ranks."""
    source = json.loads((resources.files("mistral_common") / "data" / "tekken_240911.json").read_text())
    names = {rank: token.value for rank, token in (*enumerate(_FIRST_TOKENS), *_LATER_TOKENS.items())}
    special = [
        {"rank": rank, "token_str": names.get(rank, f"<SPECIAL_{rank}>"), "is_control": True}
        for rank in range(max(names) + 1)
    ]
    content = {
        "config": {
            "pattern": source["config"]["pattern"],
            "num_vocab_tokens": VOCABULARY_COUNT,
            "default_vocab_size": VOCABULARY_SIZE,
            "default_num_special_tokens": SPECIAL_COUNT,
            "version": "v11",
        },
        "vocab": source["vocab"][:VOCABULARY_COUNT],
        "special_tokens": special,
        "audio": {
            "sampling_rate": 16000,
            "frame_rate": FRAMES_PER_SECOND,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": float(CHUNK_SECONDS),
        },
    }
    path.write_text(json.dumps(content))


class Prompts:
    """Token ids of prompts and answers."""

    def __init__(self, tekken: Path) -> None:
        self.mistral = MistralTokenizer.from_file(str(tekken))
        self._instruct: Any = self.mistral.instruct_tokenizer  # its base class does not declare all methods
        self.encode = cache(self._encode)
        self.call = cache(self._call)

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._instruct.tokenizer.encode(text, bos=False, eos=False))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, control tokens left out."""
        return cast(str, self._instruct.tokenizer.decode(list(tokens)))

    def _call(self, name: str, arguments: str) -> tuple[int, ...]:
        called = ToolCall(id="null", function=FunctionCall(name=name, arguments=arguments))
        message = AssistantMessage(content=None, tool_calls=[called])
        return tuple(self._instruct.encode_assistant_message(message, False)[:-1])

    def calls(self, called: Sequence[Call]) -> tuple[int, ...]:
        """The tokens of tool calls, one after the other."""
        return tuple(token for call in called for token in self.call(call.name, arguments_json(call)))

    def transcription(self, rng: random.Random, frames: int) -> list[int]:
        """The prompt of the transcription endpoint, with a language or without."""
        language = None if rng.random() < 0.4 else rng.choice(LANGUAGES)
        named = self.encode(f"lang:{language}") if language else ()
        return [BOS, INST, BEGIN_AUDIO, *[AUDIO] * frames, END_INST, *named, TRANSCRIBE]

    def instruction(self, text: str, frames: int, *, text_first: bool = False) -> list[int]:
        """A user's turn with a recording and a text; what begins the conversation stands before it."""
        recording, words = [BEGIN_AUDIO, *[AUDIO] * frames], list(self.encode(text)) if text else []
        return [INST, *(words + recording if text_first else recording + words), END_INST]

    def tools(self, rng: random.Random, names: Sequence[str]) -> list[int]:
        """The beginning of a conversation that declares functions, now and then without descriptions."""
        bare = rng.random() < 0.25
        by_name = {function.name: function for function in FUNCTIONS}
        declared = [by_name[name].declaration("" if bare else None) for name in names]
        request = ChatCompletionRequest(
            tools=[Tool.model_validate(entry) for entry in declared], messages=[UserMessage(content="x")]
        )
        tokens: list[int] = self.mistral.encode_chat_completion(request).tokens
        return tokens[: tokens.index(INST)]
