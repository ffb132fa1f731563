"""What is asked for, apart from how it was typed: by a command line or by a request."""

from dataclasses import dataclass

from streamkv_cli.commands.bounding import moments
from streamkv_cli.errors import UsageError


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

    def check(self) -> None:
        """Refuse what can be refused without looking at anything.

        Raises:
            UsageError: values that cannot work, alone or together.
        """
        moments(self.at, self.from_, self.to)


@dataclass(frozen=True, kw_only=True)
class AskRequest(Request):
    """Everything `streamkv ask` was told."""

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

    def check(self) -> None:
        """As `Request.check`."""
        if self.temperature == 0 and (self.top_p is not None or self.top_k is not None):
            raise UsageError("--top-p and --top-k need sampling", "give a --temperature above 0")
        if self.null and self.question != "-":
            raise UsageError("-0 is for questions on standard input", "ask -")
        super().check()


@dataclass(frozen=True, kw_only=True)
class SearchRequest(Request):
    """Everything `streamkv search` was told."""

    words: str
    limit: int = 10
    min_score: float = 1.0
