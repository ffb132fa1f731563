"""Templates to HTML, with everything escaped that did not come from a template."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from streamkv_cli import __version__
from streamkv_cli.wording import bytes_text, count, escaped, span_text, time_text


def render(template: str, **values: Any) -> str:
    """A page; characters that show as nothing, or turn the text around them, are spelt out."""
    environment = Environment(
        loader=PackageLoader("streamkv_cli.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.filters |= {"time": time_text, "bytes": bytes_text}
    environment.globals |= {"version": __version__, "span": span_text, "count": count}
    return environment.get_template(template).render(**values)


def _visible(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return escaped(value, keep="\n")
    return value
