"""Fuzzing of what finds links, guided by coverage: `python -m tests.fuzz.links [SECONDS]`.

It begins with the corpus, and stops at the first HTML whose links are found other than by the tests' own
reader of HTML, or that takes longer than two seconds.
"""

import importlib.util
import platform
import sys
import tempfile
from pathlib import Path

from tests.link_corpus import cases
from tests.link_expectations import expected

LONGEST = 2_000


def main(seconds: int) -> None:
    """Fuzz for so many seconds, where atheris is installed."""
    if importlib.util.find_spec("atheris") is None:
        here = f"Python {platform.python_version()} on {platform.machine()}"
        print(f"no fuzzing guided by coverage: atheris is not installed; it has no wheel for {here}")
        return
    import atheris

    # Only what is imported here for the first time is instrumented.
    with atheris.instrument_imports(include=["kannon.core.html_tokens", "kannon.core.tracking"]):
        from kannon.core.html_tokens import decoded_value
        from kannon.core.tracking.destinations import destination
        from kannon.core.tracking.links import PIXEL_SLOT, compile_tracked

    def compare_once(raw: bytes) -> None:
        html = raw.decode("utf-8", "ignore").replace("{{", "{")
        tracked = compile_tracked(html, [], opens=True, links=True)
        urls = list(dict.fromkeys(link.constant for link in tracked.links))
        filled = {link.slot: f"[{urls.index(link.constant) + 1}]" for link in tracked.links}
        sent = tracked.pattern.render({**filled, PIXEL_SLOT: "pixel"})
        pixel = compile_tracked("", [], opens=True, links=True).pattern.render({PIXEL_SLOT: "pixel"})
        wanted = expected(
            html,
            lambda value: destination(decoded_value(value)),
            lambda number: f"[{number}]",
            pixel,
            links=True,
        )
        assert (sent, urls) == wanted, html

    with tempfile.TemporaryDirectory() as begin, tempfile.TemporaryDirectory() as found:
        for number, case in enumerate(cases()):
            Path(begin, str(number)).write_text(case.html)
        bounds = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=2", "-rss_limit_mb=1024"]
        atheris.Setup([sys.argv[0], found, begin, *bounds, f"-artifact_prefix={found}-"], compare_once)
        atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
