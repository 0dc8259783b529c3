"""Bodies and subjects written in Liquid, within limits that no template gets around.

This loads python-liquid, 19 MB: import it only where there is such a template.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any, Final

from liquid import BoundTemplate, Environment, Markup, RenderContext
from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, LoopExpression
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.exceptions import LiquidError, LiquidSyntaxError, ResourceLimitError
from liquid.expression import Expression
from liquid.output import LimitedStringIO

from kannon.core.template_errors import BadTemplate, TemplateLimit

MAX_STEPS: Final = 50_000
"""Tags, placeholders and texts between them that are written, and filters that are used, each time."""
MAX_LOOPS: Final = 10_000
"""Rounds of a loop, with those of the loops that it stands in."""
MAX_OUTPUT: Final = 600_000
"""Octets."""
MAX_SECONDS: Final = 0.5
"""Of the processor: what a single step takes comes on top, some tens of milliseconds at the most."""
MAX_CHARACTERS: Final = 100_000
"""That a filter takes or gives; of a list, all its texts together."""
MAX_ITEMS: Final = 1000
MAX_NUMBER: Final = 2**63
MAX_VARIABLES: Final = 1_000_000
"""Octets that variables take."""
MAX_MARKUP: Final = 2000
"""Characters between `{{` and `}}`, or `{%` and `%}`: to read more takes more than proportionally long."""
MAX_PLACES: Final = 5000
"""Placeholders and tags of one template."""

_TAGS: Final = frozenset(
    {"content", "output", "illegal", "if", "unless", "case", "for", "break", "continue", "assign", "capture"}
    | {"comment", "#", "cycle", "increment", "decrement", "echo", "liquid", "ifchanged"}
)
_FILTERS: Final = frozenset(
    {"abs", "at_least", "at_most", "ceil", "divided_by", "floor", "minus", "modulo", "plus", "round", "times"}
    | {"append", "capitalize", "downcase", "escape", "escape_once", "lstrip", "newline_to_br", "prepend"}
    | {"remove", "remove_first", "remove_last", "replace", "replace_first", "replace_last", "rstrip", "slice"}
    | {"split", "squish", "strip", "strip_html", "strip_newlines", "truncate", "truncatewords", "upcase"}
    | {"url_decode", "url_encode", "base64_encode", "base64_decode", "compact", "concat", "first", "join"}
    | {"last", "reverse", "size", "sort", "sort_natural", "sum", "uniq", "default", "date"}
)
_BEGINNING = re.compile(r"\{[{%]")
_LONG_SPACE = re.compile(r"\s{51}")
_RAW = re.compile(r"-?\s*(raw|doc)\s*-?")
_END_OF_RAW = re.compile(r"\{%-?\s{0,50}endraw\s{0,50}-?%\}")
_LONGEST_DATE: Final = 100
_LONGEST_REASON: Final = 200


class LiquidTemplate:
    """One template, read.

    Args:
        source: Liquid, without tags that load others.
        escapes: write values so that HTML shows them; as they are otherwise.
        clock: seconds of the processor that this thread has taken.

    Raises:
        BadTemplate: it is none.
    """

    def __init__(self, source: str, *, escapes: bool, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._environment = _HTML if escapes else _TEXT
        _check_markup(source)
        try:
            self._template = self._environment.from_string(source)
            _check_expressions(self._template.nodes, RenderContext(self._template))
        except (LiquidError, RecursionError) as error:
            raise _told(error, source) from None

    def names(self) -> frozenset[str]:
        """The fields that it asks for.

        Raises:
            BadTemplate: it cannot be told.
        """
        try:
            return frozenset(str(name) for name in self._template.global_variables())
        except (LiquidError, RecursionError) as error:
            raise _told(error, self._source) from None

    def render(self, fields: Mapping[str, str], raw_fields: Collection[str] = ()) -> str:
        """Write it with these fields; one that is missing is empty.

        Args:
            raw_fields: names of those that are HTML already.

        Raises:
            TemplateLimit: it takes too long, loops too often or gets too long.
            BadTemplate: it cannot be written.
        """
        values = {name: Markup(value) if name in raw_fields else value for name, value in fields.items()}
        buffer = LimitedStringIO(limit=MAX_OUTPUT, newline="")
        context = _Context(self._template, values, self._clock)
        try:
            self._template.render_with_context(context, buffer)
        except (LiquidError, ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise _told(error, self._source) from None
        return buffer.getvalue()


class _Context(RenderContext):
    """Counts steps: every node asks for `disabled_tags` before it is written."""

    __slots__ = ("_clock", "_ends_at", "_steps")

    def __init__(
        self, template: BoundTemplate, values: Mapping[str, object], clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._ends_at = clock() + MAX_SECONDS
        self._steps = 0
        super().__init__(template, globals=values)

    @property
    def disabled_tags(self) -> list[str]:
        """None are, but to ask is a step."""
        self._step()
        return []

    @disabled_tags.setter
    def disabled_tags(self, tags: list[str]) -> None:
        """Called by the base class."""

    def filter(self, name: str, token: Any) -> Callable[..., object]:
        """A filter, which is a step."""
        self._step()
        return super().filter(name, token)

    def _step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise ResourceLimitError("it takes too many steps", token=None)
        if self._clock() > self._ends_at:
            raise ResourceLimitError("it takes too long", token=None)


class _Environment(Environment):
    loop_iteration_limit = MAX_LOOPS
    local_namespace_limit = MAX_VARIABLES
    output_stream_limit = MAX_OUTPUT

    def setup_tags_and_filters(self, *, extra: bool = False) -> None:
        """Leave out all that is not listed above, and bound what filters do."""
        super().setup_tags_and_filters(extra=extra)
        self.tags = {name: tag for name, tag in self.tags.items() if name in _TAGS}
        self.filters = {name: _bounded(name, one) for name, one in self.filters.items() if name in _FILTERS}


def _check_markup(source: str) -> None:
    """Refuse what python-liquid would read for minutes."""
    at = places = 0
    while (found := _BEGINNING.search(source, at)) is not None:
        begin, end = found[0], "}}" if found[0] == "{{" else "%}"
        ends_at = source.find(end, found.end(), found.end() + MAX_MARKUP + len(end))
        if ends_at < 0:
            raise BadTemplate(
                _line(source, found.start()), f"{begin} without {end} in the next {MAX_MARKUP} characters"
            )
        markup = source[found.end() : ends_at]
        if _LONG_SPACE.search(markup):
            raise BadTemplate(_line(source, found.start()), f"too much white space within {begin} and {end}")
        at, places = ends_at + len(end), places + 1
        if places > MAX_PLACES:
            raise BadTemplate(
                _line(source, found.start()), f"there are more than {MAX_PLACES} placeholders and tags"
            )
        if begin == "{%" and (raw := _RAW.fullmatch(markup)):
            closing = _END_OF_RAW.search(source, at) if raw[1] == "raw" else None
            if closing is None:
                raise BadTemplate(_line(source, found.start()), f"{raw[1]} is not known, or has no end")
            at = closing.end()


def _check_expressions(nodes: Iterable[Node], context: RenderContext) -> None:
    """Refuse filters that are not there, and ranges that are not looped over; bound those that are. A long
    one takes one step, and memory for all its numbers if it is reversed."""
    for node in nodes:
        for expression in node.expressions():
            looped = expression.iterable if isinstance(expression, LoopExpression) else None
            if isinstance(expression, LoopExpression) and isinstance(looped, RangeLiteral):
                expression.iterable = looped = _LoopedRange(looped.token, looped.start, looped.stop)
            for part in _parts(expression):
                if isinstance(part, RangeLiteral) and part is not looped:
                    raise LiquidSyntaxError("a range may only be looped over", token=part.token)
                for one in (isinstance(part, FilteredExpression) and part.filters) or ():
                    if one.name not in context.env.filters:
                        raise LiquidSyntaxError(f"unknown filter '{one.name}'", token=one.token)
        _check_expressions(node.children(context), context)


class _LoopedRange(RangeLiteral):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> range:
        numbers = super().evaluate(context)
        if numbers.stop - numbers.start > MAX_LOOPS:
            raise ResourceLimitError(f"a range has more than {MAX_LOOPS} numbers", token=self.token)
        return numbers


def _parts(expression: Expression) -> Iterable[Expression]:
    yield expression
    for child in expression.children():
        yield from _parts(child)


def _bounded(name: str, function: Callable[..., object]) -> Callable[..., object]:
    checks: Mapping[str, Callable[..., None]] = {"replace": _replaced, "join": _joined, "date": _dated}
    grows = checks.get(name)

    @wraps(function)
    def bounded(value: object, *arguments: object, **known: object) -> object:
        for one in (value, *arguments):
            _check(one)
        if grows is not None:
            grows(value, *arguments)
        result = function(value, *arguments, **known)
        _check(result)
        return result

    return bounded


def _check(value: object) -> None:
    if isinstance(value, str):
        _check_length(len(value))
    elif isinstance(value, (list, tuple)):
        if len(value) > MAX_ITEMS:
            raise ResourceLimitError(f"a list has more than {MAX_ITEMS} items", token=None)
        _check_length(sum(len(item) for item in value if isinstance(item, (str, list, tuple))))
    elif isinstance(value, int) and abs(value) >= MAX_NUMBER:
        raise ResourceLimitError("a number is too large", token=None)


def _check_length(characters: int) -> None:
    if characters > MAX_CHARACTERS:
        raise ResourceLimitError(f"a filter is used on more than {MAX_CHARACTERS} characters", token=None)


def _replaced(value: object, old: object = "", new: object = "", *_: object) -> None:
    text = str(value)
    _check_length(len(text) + text.count(str(old)) * len(str(new)))


def _joined(value: object, separator: object = " ", *_: object) -> None:
    if isinstance(value, (list, tuple)):
        _check_length(len(value) * len(str(separator)))


def _dated(value: object, form: object = "", *_: object) -> None:
    if max(len(str(value)), len(str(form))) > _LONGEST_DATE:
        raise ResourceLimitError(f"a date or its form has more than {_LONGEST_DATE} characters", token=None)


def _told(error: Exception, source: str) -> BadTemplate:
    if not isinstance(error, LiquidError):
        return BadTemplate(0, f"it cannot be written with these fields ({type(error).__name__})")
    cause = error.__cause__
    reason = "it is nested too deep" if isinstance(cause, RecursionError) else str(error.message)
    line = 0
    if error.token is not None:
        at = error.token.start_index
        line = _line(source, at if at >= 0 else len(source))  # no place: the end is missing
    shown = "".join(one if one.isprintable() else " " for one in reason[:_LONGEST_REASON])
    return (TemplateLimit if isinstance(error, ResourceLimitError) else BadTemplate)(line, shown)


def _line(source: str, at: int) -> int:
    return source.count("\n", 0, at) + 1


_HTML: Final = _Environment(autoescape=True)
_TEXT: Final = _Environment()
