"""Subject, text and HTML of a Batch that is written in Liquid."""

import time
from collections.abc import Mapping
from typing import Final

from kannon.core.batches import BatchContent
from kannon.core.fields import UnsafeHeader, header_safe
from kannon.core.liquid_templates import LiquidTemplate
from kannon.core.plain_text import text_from_html

MAX_SUBJECT: Final = 1000


class LiquidParts:
    """Writes them for each Delivery; the templates are read once.

    Raises:
        BadTemplate: one cannot be read.
    """

    def __init__(self, content: BatchContent) -> None:
        self._raw_fields = content.options.raw_fields
        self._subject, self._text = (
            LiquidTemplate(source, escapes=False, clock=time.thread_time)
            for source in (content.subject, content.own_text)
        )
        self._html = LiquidTemplate(content.html, escapes=True, clock=time.thread_time)
        self._has_text = bool(content.own_text)

    def render(self, fields: Mapping[str, str]) -> tuple[str, str, str]:
        """Subject, text and HTML; where no text was given it is made from this HTML.

        Raises:
            BadTemplate: one of them cannot be written with these fields, or not within the limits.
            UnsafeHeader: the subject would hold CR, LF or NUL, or be too long.
        """
        subject = self._subject.render(fields)
        if not header_safe(subject) or len(subject) > MAX_SUBJECT:
            raise UnsafeHeader("subject")
        html = self._html.render(fields, self._raw_fields)
        text = self._text.render(fields) if self._has_text else text_from_html(html)
        return subject, text, html
