"""Markdown and LaTeX of answers: what is drawn, and that nothing but words gets through."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1reward_jax.report.latex import mathml
from r1reward_jax.report.prose import LONGEST, TAGS, prose
from r1reward_jax.report.view import visible
from tests.report.conftest import HOSTILE


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("**a** *b* `c` ~~d~~", "<p><strong>a</strong> <em>b</em> <code>c</code> <s>d</s></p>"),
        ("1. one\n2. two", "<ol><li>one</li><li>two</li></ol>"),
        ("- a\n- b", "<ul><li>a</li><li>b</li></ul>"),
        ("### Head\nText", '<p class="heading">Head</p><p>Text</p>'),
        ("> said\n\n*x*", "<blockquote><p>said</p></blockquote><p><em>x</em></p>"),
        ("*a*\nb", "<p><em>a</em><br>b</p>"),
        ("```py\n<b>\n```", "<pre><code>&lt;b&gt;\n</code></pre>"),
        # neither a link nor an image: words, as they are written
        ("*a* [b](javascript:c)", "<p><em>a</em> [b](javascript:c)</p>"),
        ("*a* ![b](http://c/d.png)", "<p><em>a</em> ![b](http://c/d.png)</p>"),
        (
            "*a* <http://b.c> &amp; &#60;",
            "<p><em>a</em> &lt;http://b.c&gt; &amp;amp; &amp;#60;</p>",
        ),
        ("[x]: http://b.c\n*a* [x]", "<p>[x]: http://b.c<br><em>a</em> [x]</p>"),
        ("*a* <b onclick=x>", "<p><em>a</em> &lt;b onclick=x&gt;</p>"),
        ("`$x$` *a*", "<p><code>$x$</code> <em>a</em></p>"),
        ("it costs $5, and **$6**", "<p>it costs $5, and <strong>$6</strong></p>"),
        (r"$\strange{x}$ *a*", r'<p><code class="tex">$\strange{x}$</code> <em>a</em></p>'),
    ],
)
def test_markdown(text, drawn):
    assert re.sub(r"\n(?=<(?!/code))", "", str(prose(text))) == drawn


@pytest.mark.parametrize("text", ["a plain text.\nWith lines", "", "2 < 3 & 4 > 1", "a_b", "[x]"])
def test_a_text_without_markdown_is_shown_as_it_is(text):
    drawn = prose(text)
    assert drawn is None or not re.search(r"<(?!/?(?:p|br)\b)", str(drawn))


@pytest.mark.parametrize(
    ("source", "inside"),
    [
        (r"\frac{1}{2}", "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>"),
        (r"x^2_i", "<msubsup><mi>x</mi><mrow><mi>i</mi></mrow><mrow><mn>2</mn></mrow></msubsup>"),
        (r"\sqrt[3]{a}", "<mroot><mrow><mi>a</mi></mrow><mrow><mn>3</mn></mrow></mroot>"),
        (r"\alpha \le 3{,}5", "<mi>α</mi><mo>≤</mo><mn>3</mn>"),
        (r"\text{if } x", "<mtext>if\u00a0</mtext><mi>x</mi>"),
        (r"\left( a \right.", "<mo>(</mo><mi>a</mi>"),
        (r"50\%", "<mn>50</mn><mo>%</mo>"),
        (r"\begin{cases} 1 & a \\ 2 & b \end{cases}", "<mtr><mtd><mn>2</mn></mtd><mtd><mi>b</mi>"),
        (r"\begin{array}{cc} 1 & 2 \end{array}", "<mtd><mn>2</mn></mtd>"),
        (r"f'(x)", "<msup><mi>f</mi><mo>′</mo></msup>"),
        (r"\text{<img src=x>}", "<mtext>&lt;img\u00a0src=x&gt;</mtext>"),
        (r"<\script>".replace("\\", ""), "<mo>&lt;</mo><mi>s</mi>"),
    ],
)
def test_formulas(source, inside):
    drawn = mathml(source, block=False)
    assert drawn is not None and inside in drawn


@pytest.mark.parametrize(
    "source",
    [
        r"\unknown{x}",
        r"\frac{1}",
        "{a",
        "a}",
        "",
        "^",
        r"\begin{odd} \end{odd}",
        "{" * 99 + "}" * 99,
    ]
    + [r"\href{javascript:x}{y}", r"\begin{cases} a \end{matrix}", "x" * 5000, r"\left", "_"],
)
def test_what_is_no_formula_of_ours_is_left_alone(source):
    drawn = mathml(source, block=False)
    assert drawn is None or "script" not in drawn
    if source not in ("^", "_", r"\left"):
        assert drawn is None


def test_formulas_survive_markdown():
    r"""Markdown would take `\(` for a bracket and `_` for emphasis."""
    text = r"*So* \(a_{1}*b_{2}*c\) and \[\begin{aligned} x &= 1 \\ y &= 2 \end{aligned}\] hold"
    drawn = str(prose(text))
    assert drawn.count("<math") == 2 and '<math display="block">' in drawn
    assert "<em>So</em>" in drawn and drawn.count("<em>") == 1 and drawn.count("<mtr>") == 2


def test_texts_that_are_too_long_or_too_deep_are_shown_as_they_are():
    assert prose("*a* " * LONGEST) is None
    assert prose("> " * 60 + "*deep*") is None
    assert prose("- " * 60 + "*deep*") is None


PIECES = ["*", "**", "_", "`", "```", "$", "$$", "\\(", "\\)", "\\[", "\\]", "<script>", "\n", "|"]
PIECES += [
    "- ",
    "> ",
    "#",
    "a",
    "\\frac{",
    "}",
    "[x](y)",
    "<img src=x onerror=y>",
    "&lt;",
    "\ue000",
]
PIECES += [
    "0",
    "\ue001",
    "\\begin{cases}",
    "\\end{cases}",
    "javascript:",
    '"',
    "'",
    HOSTILE,
    "\ud800",
]
MATHS = "math mrow mi mn mo mtext mfrac msqrt mroot msup msub msubsup mover mtable mtr mtd mspace"
OPENED = re.compile(r"<(/?)([a-zA-Z0-9]*)([^>]*)>")


@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
@settings(max_examples=300, deadline=None)
def test_only_our_elements_are_written_and_they_are_closed(text):
    drawn = prose(text)
    if drawn is None:
        return
    str(drawn).encode()
    open_ = []
    known = {*TAGS, *MATHS.split()}
    for slash, tag, rest in OPENED.findall(str(drawn)):
        assert tag in known, tag
        assert not rest or re.fullmatch(
            r' (?:class="(?:heading|tex|boxed)"|display="block"|width="[\d.]+em"|accent="true"'
            r'|linethickness="0")',
            rest,
        )
        if slash:
            assert open_.pop() == tag
        elif tag not in ("br", "hr"):
            open_.append(tag)
    assert not open_


def test_unseen_characters_are_seen():
    assert (
        visible("a\x1b[31m\x00\x7f\x85\u202eb\ud800\n\t") == "a␛[31m␀␡[U+0085][U+202E]b[U+D800]\n\t"
    )
    assert visible("Zwölf 漢字 🙂 שלום") == "Zwölf 漢字 🙂 שלום"
