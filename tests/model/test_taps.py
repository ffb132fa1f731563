"""What the hooks hold on to."""

import torch
from torch import nn

from streamkv_cli.model.taps import Taps


def test_queries_are_those_of_the_rows() -> None:
    query, key = nn.Linear(5, 3 * 4), nn.Linear(5, 2 * 4)
    taps = Taps([(query, key)])
    hidden = torch.randn(1, 7, 5)
    queries, keys = query(hidden)[0].view(7, 3, 4), key(hidden)[0].view(7, 2, 4)
    torch.testing.assert_close(taps.queries(4, slice(0, 7)), queries)
    torch.testing.assert_close(taps.queries(4, slice(2, 5)), queries[2:5])
    torch.testing.assert_close(taps.keys(4), keys.transpose(0, 1))
