"""Who works on a request: this process, with a store and a model of its own."""

from pathlib import Path
from typing import BinaryIO

from streamkv_cli.commands.requests import AskRequest, SearchRequest
from streamkv_cli.console import Console


def ask_somewhere(request: AskRequest, console: Console, stdin: BinaryIO) -> None:
    """Have a request answered."""
    from store import Store
    from streamkv_cli.commands.answering import run_ask
    from streamkv_cli.commands.desk import OwnDesk

    with Store.open(Path(request.store)) as opened:
        run_ask(request, console, OwnDesk(opened), stdin)


def search_somewhere(request: SearchRequest, console: Console) -> None:
    """Have a request searched for."""
    from store import Store
    from streamkv_cli.commands.answering import run_search
    from streamkv_cli.commands.desk import OwnDesk

    with Store.open(Path(request.store)) as opened:
        run_search(request, console, OwnDesk(opened))
