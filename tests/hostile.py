"""What nobody would set, and somebody will: texts that mean something where they might end up."""

import re
from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st

TEXTS: Final[Mapping[str, str]] = {
    "nothing": "",
    "space": " \t ",
    "quotes": "'\"`''\"\"",
    "SQL": "'; DROP TABLE domains; --",
    "more SQL": "' OR 1=1) UNION SELECT key_hash FROM api_keys --",
    "parameters": "%(domain)s %s $1 :name {0} {domain}",
    "wildcards": "%_%",
    "backslashes": "\\ \\\\ \\x00 \\' E'\\n' \\",
    "an expression": "(.*)+[^a]{1,9}$|^\\d?(?P<x>a+)+\\1",
    "line ends": "x\r\nBcc: victim@example.org\r\n\r\n<p>",
    "a line feed": "a\nb",
    "a carriage return": "a\rb",
    "NUL": "a\0b",
    "HTML": "<script>alert(1)</script><img src=x onerror=\"a\" title='&amp;'>-->",
    "placeholders": "{{ name }}{{email}}{{ {% for x in (1..9) %}}}",
    "an encoded word": "=?utf-8?q?=0D=0ABcc:_x@y.test?=",
    "a path": "../../../../etc/passwd",
    "an address": '"a\\"b"@example.org, c@example.org',
    "a domain": "xn--80ak6aa92e.example",
    "a number": "99999999999999999999999",
    "JSON": '{"a": [1, null], "\\u0000": "x"}',
    "a direction": "\u202egnp.exe\u2066\u200f",
    "separators": "a\u2028b\u2029c\x85d\x1ce\x7f",
    "characters of four octets": "\U0001f600\U0010ffff\ufffe",
    "combined": "e\u0301" * 40 + "\u00df\u0130\ufb01",
    "letters that are like s and k": "text/\u017flain; \u212aey=x",
    "large": "x" * 70_000,
    "large and not ASCII": "\u00e9\u20ac'" * 9_000,
}
"""By what they are."""
NOT_UTF_8: Final = (
    b"\xff\xfe\xfd\xfc",
    b"\xc0\x80\xc0\x80",
    b"a\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"abc\xe2",
)
SURROGATES: Final = (r"\ud800", r"\udfff x", r"\ud83d", r"\ude00\ud83d")
"""Halves of characters, as JSON writes them."""

texts = st.one_of(
    st.sampled_from(sorted(TEXTS.values())),
    st.text(st.characters(codec="utf-8"), max_size=80),
    st.lists(
        st.sampled_from([*"'\"\\%_;:<>&{}()[]@.-\r\n\0\t\u202e", "--", "{{", "}}", "a", "é"]), max_size=12
    ).map("".join),
)

_INSIDE = re.compile(
    r"SELECT |INSERT |UPDATE |syntax error|relation |column |psycopg|SQLSTATE|Traceback|File \"|\.py\b"
    r"|site-packages|/(?:home|usr|tmp|work|var|root|opt)/|<class |object at 0x|Error\(|Exception"
)


def tells_of_inside(text: str, *said: str) -> bool:
    """Whether what a caller is told shows SQL, code or folders of ours that the caller did not say itself."""
    for one in said:
        text = text.replace(one, "")
    return _INSIDE.search(text) is not None
