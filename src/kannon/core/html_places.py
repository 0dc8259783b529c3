"""The places in HTML where a field's value may stand, and how it is written there so that it stays there."""

import html
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import quote

from kannon.core.html_tokens import Attribute, decoded
from kannon.core.patterns import PLACEHOLDER, Fill, Refused, UnsafeUrl, name_of

URL_ATTRIBUTES: Final = frozenset(
    {"href", "src", "action", "background", "cite", "formaction", "poster", "data", "lowsrc", "dynsrc"}
    | {"longdesc", "base", "classid", "codebase", "icon", "manifest", "profile", "usemap"}
)
URL_LISTS: Final = frozenset({"srcset", "imagesrcset", "ping", "archive"})
ANIMATED: Final = frozenset({"to", "values", "from", "by"})  # SVG puts them into any attribute, href too

_URL_IN_LIST = re.compile(rf"(?!,)(?:{PLACEHOLDER.pattern}|\S)++")
_REFRESH_DELAY = re.compile(r"[\s\d.]*+(?:[;,]\s*+)?(?:url\s*+=\s*+)?[\"']?", re.IGNORECASE)
_NOT_IN_A_SCHEME = re.compile(r"[/?#]")
_NOT_READ_IN_A_URL = re.compile(r"[\x01-\x20]+")
_SCRIPT_SCHEMES = frozenset({"javascript", "vbscript", "data"})

_WEB = r"https?://[^\s/?#\\][^\x00-\x1f\x7f]*+"
_WEB_OR_MAIL = rf"{_WEB}|mailto:[^\s][^\x00-\x1f\x7f]*+"
_LINK = rf"(?:{_WEB_OR_MAIL}|(?:tel:|sms:|\#)[^\x00-\x1f\x7f]*+)?"
_SOURCE = rf"{_WEB_OR_MAIL}|cid:[^\s][^\x00-\x1f\x7f]*+"
_IN_A_URL = ":/?#[]@!$&'()*+,;=%"  # RFC 3986 §2.2, and what is percent-encoded already

_NOT_IN_CSS = re.compile(r"[^\w #%.,-]")


def value_fills(
    tag: str, name: str, value: str, *, refreshes: bool
) -> Iterator[tuple[int, int, Fill | Refused]]:
    """How the placeholders in an attribute's value are filled: from where to where in it, and how.

    Args:
        tag: the tag's name, in lower case.
        name: the attribute's, likewise.
        value: what is written in the source.
        refreshes: what `refreshes` says of the tag.
    """
    if place := _script(tag, name):
        yield 0, len(value), Refused(place)
    elif name == "style":
        yield 0, len(value), IN_CSS
    elif (urls := _urls(tag, name.rpartition(":")[2], value, refreshes=refreshes)) is None:
        yield 0, len(value), IN_TEXT
    else:
        whole = (len(value) - len(value.lstrip()), len(value.rstrip()))
        for start, end in urls:
            if place := _script_url(value[start:end]):
                yield start, end, Refused(place)
            else:
                yield from _url_fills(name.rpartition(":")[2], value, start, end, whole)


def refreshes(tag: str, source: str, attributes: Iterable[Attribute]) -> bool:
    """Whether a tag is, or may come to be, a `<meta http-equiv="refresh">`, whose `content` holds a URL."""
    values = (source[one.start : one.end] for one in attributes if one.name == "http-equiv")
    return tag == "meta" and any(
        PLACEHOLDER.search(value) or decoded(value).strip().lower() == "refresh" for value in values
    )


def _script(tag: str, name: str) -> str | None:
    if tag == "script":
        return "a script"
    if name.startswith("on"):
        return "an event handler"
    return "a document of its own (srcdoc)" if name == "srcdoc" else None


def _urls(tag: str, name: str, value: str, *, refreshes: bool) -> Iterable[tuple[int, int]] | None:
    """Where URLs stand in an attribute's value; None if it is not one for URLs."""
    if name in URL_LISTS:
        return (found.span() for found in _URL_IN_LIST.finditer(value))
    if name in URL_ATTRIBUTES or (name in ANIMATED and (tag == "set" or tag.startswith("animate"))):
        return [(len(value) - len(value.lstrip()), len(value.rstrip()))]
    if refreshes and name == "content":
        delay = _REFRESH_DELAY.match(value)
        return [(delay.end() if delay else 0, len(value.rstrip("\"' \t\r\n")))]
    return None


def _script_url(url: str) -> str | None:
    """What a URL with placeholders is, if its scheme makes it one where no value is safe."""
    read = _NOT_READ_IN_A_URL.sub("", decoded(PLACEHOLDER.sub("\0", url)))
    scheme, colon, _ = read.partition(":")
    if not colon or "\0" not in read or _NOT_IN_A_SCHEME.search(scheme):
        return None
    if "\0" in scheme:
        return "the scheme of a URL"
    return "a script's or data URL" if scheme.lower() in _SCRIPT_SCHEMES else None


def _url_fills(
    name: str, value: str, start: int, end: int, whole: tuple[int, int]
) -> Iterator[tuple[int, int, Fill]]:
    first = PLACEHOLDER.match(value, start, end)
    if first and name_of(first) and name not in ANIMATED:
        yield start, first.end(), _first_fill(name, value[first.end() : end], is_whole=first.span() == whole)
        start = first.end()
    yield start, end, IN_URL


def _first_fill(name: str, after: str, *, is_whole: bool) -> Fill:
    """How a placeholder that begins a URL is filled.

    Args:
        after: the rest of the URL.
        is_whole: nothing else stands in the attribute.
    """
    if after[:1] in ("/", "?", "#"):
        return URL_BEGINNING
    if name not in URL_LISTS:
        return IN_URL if after else _WHOLE_URLS.get(name, WHOLE_URL)
    if after.rstrip(","):
        return IN_URL
    return WHOLE_URL if is_whole else URL_BEGINNING


def _in_text(_field: str, value: str) -> str:
    escaped = html.escape(value)
    if value.endswith("-") or value[-2:] in ("!", "-!"):  # before a `>` it could end a comment around it
        return f"{escaped[:-1]}&#{ord(escaped[-1])};"
    return escaped


def _in_comment(field: str, value: str) -> str:
    if value[:1] in ("-", "["):  # could make another comment of the one it begins
        return f"&#{ord(value[0])};{_in_text(field, value[1:])}"
    escaped = _in_text(field, value).replace("--", "-&#45;")  # some readers end a comment at `-- >`
    return escaped if escaped.strip() else "&#32;"  # `<!-->` has ended


def _in_url(_field: str, value: str) -> str:
    return quote(value, safe="", errors="replace")


def _in_css(_field: str, value: str) -> str:
    return _NOT_IN_CSS.sub(lambda character: f"\\{ord(character[0]):x} ", value)


def _whole(pattern: str, allowed: str) -> Callable[[str, str], str]:
    is_allowed = re.compile(pattern, re.IGNORECASE).fullmatch

    def write(field: str, value: str) -> str:
        url = value.strip()
        if not is_allowed(url):
            raise UnsafeUrl(field, allowed)
        return html.escape(url)

    return write


_checked_web = _whole(_WEB, "begins a URL and must be an http or https one")


def _url_beginning(field: str, value: str) -> str:
    _checked_web(field, value)
    return html.escape(quote(value.strip(), safe=_IN_A_URL, errors="replace"))


IN_TEXT: Final = Fill(_in_text)
IN_COMMENT: Final = Fill(_in_comment)
IN_CSS: Final = Fill(_in_css)
IN_URL: Final = Fill(_in_url)
URL_BEGINNING: Final = Fill(_url_beginning, may_refuse=True)
WHOLE_URL: Final = Fill(
    _whole(_WEB_OR_MAIL, "stands for a whole URL and must be an http, https or mailto one"), may_refuse=True
)
_WHOLE_SOURCE = Fill(
    _whole(_SOURCE, "stands for a whole source and must be an http, https, mailto or cid URL"),
    may_refuse=True,
)
_WHOLE_LINK = Fill(
    _whole(
        _LINK, "stands for a whole link and must be an http, https, mailto, tel or sms URL, `#…` or empty"
    ),
    may_refuse=True,
)
_WHOLE_URLS = {"href": _WHOLE_LINK, "src": _WHOLE_SOURCE, "background": _WHOLE_SOURCE}
