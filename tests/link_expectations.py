"""What is to become of links, by the reader of HTML that is the tests' own."""

from collections.abc import Callable

from tests.html_reader import Attribute, Reader, Tag

Leads = Callable[[str], str | None]
_AMP = {"⚡4email", "⚡\ufe0f4email", "amp4email"}


def expected(
    html: str, leads: Leads, address: Callable[[int], str], pixel: str, *, links: bool
) -> tuple[str, list[str]]:
    """What is to be sent for HTML without placeholders, and where its links lead.

    Args:
        leads: where an `href` as it is written leads; None if it is not tracked.
        address: what stands for the link of that number, from 1.
        pixel: what is to stand at its place.
        links: whether links are to be tracked.
    """
    reader = Reader(html)
    changes: list[tuple[int, int, str]] = []
    urls: list[str] = []
    pixel_at = len(html) if reader.open_at is None else reader.open_at
    for tag in reader.tags:
        if tag.name == "html" and not tag.is_end and {one.name for one in tag.attributes} & _AMP:
            return html, []
        if tag.name == "body" and tag.is_end:
            pixel_at = tag.start
        if tag.is_end or tag.name not in ("a", "area"):
            continue
        href = tag.first("href")
        if tag.first("data-no-track"):
            changes += _without_opt_out(html, tag)
        elif links and href and (url := leads(_value(html, href))):
            if url not in urls:
                urls.append(url)
            changes.append((href.value_start, href.value_end, address(urls.index(url) + 1)))
    changes.append((pixel_at, pixel_at, pixel))
    for start, end, text in sorted(changes, reverse=True):
        html = html[:start] + text + html[end:]
    return html, urls


def _value(html: str, attribute: Attribute) -> str:
    return html[attribute.value_start : attribute.value_end]


def _without_opt_out(html: str, tag: Tag) -> list[tuple[int, int, str]]:
    changes, behind = [], tag.name_end
    for one in tag.attributes:
        if one.name == "data-no-track":
            divides = html[one.end] not in "\t\n\f\r >"
            changes.append((one.start if divides else behind, one.end, ""))
        behind = one.end
    return changes
