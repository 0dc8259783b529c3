"""The forms in which DKIM hashes what may be folded anew on the way: relaxed (RFC 6376 §3.4)."""


def relaxed_header(value: bytes) -> bytes:
    """Canonicalise a header's value (RFC 6376 §3.4.2)."""
    return spaces_folded(value.replace(b"\r\n", b"")).strip(b" ")


def relaxed_lines(lines: bytes) -> bytes:
    """Canonicalise whole lines of a body: spaces folded, and none at ends of lines (RFC 6376 §3.4.4).

    Args:
        lines: ended by CRLF; what is behind the last CRLF keeps a space at its end.
    """
    return spaces_folded(lines).replace(b" \r\n", b"\r\n")


def relaxed_body(body: bytes) -> bytes:
    """Canonicalise a body: its lines, and no empty ones last; its last line counts as ended."""
    folded = relaxed_lines(body if body.endswith(b"\r\n") else body + b"\r\n")
    end = len(folded)
    while folded.endswith(b"\r\n", 0, end):
        end -= 2
    if end == len(folded) - 2:  # no copy of what may be large
        return folded if end else b""
    return folded[:end] + b"\r\n" if end else b""


def spaces_folded(text: bytes) -> bytes:
    """Put one space in the place of each run of spaces and tabs."""
    text = text.replace(b"\t", b" ")
    while b"  " in text:  # halves every run: faster than a regular expression
        text = text.replace(b"  ", b" ")
    return text
