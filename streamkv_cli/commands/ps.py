"""`streamkv ps`: the servers that run."""

from typing import Any

from streamkv_cli.commands.guard import guarded
from streamkv_cli.commands.options import JsonOption, QuietOption
from streamkv_cli.console import Console, bytes_text

EXAMPLE = "Example: streamkv ps"


@guarded
def ps(json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List this user's servers: store, model, process, device, memory, and until when they wait."""
    console = Console(json_lines=json, quiet=quiet)
    from streamkv_cli.server.client import NoAnswerError, call
    from streamkv_cli.server.place import places

    rows = []
    for place in places():
        if not place.alive:
            continue
        try:
            facts = call(place, "GET", "/health")
            console.record(facts.pop("type"), **facts)
            rows.append(_row(facts))
        except NoAnswerError:
            facts = place.facts()
            console.record("server", **facts, until=None)
            rows.append(_row({"until": "does not answer" if facts else "is starting", **facts}))
    if rows:
        columns = ("store", "model", "pid", "device", "memory", "until")
        console.table(columns, rows, right="pid memory")
    elif not json:
        console.message("no server runs; start one: streamkv serve --detach")


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    memory = facts.get("memory")
    both = bytes_text(memory) if memory else "-"
    if gpu := facts.get("gpu_memory"):
        both += f" + {bytes_text(gpu)}"
    names = (str(facts.get(name, "-")) for name in ("store", "model", "pid"))
    device = " ".join(str(facts[name]) for name in ("device", "dtype") if name in facts)
    return *names, device or "-", both, str(facts["until"])
