"""What peers answer, and what it means."""

import pytest

from kannon.core.replies import Refusal, Stage, Verdict, judge

DEFERRED, BOUNCED, FAILED = Verdict.DEFERRED, Verdict.BOUNCED, Verdict.FAILED


@pytest.mark.parametrize(
    ("stage", "code", "enhanced", "text", "verdict", "category", "hard"),
    [
        (Stage.RCPT, 550, "5.1.1", "User unknown", BOUNCED, "bad-mailbox", True),
        (Stage.RCPT, 550, "", "No such user here", BOUNCED, "bad-mailbox", True),
        (Stage.RCPT, 550, "5.7.1", "Blocked by our reputation list", BOUNCED, "policy", False),
        (Stage.RCPT, 552, "5.2.2", "Mailbox full", BOUNCED, "mailbox-full", False),
        (Stage.RCPT, 452, "4.2.2", "Mailbox full", DEFERRED, "mailbox-full", False),
        (Stage.RCPT, 450, "", "Greylisted, come back later", DEFERRED, "greylisted", False),
        (Stage.RCPT, 421, "4.7.0", "Too many connections", DEFERRED, "rate-limited", False),
        (Stage.RCPT, 552, "5.5.3", "Too many recipients", DEFERRED, "rate-limited", False),
        (Stage.RCPT, 512, "", "error", BOUNCED, "refused", False),
        (Stage.MAIL, 553, "5.1.8", "Sender domain unknown", BOUNCED, "bad-sender", False),
        (Stage.DOT, 554, "5.7.1", "Looks like spam", BOUNCED, "policy", False),
        (Stage.DOT, 554, "", "Transaction failed", BOUNCED, "refused", False),
        (Stage.DOT, 451, "4.3.0", "Try later", DEFERRED, "temporary", False),
        (Stage.DATA, 552, "5.3.4", "Message too big", BOUNCED, "too-large", False),
        (Stage.DOT, 550, "5.7.26", "DMARC fail", BOUNCED, "authentication", False),
        (Stage.GREETING, 554, "", "No SMTP service here", DEFERRED, "connection", False),
        (Stage.CONNECT, 0, "", "connection refused", DEFERRED, "connection", False),
        (Stage.STARTTLS, 454, "", "TLS not available", DEFERRED, "tls", False),
        (Stage.RCPT, 0, "", "connection lost", DEFERRED, "connection", False),
        (Stage.DNS, 0, "", "no answer", DEFERRED, "dns", False),
        (Stage.DNS, 0, "5.1.2", "no such domain", BOUNCED, "bad-domain", True),
        (Stage.DNS, 0, "5.1.10", "null MX", BOUNCED, "bad-domain", True),
        (Stage.ADDRESS, 0, "", "127.0.0.1", FAILED, "forbidden-exchanger", False),
        (Stage.UNCONFIRMED, 0, "", "", FAILED, "unconfirmed", False),
        (Stage.EXPIRED, 0, "", "", FAILED, "expired", False),
        (
            Stage.RCPT,
            550,
            "5.7.1",
            "<a@b.example>: Recipient address rejected: Access denied",
            BOUNCED,
            "bad-mailbox",
            True,
        ),
        (Stage.RCPT, 550, "", "Mailbox is frozen", BOUNCED, "mailbox-inactive", False),
        (Stage.RCPT, 550, "", "<spam@block.example>: no such user", BOUNCED, "bad-mailbox", True),
        (Stage.RCPT, 550, "", "No, see https://peer.example/user-unknown", BOUNCED, "bad-mailbox", True),
        (Stage.RCPT, 551, "5.1.6", "He has moved", BOUNCED, "moved", True),
        (Stage.RCPT, 556, "", "No mail here", BOUNCED, "accepts-no-mail", True),
        (Stage.RCPT, 550, "", "Your host has no PTR record", BOUNCED, "no-reverse-name", False),
        (Stage.MAIL, 550, "5.1.1", "Sender unknown", BOUNCED, "bad-sender", False),
        (Stage.DOT, 550, "", "User unknown", BOUNCED, "bad-mailbox", False),
        (Stage.REPORTED, 550, "", "User unknown", BOUNCED, "bad-mailbox", False),
        (Stage.REPORTED, 550, "5.1.1", "User unknown", BOUNCED, "bad-mailbox", True),
        (Stage.REPORTED, 554, "", "User x not listed in Domino Directory", BOUNCED, "bad-mailbox", True),
        (Stage.REPORTED, 554, "", "Host unknown", BOUNCED, "bad-domain", True),
        (Stage.REPORTED, 554, "", "Host not found, try again", BOUNCED, "network", False),
        (Stage.REPORTED, 554, "", "retry timeout exceeded", BOUNCED, "expired", False),
        (Stage.REPORTED, 554, "", "no more", BOUNCED, "refused", False),
        (Stage.DOT, 399, "", "what?", DEFERRED, "protocol", False),
    ],
)
def test_a_refusal_is_judged(
    stage: Stage, code: int, enhanced: str, text: str, verdict: Verdict, category: str, hard: bool
) -> None:
    judgement = judge(Refusal(stage, code, enhanced, text))
    assert (judgement.verdict, judgement.category, judgement.hard) == (verdict, category, hard)


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("code", [0, 199, 250, 399, 400, 421, 450, 499, 500, 550, 599, 600, 999])
def test_every_refusal_has_a_judgement(stage: Stage, code: int) -> None:
    assert judge(Refusal(stage, code, "", "")).category
