"""`streamkv ask`: answer a question from what the store holds."""

from typing import TYPE_CHECKING, Annotated

import typer

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import (
    DeviceOption,
    JsonOption,
    PresetName,
    QuietOption,
    RevisionOption,
    SinceOption,
    StoreOption,
    TagFilter,
    UntilOption,
    VerboseOption,
    VideoOption,
)
from streamkv_cli.commands.select import select_videos
from streamkv_cli.console import Console, bytes_text, count, span_text, time_text
from streamkv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store import Store, VideoRecord
    from streamkv_cli.method.presets import Method
    from streamkv_cli.model.checkpoint import Checkpoint
    from streamkv_cli.model.video_llm import VideoLLM
    from streamkv_cli.pipeline.answer import Answer

EXAMPLE = 'Example: streamkv ask "what happens after the red car leaves?" --video street.mp4'

_SHOWN = 5
_ANSWER, _MODEL, _FETCH = "Answer", "Model", "Retrieval"


@guarded
def ask(
    question: Annotated[str, typer.Argument(help="The question, in words.")],
    store: StoreOption,
    video: VideoOption = None,
    tag: TagFilter = None,
    since: SinceOption = None,
    until: UntilOption = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            min=1, help="Blocks fetched a layer, on average; 64 by default.", rich_help_panel=_FETCH
        ),
    ] = None,
    local: Annotated[
        int | None,
        typer.Option(
            min=0, help="Most recent blocks, always fetched; 8 by default.", rich_help_panel=_FETCH
        ),
    ] = None,
    preset: Annotated[
        PresetName | None,
        typer.Option(
            help="Retrieval settings.", rich_help_panel=_FETCH, show_default="as ingested"
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of the longest answer.", rich_help_panel=_ANSWER)
    ] = 128,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 is greedy.", rich_help_panel=_ANSWER)
    ] = 0.0,
    top_p: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Sample among tokens of this share of probability.",
            rich_help_panel=_ANSWER,
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(min=1, help="Sample among this many tokens.", rich_help_panel=_ANSWER),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32, help="Seed of sampling.", rich_help_panel=_ANSWER)
    ] = 0,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="The model, where it has moved.",
            rich_help_panel=_MODEL,
            show_default="as ingested",
        ),
    ] = None,
    revision: RevisionOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Answer a question from stored KV: no video is opened, only chosen blocks are read.

    The answer goes to stdout as it comes, its evidence to stderr.
    """
    console = Console(json_lines=json, quiet=quiet, verbose=verbose)
    if temperature == 0 and (top_p is not None or top_k is not None):
        raise UsageError("--top-p and --top-k need sampling", "give a --temperature above 0")
    from store import Store

    with Store.open(store) as opened:
        if opened.unlocked:
            console.detail(opened.unlocked)
        chosen = select_videos(opened, video, tags=tag, since=since, until=until)
        records = [record for record, state in chosen if state.segments]
        _tell_partial(console, chosen)
        checkpoint = _checkpoint(records, model, revision)
        _refuse_mixed(records, checkpoint)
        from streamkv_cli.pipeline.answer import Sampling, answer_question

        loaded = _load(console, records, checkpoint, device)
        method = _method(records, preset, blocks, local)
        stored = _most_stored(opened, records)
        _warn_long(console, loaded, records, method, stored, max_new_tokens)
        answer = answer_question(
            opened,
            records,
            loaded,
            method,
            question,
            init_prompt=records[0].profile["init_prompt"],
            sampling=Sampling(max_new_tokens, temperature, top_p, top_k, seed),
            on_text=(lambda _: None) if json else (lambda text: console.text(text, end="")),
        )
    _tell(console, question, answer)


def _tell_partial(console: Console, chosen: "Sequence") -> None:
    from streamkv_cli.errors import NothingFoundError

    for record, state in chosen:
        if state.missing:
            console.warning(
                f"{record.name} has gaps, {count(len(state.missing), 'segment')} of it lost; "
                f"streamkv repair says how to fill them"
            )
        elif not state.complete and state.segments:
            console.warning(f"{record.name} is ingested up to {time_text(state.end)} only")
    if not any(state.segments for _, state in chosen):
        raise NothingFoundError(
            f"{chosen[0][0].name} has no segment yet", "wait for its ingest, or run it again"
        )


def _checkpoint(
    records: "Sequence[VideoRecord]", model: str | None, revision: str | None
) -> "Checkpoint":
    """The model the videos were ingested with, wherever it lies now."""
    from streamkv_cli.errors import ModelError
    from streamkv_cli.model.checkpoint import find_checkpoint

    notes = records[0].notes
    try:
        return find_checkpoint(model or notes["model"], revision or notes["revision"] or None)
    except ModelError as error:
        if model:
            raise
        raise ModelError(
            f"the model that {records[0].name} was ingested with cannot be found: {error.what}",
            "if it has moved, say where with --model",
        ) from None


def _refuse_mixed(records: "Sequence[VideoRecord]", checkpoint: "Checkpoint") -> None:
    """Refuse, before anything heavy is loaded, what one model cannot read."""
    from store import StoreRefused, codec_of
    from streamkv_cli.pipeline.profile import (
        MODEL_FIELDS,
        first_difference,
        model_profile,
        refuse_mismatch,
    )

    first = records[0]
    for record in records:
        codec_of(record)
    for other in records[1:]:
        # Weights are compared below, by the rule each fingerprint was made with.
        fields = tuple(name for name in MODEL_FIELDS if name != "weights")
        if difference := first_difference(first.profile, other.profile, fields):
            raise StoreRefused(
                f"{first.name} and {other.name} were ingested with different models: {difference}",
                "choose with --video",
            )
    for record in {record.profile.get("weights"): record for record in reversed(records)}.values():
        stored = record.profile
        now = model_profile(checkpoint, stored["dtype"], stored["init_prompt"], like=stored)
        remedy = f"give the right one with --model, or ingest {record.name} again"
        if len(records) > 1:
            remedy += "; --video asks some of the videos only"
        refuse_mismatch(record.name, stored, now, remedy)


def _load(
    console: Console, records: "Sequence[VideoRecord]", checkpoint: "Checkpoint", device: str
) -> "VideoLLM":
    from streamkv_cli.model.device import choose_placement
    from streamkv_cli.model.loading import load_model

    placement = choose_placement(device, records[0].profile["dtype"])
    console.detail(f"device: {placement.reason} when it was ingested")
    return load_model(checkpoint, placement)


def _method(
    records: "Sequence[VideoRecord]", preset: str | None, blocks: int | None, local: int | None
) -> "Method":
    from streamkv_cli.method import presets

    name = preset or str(records[0].notes.get("preset", "default"))
    method = presets.preset(name, blocks=blocks, local=local)
    if method.local > method.blocks:
        if local is not None:
            raise UsageError(f"--local {local} is more than --blocks {method.blocks}")
        # The preset's recent blocks must not push out everything a smaller budget looks for.
        method = presets.preset(name, blocks=blocks, local=method.blocks // 8)
    return method


def _most_stored(store: "Store", records: "Sequence[VideoRecord]") -> int:
    """Blocks in the fullest layer."""
    from streamkv_cli.pipeline.retrieve import stored_blocks

    segments = [segment for record in records for segment in store.segments(record.video_id)]
    return max(stored_blocks(segments, records[0].geometry.layers))


def _warn_long(
    console: Console,
    model: "VideoLLM",
    records: "Sequence[VideoRecord]",
    method: "Method",
    stored: int,
    answer: int,
) -> None:
    fetched = min(method.blocks, stored) * max(record.geometry.tokens for record in records)
    if fetched + answer > model.longest_context:
        console.warning(
            f"{fetched:,} tokens of video and {answer:,} of answer are more than the "
            f"{model.longest_context:,} positions the model was made for; fewer --blocks or "
            f"--max-new-tokens may answer better"
        )


def _tell(console: Console, question: str, answer: "Answer") -> None:
    console.record(
        "answer",
        question=question,
        answer=answer.text,
        evidence=[
            {
                "video": piece.video,
                "id": piece.video_id,
                "start": piece.start,
                "end": piece.end,
                "layers": piece.layers,
                "score": round(piece.score, 6),
            }
            for piece in answer.evidence
        ],
        layers=len(answer.budgets),
        budgets=answer.budgets,
        blocks_stored=answer.blocks_stored,
        blocks_fetched=answer.blocks_fetched,
        bytes_stored=answer.bytes_stored,
        bytes_fetched=answer.bytes_fetched,
        tokens=answer.tokens,
        prompt=answer.prompt,
        seconds_to_first_token=round(answer.seconds_to_first_token, 4),
        seconds=round(answer.seconds, 4),
    )
    if console.json_lines:
        return
    console.text("")
    for piece in answer.evidence[:_SHOWN]:
        console.message(
            f"  {piece.video} {span_text(piece.start, piece.end)} "
            f"({piece.layers} of {len(answer.budgets)} layers)"
        )
    console.detail(
        f"fetched {answer.blocks_fetched} of {answer.blocks_stored} blocks, "
        f"{bytes_text(answer.bytes_fetched)} of {bytes_text(answer.bytes_stored)}; "
        f"blocks by layer: {' '.join(map(str, answer.budgets))}"
    )
    console.detail(
        f"first token after {answer.seconds_to_first_token:.2f} s, "
        f"{len(answer.tokens)} tokens in {answer.seconds:.2f} s"
    )
