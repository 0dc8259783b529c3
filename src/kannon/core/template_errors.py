"""What is wrong with a template in a language of its own; apart from what reads one, which is heavy."""

from kannon.core.errors import BadInput


class BadTemplate(BadInput):
    """It cannot be read, or not be written with these fields.

    Attributes:
        line: where, from 1; 0 if that is not known.
        reason: what is wrong, to be told to its author.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.line = line
        self.reason = reason


class TemplateLimit(BadTemplate):
    """It takes more than it may, with these fields."""
