"""What can be asked about a recording, in how many wordings, and what the right answer is."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tools.nano.phrases import COMMANDS, FACTS, Call, Command, capitalised

ABSENT = "Not in the recording."
NO_SPEECH = "No speech."
NO_COMMAND = "No command."

OBJECTS = (
    "this", "the audio", "this audio", "the recording", "this recording", "the voice command",
    "the message", "what is said", "the following audio", "the clip", "what you hear",
)  # fmt: skip
OPENINGS = (
    "", "", "", "please ", "can you ", "could you please ", "now ", "listen and ", "would you ",
    "I want you to ",
)  # fmt: skip
FILLERS = (
    "Answer briefly.", "Be concise.", "Use English.", "Respond in English.", "Answer in one word.",
    "Listen carefully.", "Use plain text.", "Do not add anything else.", "Here is a recording.",
    "Thank you.", "Thanks!", "I recorded something.", "It was recorded at home.",
    "The speaker is in a hurry.", "Hello!",
)  # fmt: skip
# Words that say nothing about the task: mixed into a part of the questions, so that the words that do count.
_IDLE = (
    "a about all also and any are as at be because been but by case come did do every few file for from"
    " get give go good great had has have here how I if is it just know let like long look made make"
    " many may me more most much my need nice no now of off old one only or our out over part people"
    " quick really right see she so some something such take than that their them then there these they"
    " think those thing to too up us use very want was way we well were when while who will with work"
    " would year yes you your kind sort speaker says said tells user person"
)
IDLE_WORDS = tuple(_IDLE.split())

_SUBJECTS = ("the speaker", "the user", "the person", "the voice")
_WHERE = ("", "", " in {object}", " in this audio", " here")

_ROOM = (
    "which room", "which room is mentioned", "what room is mentioned", "which room is it",
    "in which room", "what room does {subject} mention", "{opening}name the room",
    "{opening}tell me the room", "which room is meant", "which room is this about",
    "{opening}say which room {subject} talks about", "what is the name of the room",
    "{opening}give me the room", "the room", "is a room mentioned, and which room",
)  # fmt: skip
_PERSON = (
    "who is called", "who is mentioned", "which person is mentioned", "who should be called",
    "who is to be called", "{opening}name the person", "what is the name of the person",
    "whom does {subject} want to call", "which contact", "{opening}tell me the person who is called",
    "who does {subject} call",
)  # fmt: skip
_TIME = (
    "what is the time of the alarm", "at what time is the alarm", "when is the alarm",
    "for when is the alarm set", "{opening}tell me the time of the alarm",
    "which time is the alarm set for", "what alarm time is mentioned",
    "{opening}give me the alarm time", "what time does the alarm ring",
)  # fmt: skip
_DURATION = (
    "how long is the timer", "how many minutes", "how many minutes is the timer set for",
    "what is the timer length", "{opening}tell me how long the timer is",
    "{opening}name the duration of the timer", "how long does the timer run",
)  # fmt: skip
_PLACE = (
    "where to", "what is the destination", "which destination is mentioned",
    "where does {subject} want to go", "{opening}name the destination",
    "{opening}tell me the destination", "to which place does {subject} navigate",
)  # fmt: skip
_ITEM = (
    "what should be bought", "which item is added to the list", "what goes on the shopping list",
    "what item is added", "{opening}name the item for the shopping list",
    "what is added to the shopping list", "what does {subject} buy",
)  # fmt: skip
_NEVER_SAID = (
    "what is the price", "how much does it cost", "which city is mentioned",
    "which country is mentioned", "what colour is the car", "which animal is mentioned",
    "what is the phone number", "what is the speaker's name", "how old is the speaker",
    "which company is mentioned", "who won the game", "what is the address",
    "{opening}tell me the price", "{opening}name the city", "which month is mentioned",
    "what is the email address",
)  # fmt: skip
_FACT_WORDINGS = dict(zip(FACTS, (_ROOM, _PERSON, _TIME, _DURATION, _PLACE, _ITEM), strict=True))

_TRANSCRIBE = ("transcribe", "transcribe", "transcribe", "write down", "repeat", "give me the transcript of")
_SUMMARISE = (
    "summarize", "summarize", "summarize", "summarise", "give me a summary of",
    "write a short summary of", "give me a short summary of", "write a summary of", "make a summary of",
    "I need a summary of",
)  # fmt: skip
_TOPIC = (
    "what is the topic", "what topic is it", "topic", "what is the main topic",
    "{opening}name the topic", "{opening}tell me the topic", "which topic is mentioned",
    "give me the topic", "what topic does {subject} mention",
)  # fmt: skip
_ACT = (
    "do it", "do what is said", "execute the command", "follow the voice command", "{opening}do this",
    "{opening}call the right function", "{opening}use the tools", "act on {object}",
    "{opening}carry out the command", "{opening}execute {object}", "{opening}follow {object}",
    "run the command", "which tool is needed",
)  # fmt: skip

TASKS = ("transcribe", "summary", "topic", *FACTS, "never said", "act")


@dataclass(frozen=True)
class Function:
    """A function a client may declare; the model knows it by its name."""

    name: str
    description: str
    parameters: tuple[tuple[str, str], ...]

    def declaration(self, description: str | None = None) -> dict[str, object]:
        """The function as a client declares it in a chat request."""
        properties = {name: {"type": kind} for name, kind in self.parameters}
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description if description is None else description,
                "parameters": {"type": "object", "properties": properties},
            },
        }


FUNCTIONS = (
    Function("set_lights", "Switch lights.", (("room", "string"), ("state", "string"))),
    Function("set_timer", "Start a timer.", (("minutes", "integer"),)),
    Function("set_alarm", "Set an alarm.", (("time", "string"),)),
    Function("cancel", "Cancel a timer or alarm.", (("what", "string"),)),
    Function("play_music", "Play music.", (("genre", "string"),)),
    Function("set_volume", "Set the volume.", (("percent", "integer"),)),
    Function("open_close", "Open or close.", (("target", "string"), ("state", "string"))),
    Function("set_temperature", "Set the heating.", (("degrees", "integer"),)),
    Function("call_person", "Call a person.", (("name", "string"),)),
    Function("navigate", "Start navigation.", (("destination", "string"),)),
    Function("add_to_list", "Add to the list.", (("item", "string"),)),
)
FUNCTION_NAMES = tuple(function.name for function in FUNCTIONS)


def _open_or_not(rng: random.Random, wordings: Sequence[str]) -> str:
    wording = rng.choice(wordings)
    return wording.format(opening=rng.choice(OPENINGS), subject=rng.choice(_SUBJECTS), object=rng.choice(OBJECTS))


def _core(rng: random.Random, task: str) -> tuple[str, str]:
    """The words that carry the task, and the marks that may end them."""
    target = rng.choice(OBJECTS)
    if task == "transcribe":
        ending = rng.choice(("", "", " exactly", " word for word", " in English"))
        return f"{rng.choice(OPENINGS)}{rng.choice(_TRANSCRIBE)} {target}{ending}", ".. "
    if task == "summary":
        ending = rng.choice(("", "", " in one sentence", " briefly", " in a few words", " for me", " in English"))
        return f"{rng.choice(OPENINGS)}{rng.choice(_SUMMARISE)} {target}{ending}", "..?"
    if task == "topic":
        return _open_or_not(rng, _TOPIC) + rng.choice(("", "", f" of {target}", " in one word")), "??. "
    if task == "act":
        return _open_or_not(rng, _ACT), "..! "
    wordings = _NEVER_SAID if task == "never said" else _FACT_WORDINGS[task]
    return _open_or_not(rng, wordings) + rng.choice(_WHERE).format(object=target), "??. "


def question(rng: random.Random, task: str) -> str:
    """One wording of a task."""
    if task == "act" and rng.random() < 0.35:
        return ""  # a spoken command beside declared tools needs no words
    core, marks = _core(rng, task)
    text = core + rng.choice(marks).strip()
    if rng.random() < 0.9:
        text = capitalised(text)
    chance = rng.random()
    if chance < 0.18:
        extra = rng.choice(FILLERS)
    elif chance < 0.36:
        extra = " ".join(rng.choice(IDLE_WORDS) for _ in range(rng.randint(2, 8))) + rng.choice((".", ",", "", ";"))
    else:
        return text
    return f"{text} {extra}" if rng.random() < 0.5 else f"{extra} {text}"


def calls(commands: Sequence[Command], offered: Sequence[str]) -> tuple[Call, ...]:
    """The calls that carry out the commands, as far as the client offers the functions."""
    return tuple(command.call for command in commands if command.call and command.call.name in offered)


def arguments_json(call: Call) -> str:
    """The arguments as the model writes them."""
    return json.dumps(dict(call.arguments))


def answer(task: str, commands: Sequence[Command]) -> str:
    """The right answer about a recording of these commands; without any, it has no speech in it."""
    if task == "transcribe":
        return " ".join(command.text for command in commands)
    if task == "act":
        return NO_COMMAND
    if task in FACTS or task == "never said":
        stated = dict.fromkeys(command.facts[task] for command in commands if task in command.facts)
        return capitalised(", ".join(stated)) + "." if stated else ABSENT
    if not commands:
        return NO_SPEECH
    if task == "summary":
        return "Summary: " + "; ".join(command.summary for command in commands) + "."
    if task == "topic":
        return capitalised(", ".join(dict.fromkeys(command.topic for command in commands))) + "."
    raise ValueError(f"unknown task {task}")


def check_functions() -> None:
    """Every command's call names a declared function and gives exactly its parameters."""
    known = {function.name: tuple(name for name, _ in function.parameters) for function in FUNCTIONS}
    for command in COMMANDS:
        if command.call and tuple(command.call.arguments) != known[command.call.name]:
            raise ValueError(f"{command.spoken}: the call does not fit the function")
