"""What is asked for, apart from how it was typed: by a command line or by a request."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, get_args, get_type_hints

from streamkv_cli.commands.bounding import moments
from streamkv_cli.errors import UsageError

_ANY = float("inf")
PRESETS = ("default", "paper", "official")
_LIST = ", ".join(PRESETS)
_NEEDED = ("store", "question", "words")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What questions and searches have in common; names and meanings are the flags'.

    Attributes:
        store: folder of the store, as the user named it.
    """

    store: str
    video: list[str] | None = None
    tag: list[str] | None = None
    since: str | None = None
    until: str | None = None
    at: str | None = None
    from_: str | None = None
    to: str | None = None
    exact_frames: int | None = None
    model: str | None = None
    revision: str | None = None
    device: str = "auto"

    RANGES: ClassVar[dict[str, tuple[float, float]]] = {"exact_frames": (0, _ANY)}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """A request from JSON values, named like the flags: exact_frames or exact-frames, from.

        Raises:
            UsageError: a field is unknown or missing, or its value cannot be used.
        """
        kinds = get_type_hints(cls)
        known = {field.name.rstrip("_"): field.name for field in fields(cls)}
        given: dict[str, Any] = {}
        for key, value in values.items():
            name = known.get(key.replace("-", "_").rstrip("_"))
            if name is None:
                raise UsageError(
                    f"the request has a field {key!r}", f"known: {', '.join(sorted(known))}"
                )
            if name in ("video", "tag") and isinstance(value, str):
                value = [value]
            if name in ("at", "from_", "to") and type(value) in (int, float):
                value = str(value)
            if not _fits(value, kinds[name]):
                raise UsageError(f"{key} of the request is of a wrong kind: {value!r}")
            given[name] = value
        try:
            return cls(**given)
        except TypeError:
            lacking = [f for f in known if known[f] not in given and f in _NEEDED]
            raise UsageError(f"the request has no {lacking[0]}") from None

    def check(self) -> None:
        """Refuse what can be refused without looking at anything.

        Raises:
            UsageError: values that cannot work, alone or together.
        """
        for name, (least, most) in self.RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} {value:g} is not between {least:g} and {most:g}")
        moments(self.at, self.from_, self.to)


@dataclass(frozen=True, kw_only=True)
class AskRequest(Request):
    """Everything `streamkv ask` was told, and what was said before.

    Attributes:
        history: answers before this question, as `ask --json` prints them; of their fields
            question, answer and evidence count.
    """

    question: str
    each: bool = False
    null: bool = False
    blocks: int | None = None
    local: int | None = None
    preset: str | None = None
    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float | None = None
    top_k: int | None = None
    seed: int = 0
    history: list[dict[str, Any]] | None = None

    RANGES: ClassVar[dict[str, tuple[float, float]]] = Request.RANGES | {
        "blocks": (1, _ANY),
        "local": (0, _ANY),
        "max_new_tokens": (1, _ANY),
        "temperature": (0, _ANY),
        "top_p": (0, 1),
        "top_k": (1, _ANY),
        "seed": (0, 1 << 32),
    }

    def check(self) -> None:
        """As `Request.check`."""
        if self.preset not in (None, *PRESETS):
            raise UsageError(f"there is no preset {self.preset}", f"there are {_LIST}")
        self.turns()
        if self.temperature == 0 and (self.top_p is not None or self.top_k is not None):
            raise UsageError("--top-p and --top-k need sampling", "give a --temperature above 0")
        if self.null and self.question != "-":
            raise UsageError("-0 is for questions on standard input", "ask -")
        super().check()

    def turns(self) -> list[tuple[str, str, list[tuple[str, float, float]]]]:
        """Questions before this one: words, answer, and the evidence as (id, start, end).

        Raises:
            UsageError: a turn of the history lacks something.
        """
        try:
            return [
                (
                    _text(turn["question"]),
                    _text(turn["answer"]),
                    [
                        (_text(piece["id"]), float(piece["start"]), float(piece["end"]))
                        for piece in turn.get("evidence", ())
                    ],
                )
                for turn in self.history or ()
            ]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UsageError(
                "the history is not one of answers", "send what --json prints of each"
            ) from None


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Request):
    """Everything `streamkv search` was told."""

    words: str
    limit: int = 10
    min_score: float = 1.0

    RANGES: ClassVar[dict[str, tuple[float, float]]] = Request.RANGES | {"limit": (1, _ANY)}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _fits(value: object, kind: Any) -> bool:
    """Whether a JSON value is of a field's type."""
    kinds = get_args(kind) or (kind,)
    if list[dict[str, Any]] in kinds:
        return value is None or isinstance(value, list)
    if kind == list[str] or list[str] in kinds:
        texts = isinstance(value, list) and all(isinstance(word, str) for word in value)
        return texts or (value is None and type(None) in kinds)
    if float in kinds:
        kinds += (int,)
    return type(value) in kinds
