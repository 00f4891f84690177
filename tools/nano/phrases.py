"""The closed set of spoken commands, and what each of them means."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

ROOMS = ("kitchen", "bedroom", "living room", "bathroom", "office", "garage")
NAMES = {"john": "John", "anna": "Anna"}

# The facts a question can ask for. A command that does not state one is answered "Not in the recording."
FACTS = ("room", "person", "time", "duration", "place", "item")


@dataclass(frozen=True)
class Call:
    """A function call that carries out a command."""

    name: str
    arguments: Mapping[str, str | int] = field(hash=False)


@dataclass(frozen=True)
class Command:
    """One thing a user can say."""

    spoken: str
    topic: str
    summary: str
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    call: Call | None = None
    question: bool = False

    @property
    def text(self) -> str:
        """The written form: capital letter first, names capitalised, a full stop or question mark."""
        return written(self.spoken) + ("?" if self.question else ".")


def capitalised(text: str) -> str:
    """The text with its first letter in upper case and the rest untouched."""
    return text[:1].upper() + text[1:]


def written(spoken: str) -> str:
    """The written form of spoken words, without the final punctuation mark."""
    return capitalised(" ".join(NAMES.get(word, word) for word in spoken.split()))


def _lights() -> Iterator[Command]:
    for room in ROOMS:
        for state in ("on", "off"):
            call = Call("set_lights", {"room": room, "state": state})
            yield Command(f"turn {state} the {room} lights", "lights", f"{room} lights {state}", {"room": room}, call)
    for room in ("bedroom", "living room"):
        call = Call("set_lights", {"room": room, "state": "dim"})
        yield Command(f"dim the {room} lights", "lights", f"{room} lights dimmed", {"room": room}, call)


def _clock() -> Iterator[Command]:
    minutes = {"one": 1, "two": 2, "five": 5, "ten": 10, "fifteen": 15, "twenty": 20, "thirty": 30}
    for word, number in minutes.items():
        length = f"{word} minute" + ("" if number == 1 else "s")
        call = Call("set_timer", {"minutes": number})
        yield Command(f"set a timer for {length}", "timer", f"timer {length}", {"duration": length}, call)
    for word, number in {"six": 6, "seven": 7, "eight": 8}.items():
        call = Call("set_alarm", {"time": f"{number}:00"})
        spoken = f"wake me up at {word} in the morning"
        yield Command(spoken, "alarm", f"alarm at {word}", {"time": word}, call)
    call = Call("set_alarm", {"time": "9:30"})
    yield Command("set an alarm for nine thirty", "alarm", "alarm at nine thirty", {"time": "nine thirty"}, call)
    for what in ("timer", "alarm"):
        yield Command(f"cancel the {what}", what, f"{what} cancelled", {}, Call("cancel", {"what": what}))
    yield Command("what time is it", "time", "asks the time", question=True)
    yield Command("what day is it today", "time", "asks the day", question=True)
    yield Command("what is the weather today", "weather", "asks the weather", question=True)
    yield Command("will it rain tomorrow", "weather", "asks about rain", question=True)


def _sound() -> Iterator[Command]:
    for genre in ("jazz", "rock", "classical"):
        call = Call("play_music", {"genre": genre})
        yield Command(f"play some {genre} music", "music", f"play {genre} music", {}, call)
    for which in ("next", "previous"):
        yield Command(f"play the {which} song", "music", f"{which} song")
    for verb, state in (("pause", "paused"), ("resume", "resumed"), ("stop", "stopped")):
        yield Command(f"{verb} the music", "music", f"music {state}")
    for direction in ("up", "down"):
        yield Command(f"turn the volume {direction}", "volume", f"volume {direction}")
    yield Command("mute the sound", "volume", "sound muted")
    for word, number in {"twenty": 20, "fifty": 50, "eighty": 80}.items():
        call = Call("set_volume", {"percent": number})
        yield Command(f"set the volume to {word} percent", "volume", f"volume {word} percent", {}, call)


def _away() -> Iterator[Command]:
    places = {
        "home": "home",
        "work": "to work",
        "airport": "to the airport",
        "train station": "to the train station",
    }
    for place, phrase in places.items():
        call = Call("navigate", {"destination": place})
        yield Command(f"navigate {phrase}", "navigation", f"go {phrase}", {"place": place}, call)
    yield Command("stop navigation", "navigation", "navigation stopped")
    yield Command("find the nearest gas station", "navigation", "find a gas station")
    for person in ("mom", "dad", "the doctor", "john"):
        name = NAMES.get(person, person)
        call = Call("call_person", {"name": name.removeprefix("the ")})
        yield Command(f"call {person}", "phone", f"call {name}", {"person": name}, call)
    yield Command("send a message to anna", "phone", "message to Anna", {"person": "Anna"})
    yield Command("read my messages", "phone", "read messages")


def _house() -> Iterator[Command]:
    for verb, state in (("open", "opened"), ("close", "closed")):
        for target, topic, facts in (("garage door", "door", {"room": "garage"}), ("blinds", "blinds", {})):
            call = Call("open_close", {"target": target, "state": "open" if verb == "open" else "closed"})
            yield Command(f"{verb} the {target}", topic, f"{target} {state}", facts, call)
    for verb, state in (("lock", "locked"), ("unlock", "unlocked")):
        yield Command(f"{verb} the front door", "door", f"front door {state}")
    for word, number in {"eighteen": 18, "twenty": 20, "twenty two": 22}.items():
        call = Call("set_temperature", {"degrees": number})
        summary = f"temperature {word} degrees"
        yield Command(f"set the temperature to {word} degrees", "heating", summary, {}, call)
    for device in ("heating", "fan"):
        for state in ("on", "off"):
            yield Command(f"turn {state} the {device}", device, f"{device} {state}")


def _notes() -> Iterator[Command]:
    for item in ("milk", "bread", "eggs"):
        call = Call("add_to_list", {"item": item})
        yield Command(f"add {item} to the shopping list", "shopping", f"buy {item}", {"item": item}, call)
    yield Command("what is on my shopping list", "shopping", "asks the shopping list", question=True)
    yield Command("remind me to water the plants", "reminder", "water the plants")
    yield Command("remind me to take my medicine", "reminder", "take medicine")
    yield Command("start recording", "recording", "recording started")
    yield Command("stop recording", "recording", "recording stopped")
    yield Command("take a note", "recording", "note")
    for numbers in ("one two three", "four five six", "seven eight nine zero"):
        yield Command(numbers, "numbers", numbers)
    yield Command("yes please", "answer", "yes")
    yield Command("no thank you", "answer", "no")
    for greeting in ("good morning", "good night", "hello"):
        yield Command(greeting, "greeting", greeting)
    yield Command("help me", "help", "help")


COMMANDS: tuple[Command, ...] = (*_lights(), *_clock(), *_sound(), *_away(), *_house(), *_notes())
WORDS: tuple[str, ...] = tuple(sorted({word for command in COMMANDS for word in command.spoken.split()}))

# Sentences made of known words that are kept out of the training: they show how far it can generalise.
UNSEEN: tuple[str, ...] = (
    "set a timer for eight minutes",
    "turn off the garage door",
    "set the volume to thirty percent",
    "wake me up at nine in the morning",
    "dim the kitchen lights",
    "set the temperature to eighty degrees",
    "play some morning music",
    "call the office",
    "remind me to call anna",
    "add milk eggs to the shopping list",
)

_KNOWN = frozenset(command.spoken for command in COMMANDS) | frozenset(UNSEEN)


def random_sentence(rng: random.Random) -> str:
    """Known words in an order that is no command.

    Trained on the commands alone, the model would learn the commands by heart; these make it hear words.
    """
    while True:
        if rng.random() < 0.5:
            words = [rng.choice(WORDS) for _ in range(rng.randint(2, 6))]
        else:
            first, second = rng.choice(COMMANDS).spoken.split(), rng.choice(COMMANDS).spoken.split()
            words = first[: rng.randint(1, len(first))] + second[rng.randint(0, len(second) - 1) :]
        sentence = " ".join(words)
        if len(words) <= 8 and sentence not in _KNOWN:
            return sentence
