r"""Answers as people read them: Markdown and LaTeX, of which nothing but words can reach the page.

What a model or a data file says is parsed, never trusted. The parser (markdown-it-py, with HTML,
links and images switched off) yields tokens; of these only the elements of `TAGS` are written, by
us, without attributes, and every text between them is escaped. So no address can be followed or
loaded, and a text that is no Markdown stays as it is.
"""

import functools
import re

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

from r1reward_jax.report.latex import mathml
from r1reward_jax.report.view import visible

LONGEST = 20_000
"""Characters of a text that are read as Markdown; the rest would be shown as it is written."""
DEEPEST = 20
"""Levels inside one another beyond which a text is shown as it is written."""
_TAGS = "p em strong s code pre blockquote ul ol li hr br table thead tbody tr th td"
TAGS = frozenset(_TAGS.split()) | {f"h{n}" for n in range(1, 7)}
_MARKUP = re.compile(
    r"[*_`$]|\\[A-Za-z(\[]|~~|^ {0,3}(?:#{1,6} |> |[-+] |\d{1,9}[.)] )|^ {0,3}\|", re.MULTILINE
)
"""What a text without is no Markdown, so that nothing has to be parsed."""
_FORMULA = re.compile(
    r"\$\$(?P<a>.+?)\$\$|\\\[(?P<b>.+?)\\\]|\\\((?P<c>[^\n]+?)\\\)"
    r"|(?P<e>\\begin\{(?P<name>[a-z]+\*?)\}.+?\\end\{(?P=name)\})"
    # a dollar beside a space, or in front of a digit behind the formula, is money
    r"|(?<![\\$\w])\$(?![\s$])(?P<d>[^$\n]{1,400}?)(?<![\s\\])\$(?![\w$])",
    re.DOTALL,
)
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_OPEN, _SHUT = "\ue000", "\ue001"
"""Letters for private use around the number of a formula, while its text is parsed."""
_PLACE = re.compile(f"{_OPEN}(\\d+){_SHUT}")


def prose(text: str) -> Markup | None:
    """Return a text as HTML; None if it has no Markdown and no formula, or is too long."""
    if len(text) > LONGEST or not _MARKUP.search(text):
        return None
    formulas: list[re.Match[str]] = []

    def keep(match: re.Match[str]) -> str:
        formulas.append(match)
        return f"{_OPEN}{len(formulas) - 1}{_SHUT}"

    plain = visible(text).replace(_OPEN, "\ufffd").replace(_SHUT, "\ufffd")
    # formulas are taken out first: Markdown would read their backslashes and underscores
    pieces = _CODE.split(plain)
    pieces[::2] = [_FORMULA.sub(keep, piece) for piece in pieces[::2]]
    try:
        tokens = _parser().parse("".join(pieces))
    except RecursionError:
        return None
    if any(token.level >= DEEPEST - 1 for token in tokens):  # the parser stops there
        return None
    return Markup("").join(_written(tokens, formulas))


@functools.cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": DEEPEST})
    parser.enable(["table", "strikethrough"])
    # entities would change words, and a reference could hide some
    return parser.disable(
        ["html_block", "html_inline", "link", "image", "autolink", "entity"] + ["reference"]
    )


def _written(tokens: list[Token], formulas: list[re.Match[str]]) -> list[Markup]:
    """Return the tokens as HTML."""
    parts: list[Markup] = []
    for token in tokens:
        if token.type == "inline":
            parts += _written(token.children or [], formulas)
        elif token.type in ("code_inline", "fence", "code_block"):
            source = _PLACE.sub(lambda m: formulas[int(m[1])][0], token.content)
            code = Markup("<code>{}</code>").format(source)
            parts.append(
                code if token.type == "code_inline" else Markup("<pre>{}</pre>").format(code)
            )
        elif token.type in ("softbreak", "hardbreak"):
            parts.append(Markup("<br>"))
        elif token.nesting or token.type == "hr":
            if token.tag in TAGS and not token.hidden:
                slash = "/" if token.nesting < 0 else ""
                # headings of an answer are none of the page
                tag = "h6" if token.tag[0] == "h" and token.tag != "hr" else token.tag
                parts.append(Markup(f"<{slash}{tag}>") if tag != "h6" else _heading(slash))
        else:
            parts += _words(token.content, formulas)
    return parts


def _heading(slash: str) -> Markup:
    return Markup("</p>") if slash else Markup('<p class="heading">')


def _words(text: str, formulas: list[re.Match[str]]) -> list[Markup]:
    """Return a text with its formulas drawn, or as their source where they cannot be."""
    parts = []
    for i, piece in enumerate(_PLACE.split(text)):
        if i % 2 == 0:
            parts.append(escape(piece))
            continue
        match = formulas[int(piece)]
        inside = next(match[name] for name in "abcde" if match[name] is not None)
        drawn = mathml(inside, block=match.lastgroup in ("a", "b", "name"))
        parts.append(drawn or Markup('<code class="tex">{}</code>').format(match[0]))
    return parts
