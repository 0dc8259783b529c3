"""What mail systems answer (`tests/corpus/replies/refusals.txt`), and reports that tell of such answers.

`python -m tests.refusals` prints how many are judged right, and those that are not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kannon.core.reports.reading import read
from kannon.core.reports.values import Report

FILE = Path(__file__).parent / "corpus" / "replies" / "refusals.txt"
ADDRESS = "kijitora@neko.example.org"
WORDS = {"{a}": ADDRESS, "{s}": "shop@sender.example.com", "{d}": "neko.example.org"}
AFTER = {
    "RCPT": "RCPT TO",
    "MAIL": "MAIL FROM",
    "DATA": "end of DATA",
    "CONN": "initial connection",
}
BY_EXIM = {
    "RCPT": f"RCPT TO:<{ADDRESS}>",
    "MAIL": "MAIL FROM:<shop@sender.example.com>",
    "DATA": "end of data",
    "CONN": "initial connection",
}


@dataclass(frozen=True)
class Answer:
    """An answer, the command it was given to (a dash for none), and what it means."""

    category: str
    status_class: str
    hard: bool
    command: str
    text: str

    @property
    def status(self) -> str:
        """The enhanced code within, else the general one of its class."""
        found = re.search(r"\b[45]\.\d\.\d{1,3}\b", self.text)
        return found[0] if found else f"{self.status_class}.0.0"


def answers() -> list[Answer]:
    """All of them."""
    found, heading = [], ("", "", "")
    for line in FILE.read_text().splitlines():
        if line.startswith("== "):
            heading = tuple(line[3:].split())  # type: ignore[assignment]
        elif line and not line.startswith("#"):
            command, _, text = line.partition(" ")
            for word, instead in WORDS.items():
                text = text.replace(word, instead)
            found.append(Answer(heading[0], heading[1], heading[2] == "hard", command, text))
    return found


def in_postfix_form(answer: Answer) -> bytes:
    """A standard report of the answer."""
    told = answer.text
    if answer.command != "-":
        after = AFTER[answer.command]
        told = f"host mx.neko.example.org[192.0.2.9] said:\n    {told} (in reply to {after} command)"
    kind = "X-Postfix" if answer.command == "-" else "smtp"
    return f"""\
From: MAILER-DAEMON@mx.sender.example.com (Mail Delivery System)
To: shop@sender.example.com
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain; charset=utf-8

This is the mail system at host mx.sender.example.com.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<{ADDRESS}>: {told}

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.sender.example.com

Final-Recipient: rfc822; {ADDRESS}
Action: failed
Status: {answer.status}
Diagnostic-Code: {kind}; {answer.text}

--b
Content-Type: text/rfc822-headers

Subject: News
--b--
""".encode()


def in_exim_form(answer: Answer) -> bytes:
    """A report in words only."""
    told = answer.text
    if answer.command != "-":
        told = (
            f"host mx.neko.example.org [192.0.2.9]\n"
            f"    SMTP error from remote mail server after {BY_EXIM[answer.command]}:\n    {told}"
        )
    return f"""\
From: Mail Delivery System <Mailer-Daemon@mx.sender.example.com>
To: shop@sender.example.com
Subject: Mail delivery failed: returning message to sender
Content-Type: text/plain; charset=utf-8

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  {ADDRESS}
    {told}

------ This is a copy of the message, including all the headers. ------

From: shop@sender.example.com
Subject: News
""".encode()


FORMS = {"postfix": in_postfix_form, "exim": in_exim_form}


def judged(answer: Answer, report: Report) -> tuple[bool, bool, bool]:
    """Whether it is a bounce, of the right class, and rightly hard or not."""
    if not report.recipients:
        return (False, False, False)
    one = report.recipients[0]
    return report.kind == "bounce", one.status[:1] == answer.status_class, one.hard == answer.hard


def misjudged() -> Iterator[tuple[str, Answer, Report]]:
    """What is not right in all three."""
    for form, write in FORMS.items():
        for answer in answers():
            report = read(write(answer))
            if not all(judged(answer, report)):
                yield form, answer, report


def main() -> None:
    """Print them."""
    count = len(answers()) * len(FORMS)
    right = [0, 0, 0]
    for write in FORMS.values():
        for answer in answers():
            right = [a + b for a, b in zip(right, judged(answer, read(write(answer))), strict=True)]
    for name, number in zip(("recognised", "class", "hard"), right, strict=True):
        print(f"{name:12} {number}/{count} ({number / count:.1%})")
    for form, answer, report in misjudged():
        one = report.recipients[0] if report.recipients else None
        got = one and (one.status, one.category, one.hard)
        print(
            form,
            answer.category,
            answer.status_class,
            answer.hard,
            "|",
            answer.command,
            answer.text,
            "|",
            report.kind,
            got,
        )


if __name__ == "__main__":
    main()
