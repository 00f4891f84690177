"""Every error that voxtral_ops raises on purpose.

::

    VoxtralError                 message + hint + category + retryable + details
    ├── ConfigurationError       (ValueError)       what the user wrote cannot be meant
    ├── HostError                (OSError)          this machine lacks something: space, rights, a library, a port
    ├── ReleaseError             (ValueError)       bytes on disk are not the bytes that the release names
    ├── AudioError               (ValueError)       this recording cannot be read
    ├── NetworkError             (ConnectionError)  nobody answered
    ├── ServerError              (RuntimeError)     the server answered, and the fault is its own
    ├── ModelError               (ValueError)       the model cannot do what was asked of it
    ├── CapacityError            (RuntimeError)     the server is full: wait and try again
    └── PrivacyError             (PermissionError)  audio would go further than the policy allows

A message says what happened and to what; the hint says what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

Category = Literal[
    "configuration", "host", "release", "audio", "network", "server", "model", "capacity", "privacy", "internal"
]


class VoxtralError(Exception):
    """The root. ``details`` holds what a log or a program would want: paths, numbers, status codes."""

    category: ClassVar[Category] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        """The form that ``--json`` prints: type, category, message, hint, retryable, details."""
        return {
            "type": type(self).__name__,
            "category": self.category,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            "details": {
                key: str(value) if hasattr(value, "__fspath__") else value for key, value in self.details.items()
            },
        }


class ConfigurationError(VoxtralError, ValueError):
    """What the user wrote cannot be meant: an unknown name, a value out of range."""

    category: ClassVar[Category] = "configuration"


class HostError(VoxtralError, OSError):
    """This machine lacks something: space, rights, a library, a free port."""

    category: ClassVar[Category] = "host"


class ReleaseError(VoxtralError, ValueError):
    """Bytes on disk are not the bytes that the release names, or it names none."""

    category: ClassVar[Category] = "release"


class AudioError(VoxtralError, ValueError):
    """This recording cannot be read; the caller's other recordings are fine."""

    category: ClassVar[Category] = "audio"


class NetworkError(VoxtralError, ConnectionError):
    """Nobody answered, or the line broke."""

    category: ClassVar[Category] = "network"
    retryable: ClassVar[bool] = True


class ServerError(VoxtralError, RuntimeError):
    """The server answered or died, and the fault is its own."""

    category: ClassVar[Category] = "server"
    retryable: ClassVar[bool] = True


class ModelError(VoxtralError, ValueError):
    """The model cannot do what was asked of it."""

    category: ClassVar[Category] = "model"


class CapacityError(VoxtralError, RuntimeError):
    """The server is full: wait and try again."""

    category: ClassVar[Category] = "capacity"
    retryable: ClassVar[bool] = True


class PrivacyError(VoxtralError, PermissionError):
    """Audio would go further than the policy allows."""

    category: ClassVar[Category] = "privacy"
