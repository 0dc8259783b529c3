"""Mails that come back to a return path and are no failure reports: none of them may cost a Recipient anything."""

import pytest

from kannon.core.reports.reading import read
from kannon.core.reports.values import Kind

AUTO, OTHER = Kind.AUTO_REPLY, Kind.UNRECOGNISED


def mail(
    subject: str, text: str, sender: str = "Neko <neko@example.net>", *fields: str, **types: str
) -> bytes:
    """A mail of one part, with more header fields if there are any."""
    kind = types.get("kind", "text/plain; charset=utf-8")
    head = [
        f"From: {sender}",
        "To: bounce+abc@news.example.com",
        f"Subject: {subject}",
        f"Content-Type: {kind}",
    ]
    return ("\r\n".join([*head, *fields, "", text, ""])).encode()


RETURNED = "Return-Path: <>"
REPLIED = "Auto-Submitted: auto-replied"
GENERATED = "Auto-Submitted: auto-generated"
ANSWER = "In-Reply-To: <batch.1@news.example.com>"

NOTHING = {
    # People who are away.
    "exchange, out of office": (AUTO, mail("Automatic reply: News of May", "I am out of the office until Monday.", "Ann <ann@corp.example>", RETURNED, "X-Auto-Response-Suppress: All", GENERATED)),
    "exchange 2003, out of office": (AUTO, mail("Out of Office AutoReply: News", "I will be away from my desk.", "Ann <ann@corp.example>", RETURNED)),
    "gmail vacation": (AUTO, mail("On vacation Re: News of May", "I am hiking; I cannot be reached.", "Bob <bob@gmail.com>", REPLIED, "Precedence: bulk", "X-Autoreply: yes")),
    "gmail vacation, as it is since": (AUTO, mail("Away Re: News", "Thanks for your mail, I am currently on holiday.", "Bob <bob@gmail.com>", REPLIED, ANSWER)),
    "sendmail's vacation": (AUTO, mail("away from my mail", "I will not be reading my mail for a while.", "eric@example.edu", "Precedence: bulk", "Auto-Submitted: auto-replied")),
    "sieve vacation": (AUTO, mail("Auto: News of May", "Ich bin nicht da.", "c@example.de", RETURNED, REPLIED, "Precedence: auto_reply")),
    "thunderbird's filter": (AUTO, mail("Re: News", "I'm currently out of office.", "d@example.org", REPLIED, ANSWER)),
    "lotus notes": (AUTO, mail("Emma Fox is out of the office.", "I will be out of the office starting 04/05.", "Emma Fox <e@example.com>")),
    "german": (AUTO, mail("Automatische Antwort: Ihre Nachricht", "Ich bin im Urlaub und ab 4. Mai wieder erreichbar. Ihre E-Mail wird nicht weitergeleitet.", "f@firma.de", RETURNED)),
    "german, absent": (AUTO, mail("Abwesenheitsnotiz: News", "Ihre Nachricht konnte nicht gelesen werden.", "g@firma.de")),
    "french": (AUTO, mail("=?utf-8?Q?R=C3=A9ponse_automatique_=3A_News?=", "Je suis absent du bureau.", "h@exemple.fr", RETURNED)),
    "french, absence": (AUTO, mail("Absence du bureau", "En mon absence, contactez mon collègue; votre message n'a pas pu être lu.", "h@exemple.fr")),
    "spanish": (AUTO, mail("Respuesta automática: Novedades", "Estaré fuera de la oficina.", "i@ejemplo.es", RETURNED)),
    "portuguese": (AUTO, mail("Resposta automática: Novidades", "Estou de férias.", "j@exemplo.pt")),
    "italian": (AUTO, mail("Risposta automatica: Novità", "Sono fuori ufficio.", "k@esempio.it")),
    "dutch": (AUTO, mail("Automatisch antwoord: Nieuws", "Ik ben afwezig.", "l@voorbeeld.nl")),
    "polish": (AUTO, mail("Odpowiedź automatyczna: News; jestem na urlopie", "Nie ma mnie w biurze.", "m@przyklad.pl", REPLIED)),
    "swedish": (AUTO, mail("Autosvar: Nyheter", "Jag är inte på kontoret.", "n@exempel.se")),
    "russian": (AUTO, mail("=?utf-8?B?0JDQstGC0L7QvtGC0LLQtdGC?=: News", "Я в отпуске.", "o@primer.ru")),
    "japanese": (AUTO, mail("=?iso-2022-jp?B?GyRCPCtGMEpWPy4bKEI=?=", "不在にしております。", "p@example.jp")),
    "chinese": (AUTO, mail("自动回复: 新闻", "您好，我正在休假。", "q@example.cn")),
    "korean": (AUTO, mail("부재중 자동 응답", "휴가 중입니다.", "r@example.kr")),
    "who has left": (AUTO, mail("Automatic reply: News", "Sam no longer works here. This mailbox is not monitored and your message was not delivered to anyone.", "s@corp.example", RETURNED)),
    "under its own name": (AUTO, mail("Thank you", "This address is no longer read.", "t@example.com", "X-Autorespond: News")),
    # Desks and shops.
    "ticket": (AUTO, mail("[Ticket #4711] News of May", "We have received your request.", "Support <support@shop.example>", GENERATED)),
    "ticket, without a field": (AUTO, mail("Your request has been received [#12345]", "A ticket was created.", "help@desk.example")),
    "zendesk": (AUTO, mail("Request received: News", "Your request (881) has been received.", "help@desk.example", "X-Auto-Response-Suppress: All", GENERATED)),
    "thanks": (AUTO, mail("Thank you for contacting us", "We will get back to you within two days.", "info@shop.example")),
    "acknowledgement by a postmaster": (AUTO, mail("Automatic reply: your report", "This is the postmaster. Your report has been received.", "postmaster@example.net", REPLIED)),
    # Who asks for something first.
    "challenge": (AUTO, mail("Please confirm your message to neko", "To have your message delivered, please click below.", "neko@example.net")),
    "tmda": (AUTO, mail("Please confirm your message", "This message was created automatically by mail delivery software (TMDA). Your message attached below is being held.", "neko-confirm@example.net", REPLIED, "X-Delivery-Agent: TMDA/1.1")),
    "boxbe": (AUTO, mail("Verify that you sent this (Action Required)", "Your message is waiting. I use Boxbe to protect my inbox.", "neko@example.net")),
    "mailman moderation": (AUTO, mail("Your message to Cats awaits moderator approval", "Your mail to 'Cats' is being held until the list moderator can review it. Post by non-member to a members-only list.", "cats-bounces@lists.example.org", "Precedence: bulk", "List-Id: <cats.lists.example.org>")),
    "groups moderation": (AUTO, mail("Message posted to cats is pending moderation", "Your message awaits approval.", "cats@lists.example.org")),
    "ezmlm confirmation": (AUTO, mail("confirm subscribe to cats@lists.example.org", "To confirm, please send an empty reply.", "cats-help@lists.example.org", "Mailing-List: contact cats-help@lists.example.org")),
    "subscription": (AUTO, mail("Welcome: subscription to cats", "You are now subscribed.", "cats-request@lists.example.org")),
    # Letters.
    "a letter": (OTHER, mail("Lunch", "Are you free at noon?")),
    "an answer": (OTHER, mail("Re: News of May", "I like it, thanks.", "u@example.com", ANSWER)),
    "an answer that quotes a bounce": (OTHER, mail("Re: Undelivered Mail Returned to Sender", "Do you know why?\n\n> <a@example.org>: host mx said: 550 5.1.1 User unknown\n> Final-Recipient: rfc822; a@example.org\n> Action: failed", "v@example.com", ANSWER)),
    "a bounce, forwarded by hand": (OTHER, mail("Fwd: Undelivered Mail Returned to Sender", "Look:\n\nFinal-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.1.1", "v@example.com")),
    "a bounce, forwarded in german": (OTHER, mail("WG: Unzustellbar: News", "Siehe unten. 550 5.1.1 User unknown", "w@example.de")),
    "a letter about bounces": (OTHER, mail("our bounce rate", "Mails to gmail fail with 550 5.7.1 since Monday; they were not delivered to anybody.", "x@example.com")),
    "a newsletter": (OTHER, mail("Ten tips for spring", "Read more ...", "News <news@shop.example>", "List-Unsubscribe: <https://shop.example/u>", "Precedence: bulk")),
    "a newsletter about delivery": (OTHER, mail("Free delivery this week", "We deliver within two days. If delivery to your address failed, call us.", "News <news@shop.example>", "List-Unsubscribe: <https://shop.example/u>")),
    "a parcel": (OTHER, mail("Your parcel could not be delivered", "The driver did not find you. Recipient: Mr Neko.", "Parcels <track@parcel.example>")),
    "a parcel, at length": (OTHER, mail("Delivery failed: your parcel", "Your parcel could not be delivered to the following address: Cat Street 550 5. It was returned to sender.", "Parcels <track@parcel.example>")),
    "a shop's warning": (OTHER, mail("Delivery failure of order 551", "Your message was returned. 550 pieces were not delivered.", "News <news@shop.example>", "List-Unsubscribe: <https://shop.example/u>")),
    "an answer to a bounce's subject": (AUTO, mail("Automatic reply: Undeliverable: News", "I am on leave. Your message was not delivered to me.", "postmaster@example.net", RETURNED)),
    "an invoice": (OTHER, mail("Invoice 550", "Total 550 EUR for order 5.1.1", "billing@shop.example")),
    "a list's digest": (OTHER, mail("cats Digest, Vol 5, Issue 1", "1. Mailbox full (A)\n2. User unknown (B)", "cats-request@lists.example.org", "List-Id: <cats>")),
    "log watch": (OTHER, mail("Logwatch for mx1", "2 sent\n550 5.1.1 user unknown: 3 times", "root@mx1.example.org")),
    "spam": (OTHER, mail("You have won", "Click here", "")),
    "empty": (OTHER, b""),
    # Who writes about bounces, and quotes them.
    "newsletter of an expert": (OTHER, mail("Why mails bounce: 550 5.1.1 explained", "The server said: 550 5.1.1 User unknown. Your message could not be delivered, says Postfix then.", "Deliver Weekly <weekly@deliver.example>", "List-Unsubscribe: <https://deliver.example/u>", "List-Id: <weekly.deliver.example>")),
    "newsletter of an expert, with a title": (OTHER, mail("Undelivered Mail Returned to Sender: what now?", "<neko@example.org>: host mx[192.0.2.1] said: 550 5.1.1 User unknown (in reply to RCPT TO command)\nThis is what people see when your message could not be delivered.", "Deliver Weekly <weekly@deliver.example>", "List-Unsubscribe: <https://deliver.example/u>", "Precedence: bulk")),
    "digest of a mailing list": (OTHER, mail("[postfix-users] Undelivered Mail Returned to Sender", "Final-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.1.1\n\nWhy?", "u@example.com", "List-Id: <postfix-users.example.org>", ANSWER)),
    "support ticket": (AUTO, mail("[Ticket #88123] Undeliverable: News of May", "We have received your request:\n> 550 5.1.1 User unknown", "help@desk.example", GENERATED)),
    "support answers": (AUTO, mail("Re: [88123] delivery failure", "Hello,\n\nthe message says <a@example.org>: 550 5.1.1 User unknown, so the address is wrong.", "Pat of Support <help@desk.example>", ANSWER)),
    "support answers under a new title": (OTHER, mail("Mail delivery failed - your question", "Your message could not be delivered since 550 5.1.1 User unknown was the answer.", "Pat of Support <help@desk.example>", ANSWER)),
    "somebody asks, top posting": (OTHER, mail("Fw: failure notice", "What is this?\n\nHi. This is the qmail-send program at x.\n<a@example.org>:\nSorry, no mailbox here by that name. (#5.1.1)", "v@example.com")),
    "somebody asks in italian": (OTHER, mail("I: Mancato recapito", "Che cosa significa?\n550 5.1.1 utente sconosciuto", "v@example.it")),
    "somebody asks in spanish": (OTHER, mail("RV: No se puede entregar", "550 5.1.1 usuario desconocido", "v@example.es")),
    "somebody asks in swedish": (OTHER, mail("SV: Undeliverable: Nyheter", "550 5.1.1 User unknown", "v@example.se", ANSWER)),
    "a monitor": (OTHER, mail("[ALERT] bounce rate above 5 %", "mx1: 550 5.1.1 User unknown (312), 552 5.2.2 mailbox full (77)", "Monitor <monitor@ops.example>")),
    "cron": (OTHER, mail("Cron <root@mx1> /usr/local/bin/pflogsumm", "message bounce detail\n 550 5.1.1 User unknown (total: 3)", "Cron Daemon <root@mx1.example.org>")),
    "a pull request": (OTHER, mail("[acme/mta] Treat 550 5.1.1 as hard (#42)", "Undeliverable mail is now parsed. Final-Recipient: rfc822; a@example.org", "Jo <notifications@code.example>", "List-Id: <mta.acme.code.example>", ANSWER)),
    "a bank": (OTHER, mail("Your payment could not be delivered", "The recipient's account does not exist. Reference 550.", "Bank <no-reply@bank.example>")),
    "a bank's returned transfer": (OTHER, mail("Payment returned to sender", "Account unknown. The recipient bank said: account closed.", "Bank <no-reply@bank.example>")),
    "a courier's attempt": (OTHER, mail("Delivery attempt failed", "We were unable to deliver your parcel 5.1.1. Nobody was at the address.", "Courier <track@courier.example>")),
    "a food delivery": (OTHER, mail("Delivery delayed", "Your order has not yet been delivered and is delayed for 20 minutes.", "Food <hello@food.example>")),
    "a phone bill": (OTHER, mail("Mailbox almost full", "Your voice mailbox is over 90 % full.", "Telco <bill@telco.example>")),
    "a quota warning to its owner": (OTHER, mail("Your inbox is nearly full", "You have used 950 MB of 1000 MB.", "Cloud <storage@cloud.example>")),
    "phishing as a bounce": (OTHER, mail("Account suspended", "Your mailbox is disabled; click below to verify your account.", "IT <it@evil.example>", "In-Reply-To: <x@y.example>")),
    "a security alert": (OTHER, mail("Sign-in blocked", "Access denied from 192.0.2.1. Error 554.", "Security <alerts@id.example>")),
    "a vacation that speaks of delivery": (AUTO, mail("Automatic reply: Undelivered Mail", "I am on leave; your message was not delivered to a colleague.", "p@corp.example", RETURNED, REPLIED)),
    "a person has left, by a bounce's words": (AUTO, mail("Out of office: no longer with us", "User unknown to the company by now. Your message will not be delivered to anyone. Write to office@corp.example.", "Sam <s@corp.example>", REPLIED)),
    "an answering machine": (AUTO, mail("Auto-reply: mailbox not monitored", "This mailbox is not monitored.", "noreply@shop.example", GENERATED)),
    "a survey after support": (OTHER, mail("How did we do on ticket delivery failure?", "Rate us: 5.0.0 of 5", "Desk <survey@desk.example>", "List-Unsubscribe: <https://desk.example/u>")),
    "a complaint, forwarded by hand": (OTHER, mail("Fwd: abuse report", "Feedback-Type: abuse\nUser-Agent: X/1\nVersion: 1\n", "v@example.com")),
    # Reports of other kinds.
    "read receipt": (OTHER, mail("Read: News", "--b\nContent-Type: text/plain\n\nwas read\n--b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;a@example.org\nDisposition: manual-action/MDN-sent-manually; displayed\n--b--", "a@example.org", RETURNED, kind="multipart/report; report-type=disposition-notification; boundary=b")),
    "deleted unread": (OTHER, mail("Not read: News", "--b\nContent-Type: text/plain\n\nYour message was deleted without being read\n--b\nContent-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;a@example.org\nDisposition: automatic-action/MDN-sent-automatically; deleted\n--b--", "a@example.org", kind="multipart/report; boundary=b")),
    "dmarc aggregate": (OTHER, mail("Report Domain: example.com Submitter: google.com Report-ID: 42", "UEsDBA==", "noreply-dmarc-support@google.com", "Content-Transfer-Encoding: base64", kind="application/zip; name=google.com!example.com!1!2.zip")),
    "tls report": (OTHER, mail("Report Domain: example.com Submitter: google.com", "--b\nContent-Type: text/plain\n\nTLS report\n--b\nContent-Type: application/tlsrpt+gzip\n\nx\n--b--", "noreply-smtp-tls-reporting@google.com", kind="multipart/report; report-type=tlsrpt; boundary=b")),
    "not spam": (OTHER, mail("FW: News", "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: not-spam\nVersion: 1\nUser-Agent: x\n--b--", "fbl@example.org", kind="multipart/report; report-type=feedback-report; boundary=b")),
}  # fmt: skip

REASONS = {
    "read receipt": "read-receipt",
    "deleted unread": "read-receipt",
    "dmarc aggregate": "dmarc-report",
    "tls report": "tls-report",
    "not spam": "not-spam",
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_failure_report_is_taken_for_none(name: str) -> None:
    expected, raw = NOTHING[name]
    report = read(raw)
    assert (report.kind, report.reason) == (expected, REASONS.get(name, ""))
    assert report.recipients == ()
