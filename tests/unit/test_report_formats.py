"""Formats of mail systems that no standard knows, one sample each: written from what these systems send."""

import pytest

from kannon.core.reports.reading import read

SAMPLES: dict[str, tuple[str, bool, str, str, bytes]] = {}


def add(name: str, kind: str, hard: bool, status_class: str, address: str, text: str) -> None:
    SAMPLES[name] = (kind, hard, status_class, address, text.lstrip("\n").encode())


add(
    "exchange55",
    "bounce",
    True,
    "5",
    "kijitora@example.jp",
    """
From: System Administrator <postmaster@ex55.example.com>
To: shironeko@example.com
Subject: Undeliverable: Nyaan
X-Mailer: Internet Mail Service (5.5.2653.19)
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="----_=_NextPart_000_01"

This message is in MIME format.

------_=_NextPart_000_01
Content-Type: text/plain

Your message

  To:      kijitora@example.jp
  Subject: Nyaan
  Sent:    Thu, 29 Apr 2010 18:14:35 -0400

did not reach the following recipient(s):

kijitora@example.jp on Thu, 29 Apr 2010 18:14:36 -0400
    The recipient name is not recognized
\tThe MTS-ID of the original message is: c=us;a= ;p=neko
    MSEXCH:IMS:NEKO:CAT:EXCHANGE 0 (000C05A6) Unknown Recipient

------_=_NextPart_000_01
Content-Type: message/rfc822

From: shironeko@example.com
To: kijitora@example.jp
Subject: Nyaan

nyaan
------_=_NextPart_000_01--
""",
)
add(
    "exchange2003-dsn",
    "bounce",
    True,
    "5",
    "kijitora@example.jp",
    """
From: postmaster@example.com
To: shironeko@example.com
Subject: Delivery Status Notification (Failure)
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="9B095B5ADSN"

This is a MIME-formatted message.

--9B095B5ADSN
Content-Type: text/plain; charset=unicode-1-1-utf-7

This is an automatically generated Delivery Status Notification.

Delivery to the following recipients failed.

       kijitora@example.jp

--9B095B5ADSN
Content-Type: message/delivery-status

Reporting-MTA: dns;ex.example.com
Received-From-MTA: dns;pc
Arrival-Date: Thu, 29 Apr 2010 18:14:35 -0400

Final-Recipient: rfc822;kijitora@example.jp
Action: failed
Status: 5.1.1

--9B095B5ADSN--
""",
)
add(
    "notes",
    "bounce",
    True,
    "5",
    "kijitora@example.jp",
    """
From: Postmaster@notes.example.com
To: shironeko@example.com
Subject: DELIVERY FAILURE: User kijitora (kijitora@example.jp) not listed in Domino Directory
Content-Type: text/plain

Your message

  Subject: Nyaan

was not delivered to:

  kijitora@example.jp

because:

  User kijitora (kijitora@example.jp) not listed in Domino Directory

""",
)
add(
    "yandex",
    "bounce",
    True,
    "5",
    "kijitora@example.jp",
    """
From: mailer-daemon@yandex.ru
To: shironeko@yandex.ru
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
Content-Type: multipart/report; report-type=delivery-status; boundary="367D79E130D.1417838948/mxback1h.mail.yandex.net"

--367D79E130D.1417838948/mxback1h.mail.yandex.net
Content-Description: Notification
Content-Type: text/plain; charset=utf-8

This is the mail system at host yandex.ru.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<kijitora@example.jp>: host mx.example.jp[192.0.2.153] said: 550 5.1.1
    <kijitora@example.jp>... User Unknown (in reply to RCPT TO command)

--367D79E130D.1417838948/mxback1h.mail.yandex.net
Content-Type: message/delivery-status

Reporting-MTA: dns; mxback1h.mail.yandex.net
X-Yandex-Queue-ID: 367D79E130D
Arrival-Date: Sat,  6 Dec 2014 07:09:08 +0300 (MSK)

Final-Recipient: rfc822; kijitora@example.jp
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <kijitora@example.jp>... User Unknown

--367D79E130D.1417838948/mxback1h.mail.yandex.net--
""",
)
add(
    "zoho",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: mailer-daemon@mail.zoho.com
To: shironeko@zoho.com
Subject: Undelivered Mail Returned to Sender
X-ZohoMail: Si CHF_MF_NL SS_10 UW48 UB48 FMWL UW48 UB48 SGR3_1_09124_42
Content-Type: text/plain

This message was created automatically by mail delivery software.
A message that you sent could not be delivered to one or more of its recipients. This is a permanent error.

kijitora@example.co.jp Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.=
1 <kijitora@example.co.jp>... User Unknown

Received:from mail.zoho.com by mx.zohomail.com
""",
)
add(
    "sendgrid",
    "bounce",
    True,
    "5",
    "kijitora@example.com",
    """
Return-Path: <apps@sendgrid.net>
From: MAILER-DAEMON <MAILER-DAEMON@mx.sendgrid.net>
To: shironeko@example.com
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="----------=_1351676802-30315-116783"

------------=_1351676802-30315-116783
Content-Type: text/plain; charset=utf-8

Hello, this is the mail server on mx.sendgrid.net

I'm sending you this message to inform you on the delivery status of a message you previously sent.

  <kijitora@example.com>  delivery failed; will not continue trying
------------=_1351676802-30315-116783
Content-Type: message/delivery-status

Reporting-MTA: dns;mx.sendgrid.net
Arrival-Date: 2012-12-31 23-59-59

Final-Recipient: rfc822;kijitora@example.com
Original-Recipient: rfc822;kijitora@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: 550 5.1.1 <kijitora@example.com>... User Unknown

------------=_1351676802-30315-116783--
""",
)
add(
    "courier",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: "Courier mail server at example.com" <postmaster@example.com>
To: shironeko@example.com
Subject: NOTICE: mail delivery status.
Content-Type: multipart/report; report-type=delivery-status; boundary="=_courier-0"

--=_courier-0
Content-Type: text/plain; charset=us-ascii

This is a delivery status notification from example.com,
running the Courier mail server, version 0.65.2.

The original message was received on Sat, 11 Dec 2010 12:19:57 +0900
from [127.0.0.1] (c10920.example.com [192.0.2.20])

---------------------------------------------------------------------------

                           UNDELIVERABLE MAIL

Your message to the following recipients cannot be delivered:

<kijitora@example.co.jp>:
    mx.example.co.jp [74.207.247.95]:
<<< 550 5.1.1 <kijitora@example.co.jp>... User Unknown

---------------------------------------------------------------------------
--=_courier-0--
""",
)
add(
    "courier-local",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: "Courier mail server at example.com" <postmaster@example.com>
To: shironeko@example.com
Subject: NOTICE: mail delivery status.
Content-Type: multipart/mixed; boundary="=_courier-0"

--=_courier-0
Content-Type: text/plain; charset=us-ascii

                           UNDELIVERABLE MAIL

Your message to the following recipients cannot be delivered:

<kijitora@example.co.jp>:
      No such domain.

--=_courier-0--
""",
)
add(
    "mcafee",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: MAILER-DAEMON@mcafee.example.com
To: shironeko@example.com
Subject: Delivery Status
X-NAI-Header: Modified by McAfee CWS
Content-Type: multipart/mixed; boundary="----=_NextPart_01"

------=_NextPart_01
Content-Type: text/plain; charset=us-ascii

--- The following addresses had delivery problems ---

<kijitora@example.co.jp>   (User unknown kijitora@example.co.jp)


------=_NextPart_01
Content-Type: message/delivery-status

Final-Recipient: <kijitora@example.co.jp>
Action: failed
Diagnostic-Code: smtp; 550 5.1.1 User unknown

------=_NextPart_01--
""",
)
add(
    "mxlogic",
    "bounce",
    False,
    "5",
    "kijitora@example.jp",
    """
From: Mail Delivery System <mailer-daemon@mxl.example.net>
To: shironeko@example.com
Subject: Mail delivery failed: returning message to sender
X-MX-Bounce: mta/src/queue/bounce
Content-Type: text/plain

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  <kijitora@example.jp>: 550 Content rejected

Included is a copy of the message header:
-----------------------------------------

From: shironeko@example.com
""",
)
add(
    "imail",
    "bounce",
    True,
    "5",
    "kijitora@example.com",
    """
From: "Postmaster" <postmaster@imail.example.com>
To: shironeko@example.com
Subject: Undeliverable Mail
X-Mailer: <SMTP32 v8.22>

Unknown user: kijitora@example.com

Original message follows.

From: shironeko@example.com
To: kijitora@example.com
""",
)
add(
    "imail-full",
    "bounce",
    False,
    "5",
    "kijitora@example.com",
    """
From: "Postmaster" <postmaster@imail.example.com>
To: shironeko@example.com
Subject: Undeliverable Mail
X-Mailer: <SMTP32 v8.22>

User mailbox exceeds allowed size: kijitora@example.com

Original message follows.

From: shironeko@example.com
""",
)
add(
    "james",
    "bounce",
    True,
    "5",
    "kijitora@example.com",
    """
Return-Path: <>
From: postmaster@james.example.com
To: shironeko@example.com
Subject: [BOUNCE]
Content-Type: multipart/mixed; boundary="----=_Part_0_1"

------=_Part_0_1
Content-Type: text/plain; charset=us-ascii

Hi. This is the James mail server at james.example.com.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.  Below
I include the list of recipients and the reason why I was unable to deliver
your message.

Failed recipient(s):
kijitora@example.com

Error message below:
550 - Requested action not taken: no such user here

Message details:
  Subject: Nyaaan
  Sent date: Thu Apr 29 01:20:50 JST 2015
  MAIL FROM: shironeko@example.jp
  RCPT TO: kijitora@example.com
  From: Neko <shironeko@example.jp>
  To: kijitora@example.com
  Size (in bytes): 1024

------=_Part_0_1
Content-Type: message/rfc822

To: kijitora@example.com

x
------=_Part_0_1--
""",
)
add(
    "iplanet",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: Internet Mail Delivery <postmaster@ip.example.com>
To: shironeko@example.com
Subject: Delivery Notification: Delivery has failed
Content-Type: multipart/report; report-type=delivery-status; boundary="Boundary_(ID_0)"

--Boundary_(ID_0)
Content-type: text/plain; charset=us-ascii

This report relates to a message you sent with the following header fields:

  Message-id: <CD8C6134-C312-41D5-B083-366F7FA1D752@example.com>
  Date: Fri, 21 Nov 2014 23:34:45 +0900
  From: Shironeko <shironeko@example.com>
  To: kijitora@example.co.jp
  Subject: Nyaaaaaaaaaaaaaaaaaaaaaan

Your message cannot be delivered to the following recipients:

  Recipient address: kijitora@example.co.jp
  Reason: Remote SMTP server has rejected address
  Diagnostic code: smtp;550 5.1.1 <kijitora@example.co.jp>... User Unknown
  Remote system: dns;mx.example.co.jp (TCP|17.111.174.67|47323|192.0.2.225|25) (6jo.example.jp ESMTP SENDMAIL-VM)

--Boundary_(ID_0)
Content-type: message/DELIVERY-STATUS

Reporting-MTA: dns; ip.example.com

Original-recipient: rfc822;kijitora@example.co.jp
Final-recipient: rfc822;kijitora@example.co.jp
Action: failed
Status: 5.1.1
Remote-MTA: dns;mx.example.co.jp
Diagnostic-code: smtp;550 5.1.1 <kijitora@example.co.jp>... User Unknown

--Boundary_(ID_0)--
""",
)
add(
    "interscan",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: "InterScan MSS" <imss@example.com>
To: shironeko@example.com
Subject: Mail could not be delivered
Content-Type: multipart/mixed; boundary="----=_Next"

------=_Next
Content-Type: text/plain; charset=us-ascii

Sent <<< RCPT TO:<kijitora@example.co.jp>
Received >>> 550 5.1.1 <kijitora@example.co.jp>... user unknown
Unable to deliver message to <kijitora@example.co.jp>

------=_Next
Content-Type: message/rfc822

From: shironeko@example.com
To: kijitora@example.co.jp

x
------=_Next--
""",
)
add(
    "v5sendmail",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: MAILER-DAEMON@ancient.example.com (Mail Delivery Subsystem)
To: shironeko@example.com
Subject: Returned mail: User unknown

   ----- Transcript of session follows -----
While talking to smtp.example.co.jp:
>>> RCPT To:<kijitora@example.co.jp>
<<< 550 User unknown
550 kijitora@example.co.jp... User unknown

   ----- Unsent message follows -----
Received: from x by y
From: shironeko@example.com
To: kijitora@example.co.jp
""",
)
add(
    "v5sendmail-host",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: Mail Delivery Subsystem <MAILER-DAEMON@ancient.example.com>
To: shironeko@example.com
Subject: Returned mail: Host unknown

   ----- Transcript of session follows -----
550 host unknown.example.co.jp  not known
550 kijitora@example.co.jp... Host unknown

   ----- Unsent message follows -----
From: shironeko@example.com
To: kijitora@example.co.jp
""",
)
add(
    "surfcontrol",
    "bounce",
    False,
    "5",
    "kijitora@example.com",
    """
From: "Mail Administrator" <postmaster@sc.example.com>
To: shironeko@example.com
Subject: Your message could not be sent.
X-Mailer: SurfControl E-mail Filter

Your message could not be sent. A transcript of the attempts to send the message follows. The number of attempts made: 1

Addressed To: kijitora@example.com

Thu, 29 Apr 2010 23:34:45 +0900
Failed to send to identified host,
kijitora@example.com: [192.0.2.5], 550 5.7.1 Message blocked by filter
--- Message non-deliverable.
""",
)
add(
    "mfilter",
    "bounce",
    True,
    "5",
    "kijitora@example.org",
    """
From: "Mail Delivery Subsystem" <postmaster@m.example.jp>
To: shironeko@example.com
Subject: failure notice
X-Mailer: m-FILTER
Content-Type: text/plain; charset=iso-2022-jp

このメールは以下の理由により送信できませんでした。

kijitora@example.org

-------server message
550 5.1.1 unknown user <kijitora@example.org>

-------original message
Received: from x
""",
)
add(
    "x6",
    "bounce",
    True,
    "5",
    "kijitora@example.org",
    """
From: Mail Delivery Service <postmaster@x6.example.com>
To: shironeko@example.com
Subject: There was an error sending your mail
Content-Type: text/plain

We had trouble delivering your message. Full details follow:

Subject: 'Nyaan'
Date: 'Thu, 29 Apr 2012 23:34:45 +0000'

1 error(s):

SMTP Server <mta2.example.org> rejected recipient <kijitora@example.org> (Error following RCPT command). It responded as follows: [550 5.1.1 unknown user]

""",
)
add(
    "googlegroups",
    "bounce",
    False,
    "5",
    "gardeners@googlegroups.com",
    """
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
To: shironeko@example.com
Subject: Delivery Status Notification (Failure)
Auto-Submitted: auto-replied
X-Failed-Recipients: gardeners@googlegroups.com
Content-Type: text/plain

Hello shironeko@example.com,

We're writing to let you know that the group you tried to contact (gardeners) may not exist, or you may not have permission to post messages to the group. A few more details on why you weren't able to post:

 * You might have spelled or formatted the group name incorrectly.
 * The owner of the group may have removed this group.
 * You may need to join the group before receiving permission to post.

Thanks,

Google Groups
""",
)
add(
    "ezmlm",
    "bounce",
    False,
    "5",
    "neko@lists.example.org",
    """
From: MAILER-DAEMON@lists.example.org
To: shironeko@example.com
Subject: failure notice

Hi. This is the qmail-send program at lists.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<neko@lists.example.org>:
ezmlm-reject: fatal: Sorry, I don't accept commands in the subject line. Please send a message to the -help address shown in the the ``Mailing-List:'' header for command info (#5.7.0)

--- Below this line is a copy of the message.
""",
)
add(
    "qmail-vpop",
    "bounce",
    True,
    "5",
    "kijitora@example.org",
    """
From: MAILER-DAEMON@q.example.org
To: shironeko@example.com
Subject: failure notice

Hi. This is the qmail-send program at q.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<kijitora@example.org>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.
""",
)
add(
    "qmail-host",
    "bounce",
    True,
    "5",
    "kijitora@example.invalid",
    """
From: MAILER-DAEMON@q.example.org
To: shironeko@example.com
Subject: failure notice

Hi. This is the qmail-send program at q.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.

<kijitora@example.invalid>:
Sorry, I couldn't find any host named example.invalid. (#5.1.2)

--- Below this line is a copy of the message.
""",
)
add(
    "qmail-conn",
    "bounce",
    False,
    "4",
    "kijitora@example.org",
    """
From: MAILER-DAEMON@q.example.org
To: shironeko@example.com
Subject: failure notice

Hi. This is the qmail-send program at q.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.

<kijitora@example.org>:
Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)
I'm not going to try again; this message has been in the queue too long.

--- Below this line is a copy of the message.
""",
)
add(
    "einsundeins",
    "bounce",
    False,
    "5",
    "kijitora@example.de",
    """
From: "Mail Delivery System" <mailer-daemon@kundenserver.de>
To: shironeko@example.com
Subject: Mail delivery failed: returning message to sender
Content-Type: text/plain

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of
its recipients. The following addresses failed:

<kijitora@example.de>

SMTP error from remote server for TEXT command, host: smtp.example.de (192.0.2.1) reason: 550 5.2.2 mailbox quota exceeded

--- The header of the original message is following. ---

Received: from x
""",
)
add(
    "gmx",
    "bounce",
    True,
    "5",
    "kijitora@gmx.de",
    """
From: GMX Mailer Daemon <mailer-daemon@gmx.net>
To: shironeko@example.com
Subject: Mail delivery failed: returning message to sender
Content-Type: text/plain

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to
one or more of its recipients. This is a permanent error.
The following address failed:

"kijitora@gmx.de":
SMTP error from remote server after RCPT command:
host: mx.gmx.net
5.1.1 <kijitora@gmx.de>... User Unknown

--- The header of the original message is following. ---

Received: from x
""",
)
add(
    "bigfoot",
    "bounce",
    True,
    "5",
    "kijitora@bigfoot.example.com",
    """
From: "MAILER-DAEMON" <MAILER-DAEMON@bigfoot.com>
To: shironeko@example.com
Subject: Returned mail: see transcript for details

The original message was received at Thu, 29 Apr 2010 23:34:45 +0900

   ----- The following addresses had delivery problems -----
<kijitora@bigfoot.example.com>

   ----- Transcript of session follows -----
>>> RCPT TO:<kijitora@bigfoot.example.com>
<<< 553 Invalid recipient kijitora@bigfoot.example.com (Mode: normal)
""",
)
add(
    "messagelabs",
    "bounce",
    False,
    "5",
    "kijitora@example.org",
    """
From: MAILER-DAEMON@messagelabs.com
To: shironeko@example.com
Subject: Mail Delivery Failure
X-Msg-Ref: server-11.tower-143.messagelabs.com!1419367175!36473369!1
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

The following message to <kijitora@example.org> was undeliverable.
The reason for the problem:
5.1.0 - Unknown address error 550-'5.1.1 <kijitora@example.org>: Recipient address rejected: User unknown'

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; server-15.bemta-3.messagelabs.com
Arrival-Date: Tue, 23 Dec 2014 20:39:34 +0000

Action: failed
Final-Recipient: rfc822; kijitora@example.org
Status: 5.0.0 (permanent failure)
Remote-MTA: dns; [10.46.77.57]
Diagnostic-Code: smtp; 550 maria@dest.example.net: unknown user

--b--
""",
)
add(
    "outlook-german",
    "bounce",
    True,
    "5",
    "kijitora@example.de",
    """
From: Microsoft Outlook <MicrosoftExchange329e71ec88ae4615bbc36ab6ce41109e@firma.example>
To: shironeko@example.com
Subject: Unzustellbar: Angebot
Content-Type: multipart/mixed; boundary="b"

--b
Content-Type: text/plain; charset=utf-8

Fehler bei der Nachrichtenzustellung an folgende Empfänger oder Gruppen:

kijitora@example.de<mailto:kijitora@example.de>
Die eingegebene E-Mail-Adresse konnte nicht gefunden werden. Überprüfen Sie die E-Mail-Adresse des Empfängers.

Diagnoseinformationen für Administratoren:

Generierender Server: firma.example

kijitora@example.de
#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##

--b--
""",
)
add(
    "t-online",
    "bounce",
    False,
    "5",
    "kijitora@t-online.de",
    """
From: Mail Delivery System <Mailer-Daemon@t-online.de>
To: shironeko@example.com
Subject: Zustellung Ihrer E-Mail fehlgeschlagen
Content-Type: text/plain; charset=utf-8

Ihre E-Mail konnte nicht zugestellt werden an:

  kijitora@t-online.de

Das Postfach des Empfängers ist voll.
""",
)
add(
    "french",
    "bounce",
    True,
    "5",
    "kijitora@orange.fr",
    """
Return-Path: <>
From: postmaster@orange.fr
To: shironeko@example.com
Subject: =?utf-8?Q?Notification_d=27=C3=A9chec_de_remise?=
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Votre message n'a pas pu =EAtre remis =E0 <kijitora@orange.fr>:
550 5.1.1 Adresse d'au moins un destinataire invalide.
""",
)
add(
    "163",
    "bounce",
    True,
    "5",
    "kijitora@163.com",
    """
From: Postmaster@163.com
To: shironeko@example.com
Subject: =?gb2312?B?z7XNs83L0MU=?=
Content-Type: text/html; charset=utf-8

<html><body><p>抱歉，您的邮件被退回来了……</p><p>收件人邮件地址：</p><p>kijitora@163.com</p><p>退信原因：</p><p>550 User not found: kijitora@163.com, in reply to RCPT TO</p></body></html>
""",
)
add(
    "aol-arf",
    "complaint",
    False,
    "",
    "kijitora@aol.com",
    """
From: <scomp@aol.net>
To: fbl@example.com
Subject: Email Feedback Report for IP 192.0.2.1
MIME-Version: 1.0
Content-Type: multipart/report; boundary="b"; report-type="feedback-report"

--b
Content-Type: text/plain

This is an email abuse report
--b
Content-Type: message/feedback-report

Feedback-Type: abuse
User-Agent: AOL SComp
Version: 0.1
Original-Rcpt-To: <kijitora@aol.com>

--b
Content-Type: message/rfc822

From: a@example.com
To: undisclosed

x
--b--
""",
)
add(
    "exim-delay",
    "delayed",
    False,
    "4",
    "kijitora@example.jp",
    """
From: Mail Delivery System <Mailer-Daemon@mx.example.org>
To: shironeko@example.com
Auto-Submitted: auto-generated
Subject: Warning: message 1Y2k delayed 24 hours

This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mx.example.org.

The address to which the message has not yet been delivered is:

  kijitora@example.jp

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated at intervals if the message
remains undelivered.
""",
)
add(
    "ses-transient",
    "bounce",
    False,
    "4",
    "kijitora@example.jp",
    """
From: no-reply@sns.amazonaws.com
To: shironeko@example.com
Subject: AWS Notification Message
Content-Type: text/plain

{"eventType":"Bounce","bounce":{"bounceType":"Transient","bounceSubType":"MailboxFull","bouncedRecipients":[{"emailAddress":"kijitora@example.jp"}],"reportingMTA":"dsn; a1"},"mail":{}}
""",
)
add(
    "opensmtpd",
    "bounce",
    True,
    "5",
    "kijitora@example.jp",
    """
Subject: Delivery status notification: error
From: Mailer Daemon <MAILER-DAEMON@x.example>
To: shironeko@example.com

    Hi!

    This is the MAILER-DAEMON, please DO NOT REPLY to this e-mail.

    An error has occurred while attempting to deliver a message for
    the following list of recipients:

kijitora@example.jp: 550 5.1.1 <kijitora@example.jp>... User Unknown

    Below is a copy of the original message:

""",
)
add(
    "facebook",
    "bounce",
    True,
    "5",
    "kijitora@facebook.com",
    """
From: MAILER-DAEMON@mx-out.facebook.com
To: shironeko@example.com
Subject: Sorry, your message could not be delivered
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

This message was created automatically by Facebook.

Sorry, your message could not be delivered
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; 10.138.205.200
Arrival-Date: Thu, 23 Jun 2011 02:29:43 -0700

Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 RCP-P2 http://postmaster.facebook.com/response_codes?ip=1 Not Found
Final-Recipient: rfc822; kijitora@facebook.com
Action: failed
Last-Attempt-Date: Thu, 23 Jun 2011 02:29:44 -0700

--b--
""",
)
add(
    "kddi-ezweb",
    "bounce",
    False,
    "5",
    "kijitora@ezweb.ne.jp",
    """
From: Postmaster@ezweb.ne.jp
To: shironeko@example.com
Subject: Mail System Error - Returned Mail
Content-Type: multipart/mixed; boundary="__SNMAIL"

--__SNMAIL
Content-Type: text/plain

The user(s) account is temporarily over quota.

<kijitora@ezweb.ne.jp>

--__SNMAIL
Content-Type: message/rfc822

To: kijitora@ezweb.ne.jp

x
--__SNMAIL--
""",
)
add(
    "kddi-ezweb2",
    "bounce",
    False,
    "5",
    "kijitora@ezweb.ne.jp",
    """
From: Postmaster@ezweb.ne.jp
To: shironeko@example.com
Subject: Mail System Error - Returned Mail
Content-Type: multipart/mixed; boundary="__SNMAIL"

--__SNMAIL
Content-Type: text/plain

Each of the following recipients was rejected by a remote mail server.

    Recipient: <kijitora@ezweb.ne.jp>
    >>> RCPT TO:<kijitora@ezweb.ne.jp>
    <<< 550 <kijitora@ezweb.ne.jp>: message filtered

--__SNMAIL--
""",
)
add(
    "activehunter",
    "bounce",
    True,
    "5",
    "kijitora@example.co.jp",
    """
From: MAILER-DAEMON@hunter.example.jp
To: shironeko@example.com
Subject: FAILURE NOTICE :
X-AHMAILID: 20130429
Content-Type: text/plain; charset=iso-2022-jp

  ----- The following addresses had permanent fatal errors -----

>>> kijitora@example.co.jp <kijitora@example.co.jp>

  ----- Transcript of session follows -----
550 sorry, no mailbox here by that name (#5.1.1 - chkusr)
""",
)
add(
    "vim-x2",
    "bounce",
    False,
    "5",
    "kijitora@example.com",
    """
From: MAILER-DAEMON@vims.example.com
To: shironeko@example.com
Subject: Delivery failure

Unable to deliver message to the following address(es).

<kijitora@example.com>:
This user doesn't have a example.com account (kijitora@example.com) [-1]

--- Original message follows.

From: x
""",
)
add(
    "trend-x5",
    "bounce",
    True,
    "5",
    "kijitora@example.com",
    """
From: "Mail Delivery Subsystem" <MAILER-DAEMON@x.example>
To: shironeko@example.com
Subject: Returned mail: User unknown
Content-Type: text/plain

Dear sender,
your mail to the recipient below bounced.

Recipient: kijitora@example.com
Reason: 550 5.1.1 user unknown
""",
)
add(
    "unknown-corp",
    "bounce",
    True,
    "5",
    "kijitora@corp.example",
    """
Return-Path: <>
From: no-reply@corp.example
To: shironeko@example.com
Subject: Your email was not delivered
Content-Type: text/html; charset=utf-8

<html><body><h1>Delivery report</h1><table><tr><td>Recipient</td><td>kijitora@corp.example</td></tr><tr><td>Reason</td><td>550 5.1.1 The email account that you tried to reach does not exist.</td></tr></table></body></html>
""",
)
add(
    "utf8-rfc6533",
    "bounce",
    True,
    "5",
    "猫@例え.jp",
    """
From: MAILER-DAEMON@mx.example.jp
To: shironeko@example.com
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

failed
--b
Content-Type: message/global-delivery-status

Reporting-MTA: dns; mx.example.jp

Final-Recipient: utf-8; \\x{732B}@\\x{4F8B}\\x{3048}.jp
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b--
""",
)


@pytest.mark.parametrize("name", SAMPLES)
def test_a_format_is_read(name: str) -> None:
    kind, hard, status_class, address, raw = SAMPLES[name]
    report = read(raw)
    assert report.kind == kind
    (one,) = report.recipients
    assert (one.address, one.hard, one.status[:1]) == (address, hard, status_class)
