"""The pages of the hosted unsubscribe. They name the sender, and nothing of who reads them."""

import base64
import hashlib
from html import escape
from typing import Final

from functions.track.answers import Answer, page

_STYLE: Final = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.2rem;"
    "color:#1a1a1a;background:#fff}"
    "button{font:inherit;padding:.7rem 1.4rem;border:2px solid #1a1a1a;border-radius:.4rem;"
    "background:#1a1a1a;color:#fff;cursor:pointer}"
    "button:focus-visible{outline:3px solid #0b57d0;outline-offset:3px}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#141414}"
    "button{background:#eee;color:#141414;border-color:#eee}}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
_PAGE: Final = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    "<title>{title}</title>\n<style>{style}</style>\n</head>\n"
    "<body>\n<main>\n<h1>{title}</h1>\n{content}\n</main>\n</body>\n</html>\n"
)
_BUTTON: Final = (
    '<form method="post">\n<input type="hidden" name="List-Unsubscribe" value="One-Click">\n'
    '<button type="submit">{label}</button>\n</form>'
)


def _shown(status: int, title: str, content: str, *more: tuple[bytes, bytes]) -> Answer:
    return page(status, _PAGE.format(title=title, style=_STYLE, content=content), _POLICY, *more)


def asking(domain: str) -> Answer:
    """Asks whether to unsubscribe: nothing is done before the button is pressed."""
    text = f"<p>You will get no more of this mail from <strong>{escape(domain)}</strong>.</p>\n"
    return _shown(200, "Unsubscribe?", text + _BUTTON.format(label="Unsubscribe"))


def done(domain: str) -> Answer:
    """Says that it is done."""
    text = (
        f"<p>You will get no more of this mail from <strong>{escape(domain)}</strong>. "
        "What is on its way already may still arrive.</p>"
    )
    return _shown(200, "You are unsubscribed", text)


def not_asked(domain: str) -> Answer:
    """For a POST that does not say what it wants (RFC 8058 §3.2)."""
    text = f"<p>Nothing was changed for <strong>{escape(domain)}</strong>.</p>\n"
    return _shown(400, "Unsubscribe?", text + _BUTTON.format(label="Unsubscribe"))


def not_now() -> Answer:
    """Nothing is done yet, and can be in a moment."""
    text = "<p>You are not unsubscribed yet: please try again in a moment.</p>\n"
    return _shown(503, "Not now", text + _BUTTON.format(label="Try again"), (b"retry-after", b"5"))
