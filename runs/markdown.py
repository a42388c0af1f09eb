"""Markdown that an agent wrote, made safe to look at: no images, no HTML, links that show where they lead."""

from functools import cache
from typing import Any
from urllib.parse import urlparse

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

TAGS = {
    "p", "br", "hr", "strong", "em", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "span",
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
ATTRIBUTES = {"a": {"href"}, "span": {"class"}}
SCHEMES = {"http", "https", "mailto"}


def render(text: str) -> SafeString:
    """HTML that can be put into a page. What it may hold is decided by nh3, after Markdown has been rendered."""
    html = _reader().render(text)
    clean = nh3.clean(html, tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel="noopener noreferrer nofollow")
    return mark_safe(clean)


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    reader.add_render_rule("image", _image)
    reader.add_render_rule("link_open", _link_open)
    reader.add_render_rule("link_close", _link_close)
    return reader


def _image(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    """An image is not loaded: its request would tell its host who looks, and when."""
    token = tokens[index]
    return f'<span class="link-host">[image “{escape(token.content)}” at {escape(token.attrs.get("src", ""))}]</span>'


def _link_open(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    env.setdefault("links", []).append(str(tokens[index].attrs.get("href", "")))
    return str(self.renderToken(tokens, index, options, env))


def _link_close(self: Any, tokens: Any, index: int, options: Any, env: Any) -> str:
    target = env["links"].pop() if env.get("links") else ""
    where = urlparse(target).netloc or target
    return f'</a><span class="link-host"> ({escape(where)})</span>'
