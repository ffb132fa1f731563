"""Forward hooks that hold on to the pre-RoPE queries and keys of the layer now running."""

from torch import Tensor, nn


class Taps:
    """Output of the last `q_proj` and `k_proj` that ran, [1, S, heads x d], or of their norms.

    Layers run one after another and a layer's cache is updated right after its projections, so
    "the last one" is always the layer in question, and nothing piles up.

    Args:
        layers: pairs (query projection, key projection), or the norms after them where a family
            has them, in layer order.
    """

    def __init__(self, layers: list[tuple[nn.Module, nn.Module]]) -> None:
        self.query: Tensor | None = None
        self.key: Tensor | None = None
        for query, key in layers:
            query.register_forward_hook(self._on_query)
            key.register_forward_hook(self._on_key)

    def _on_query(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        self.query = output

    def _on_key(self, _: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        self.key = output

    def queries(self, head_dim: int, rows: slice) -> Tensor:
        """[S', h, d] float32 queries of the chosen rows in the layer now running."""
        assert self.query is not None
        return _by_head(self.query[0, rows], head_dim).float()

    def keys(self, head_dim: int) -> Tensor:
        """[g, S, d] keys of the layer now running."""
        assert self.key is not None
        return _by_head(self.key[0], head_dim).transpose(0, 1)


def _by_head(output: Tensor, head_dim: int) -> Tensor:
    """[S, heads, d], which the norms give already and the projections in one row of heads x d."""
    return output if output.dim() == 3 else output.unflatten(-1, (-1, head_dim))
