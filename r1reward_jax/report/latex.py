r"""Formulas of LaTeX as MathML, which browsers draw without a script, a font or a network.

What models write about pictures is the LaTeX of schools: fractions, roots, indices, Greek letters,
matrices, aligned lines. That is read here; a formula with anything else is left to its caller,
which shows its source. Nothing is taken over as markup: every word of the source is escaped.
"""

import re
from collections.abc import Callable

from markupsafe import Markup, escape

LONGEST, DEEPEST = 4_000, 24
"""Characters of a formula, and groups inside one another, that are drawn at most."""


def _table_of(text: str) -> dict[str, str]:
    """Return a table that is written as words: name, sign, name, sign."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


IDENTIFIERS = _table_of(
    "alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι "
    "kappa κ lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ tau τ upsilon υ phi ϕ varphi φ chi χ psi ψ "
    "omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω hbar ℏ ell ℓ "
    "infty ∞ emptyset ∅ varnothing ∅ Re ℜ Im ℑ aleph ℵ degree ° prime ′"
)
OPERATORS = _table_of(
    "times × cdot ⋅ div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ∘ bullet ∙ oplus ⊕ otimes ⊗ leq ≤ le ≤ geq ≥ "
    "ge ≥ neq ≠ ne ≠ approx ≈ equiv ≡ sim ∼ simeq ≃ cong ≅ propto ∝ ll ≪ gg ≫ to → rightarrow → "
    "leftarrow ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔ implies ⟹ iff ⟺ "
    "longrightarrow ⟶ mapsto ↦ uparrow ↑ downarrow ↓ in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ "
    "supset ⊃ supseteq ⊇ cup ∪ cap ∩ setminus ∖ land ∧ wedge ∧ lor ∨ vee ∨ neg ¬ lnot ¬ forall ∀ "
    "exists ∃ partial ∂ nabla ∇ sum ∑ prod ∏ int ∫ oint ∮ iint ∬ angle ∠ triangle △ square □ "
    "perp ⊥ parallel ∥ mid ∣ therefore ∴ because ∵ ldots … dots … cdots ⋯ vdots ⋮ ddots ⋱ "
    "checkmark ✓ langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lvert | rvert | vert | "
    "lVert ‖ rVert ‖ Vert ‖ backslash \\ colon :"
)
OPERATORS |= {c: c for c in "{}%$&_#"} | {"|": "‖"}
_FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf "
    "det dim ker gcd lcm deg arg Pr mod bmod"
)
FUNCTIONS = frozenset(_FUNCTIONS.split())
SPACES = {",": 0.17, ":": 0.22, ";": 0.28, " ": 0.25, "quad": 1.0, "qquad": 2.0, "!": 0.0}
_IGNORED = (
    "displaystyle textstyle limits nolimits nonumber notag left right big Big bigl bigr Bigl Bigr "
    "bigg Bigg biggl biggr Biggl Biggr hline"
)
IGNORED = frozenset(_IGNORED.split())
_TEXTS = "text textbf textit textrm texttt textsf mbox mathrm operatorname"
TEXTS = frozenset(_TEXTS.split())
_STYLES = "mathbf mathit mathbb mathcal mathsf boldsymbol bm mathfrak"
STYLES = frozenset(_STYLES.split())
ACCENTS = {"hat": "^", "widehat": "^", "bar": "¯", "overline": "¯", "vec": "→", "dot": "˙"} | {
    "tilde": "~",
    "widetilde": "~",
    "ddot": "¨",
    "overrightarrow": "→",
}
TABLES = {
    "pmatrix": "()",
    "bmatrix": "[]",
    "vmatrix": "||",
    "cases": "{",
    "matrix": "",
} | dict.fromkeys(
    ("aligned", "align", "align*", "array", "gather", "gather*", "gathered", "split", "equation")
    + ("equation*", "smallmatrix"),
    "",
)
_TOKEN = re.compile(r"\\(?:[A-Za-z]+\*?|.)|\d+(?:[.,]\d+)*|[A-Za-z]|\s+|[^\\\dA-Za-z\s]", re.DOTALL)


class _Unknown(Exception):
    """The formula has something that is not read here."""


def mathml(source: str, *, block: bool) -> Markup | None:
    """Return a formula as MathML; None if it cannot be drawn.

    Args:
      source: without the signs around it, such as dollars.
      block: it stands on a line of its own.
    """
    if len(source) > LONGEST or not source.strip():
        return None
    try:
        reader = _Reader(_TOKEN.findall(source))
        body = reader.row(None)
    except (_Unknown, RecursionError):
        return None
    display = Markup(' display="block"') if block else Markup("")
    return Markup("<math{}><mrow>{}</mrow></math>").format(display, body)


def _tag(name: str, *children: str | Markup) -> Markup:
    """Return an element; the name is one of ours, texts inside are escaped."""
    return Markup("<{0}>{1}</{0}>").format(Markup(name), Markup("").join(map(escape, children)))


class _Reader:
    """Reads tokens by recursive descent."""

    def __init__(self, tokens: list[str]):
        self._tokens, self._at, self._depth = tokens, 0, 0

    def _peek(self) -> str | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self) -> str:
        token = self._peek()
        if token is None:
            raise _Unknown
        self._at += 1
        return token

    def _skip_space(self) -> None:
        while (token := self._peek()) is not None and token.isspace():
            self._at += 1

    def row(self, end: str | None) -> Markup:
        """Return the atoms up to a token, which is taken, or to the end of the formula."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise _Unknown
        parts: list[Markup] = []
        while (token := self._peek()) != end:
            if token is None:
                raise _Unknown
            if token.isspace():
                self._at += 1
            else:
                parts.append(self._with_scripts())
        if end is not None:
            self._at += 1
        self._depth -= 1
        return Markup("").join(parts)

    def _with_scripts(self) -> Markup:
        """Return an atom with the indices behind it."""
        base = Markup("<mrow></mrow>") if self._peek() in ("^", "_") else self._atom()
        found: dict[str, Markup] = {}
        while True:
            self._skip_space()
            token = self._peek()
            if token == "'":
                self._at += 1
                base = _tag("msup", base, _tag("mo", "′"))
            elif token in ("^", "_") and token not in found:
                self._at += 1
                found[token] = self._argument()
            else:
                break
        if len(found) == 2:
            return _tag("msubsup", base, found["_"], found["^"])
        if "_" in found:
            return _tag("msub", base, found["_"])
        return _tag("msup", base, found["^"]) if "^" in found else base

    def _argument(self) -> Markup:
        """Return the group, or the single atom, that a command takes."""
        self._skip_space()
        if self._peek() == "{":
            self._at += 1
            return _tag("mrow", self.row("}"))
        return _tag("mrow", self._atom())

    def _plain(self) -> str:
        """Return the source of a group, of which only the words count."""
        self._skip_space()
        if self._next() != "{":
            raise _Unknown
        depth, words = 1, []
        while depth:
            token = self._next()
            depth += (token == "{") - (token == "}")
            words.append(token if not re.fullmatch(r"\\[\W_]", token) else token[1:])
        return "".join(words[:-1])

    def _atom(self) -> Markup:
        token = self._next()
        if token.startswith("\\") and len(token) > 1:
            return self._command(token[1:])
        if token == "{":
            return _tag("mrow", self.row("}"))
        if token in ("}", "^", "_", "\\", "&"):
            raise _Unknown
        if token[0].isdigit():
            return _tag("mn", token)
        if token == "~":
            return _space(SPACES[" "])
        return _tag("mi" if token.isalpha() else "mo", "−" if token == "-" else token)

    def _command(self, name: str) -> Markup:
        if name in IDENTIFIERS:
            return _tag("mi", IDENTIFIERS[name])
        if name in OPERATORS:
            return _tag("mo", OPERATORS[name])
        if name in SPACES or name.isspace():
            return _space(SPACES.get(name, SPACES[" "]))
        if name in FUNCTIONS:
            return _tag("mi", name)
        if name in IGNORED:
            return self._delimiter(name)
        if name in TEXTS:
            return _tag("mtext", self._plain().replace(" ", "\u00a0"))
        if name in STYLES:
            return self._argument()
        if name in ACCENTS:
            return Markup('<mover accent="true">{}{}</mover>').format(
                self._argument(), _tag("mo", ACCENTS[name])
            )
        known: dict[str, Callable[[], Markup]] = {
            **dict.fromkeys(("frac", "dfrac", "tfrac", "cfrac"), self._fraction),
            **dict.fromkeys(("binom", "dbinom"), self._binomial),
            **dict.fromkeys(("boxed", "fbox"), self._boxed),
            "sqrt": self._root,
            "begin": self._table,
            "underline": self._argument,
            "underbrace": self._argument,
            "overbrace": self._argument,
        }
        if name not in known:
            raise _Unknown
        return known[name]()

    def _delimiter(self, name: str) -> Markup:
        """Return what a delimiter's size is given for; `\\left.` has none."""
        if name in ("left", "right"):
            self._skip_space()
            if self._peek() == ".":
                self._at += 1
        return Markup("")

    def _fraction(self) -> Markup:
        return _tag("mfrac", self._argument(), self._argument())

    def _binomial(self) -> Markup:
        inside = Markup('<mfrac linethickness="0">{}{}</mfrac>').format(
            self._argument(), self._argument()
        )
        return _tag("mrow", _tag("mo", "("), inside, _tag("mo", ")"))

    def _boxed(self) -> Markup:
        return Markup('<mrow class="boxed">{}</mrow>').format(self._argument())

    def _root(self) -> Markup:
        self._skip_space()
        if self._peek() != "[":
            return _tag("msqrt", self._argument())
        self._at += 1
        index = _tag("mrow", self.row("]"))
        return _tag("mroot", self._argument(), index)

    def _table(self) -> Markup:
        name = self._plain()
        if name not in TABLES:
            raise _Unknown
        if name == "array":
            self._plain()  # the alignment of its columns
        rows: list[list[Markup]] = [[Markup("")]]
        while (token := self._next()) != "\\end":
            if token == "\\\\":
                rows.append([Markup("")])
            elif token == "&":
                rows[-1].append(Markup(""))
            elif not token.isspace():
                self._at -= 1
                rows[-1][-1] += self._with_scripts()
        if self._plain() != name:
            raise _Unknown
        table = _tag("mtable", *(_tag("mtr", *(_tag("mtd", c) for c in row)) for row in rows))
        signs = [_tag("mo", sign) for sign in TABLES[name]]
        return _tag("mrow", *signs[:1], table, *signs[1:])


def _space(em: float) -> Markup:
    return Markup('<mspace width="{}em"></mspace>').format(em)
