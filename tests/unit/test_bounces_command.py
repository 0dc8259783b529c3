"""`kannon bounces classify`: what came back, as people and programs are told."""

import json
from pathlib import Path

from tests.commands import kannon
from tests.report_corpus import FOLDER

TWO = str(FOLDER / "lhost-exim-02.eml")
COMPLAINT = str(FOLDER / "arf-01.eml")


def test_each_file_is_an_object_in_a_line_of_its_own() -> None:
    done = kannon("bounces", "classify", TWO, COMPLAINT, "--json")
    assert done.code == 0
    first, second = (json.loads(line) for line in done.out.splitlines())
    assert (first["file"], first["kind"], second["kind"]) == (TWO, "bounce", "complaint")
    assert first["recipients"] == [
        {
            "address": address,
            "action": "failed",
            "status": status,
            "code": 550,
            "hard": True,
            "category": category,
            "text": f"SMTP error from remote mail server after RCPT TO:<{address}>: "
            f"host mx.example.jp [192.0.2.153]: 550 {status} <{address}>... User Unknown",
            "reporting_mta": "",
        }
        for address, status, category in (
            ("kijitora@example.jp", "5.1.1", "bad-mailbox"),
            ("sabatora@example.jp", "5.2.1", "mailbox-disabled"),
        )
    ]


def test_people_get_a_row_for_each_recipient() -> None:
    done = kannon("bounces", "classify", TWO)
    assert [line.split("\t")[:7] for line in done.out.splitlines()] == [
        [TWO, "bounce", "kijitora@example.jp", "5.1.1", "550", "hard", "bad-mailbox"],
        [TWO, "bounce", "sabatora@example.jp", "5.2.1", "550", "hard", "mailbox-disabled"],
    ]


def test_a_message_may_come_from_standard_input() -> None:
    done = kannon("bounces", "classify", "-", "--json", stdin=Path(COMPLAINT).read_bytes())
    assert (json.loads(done.out)["file"], json.loads(done.out)["kind"]) == ("-", "complaint")


def test_what_is_no_report_is_told_with_its_reason() -> None:
    receipt = b"Subject: Read\nContent-Type: multipart/report; report-type=disposition-notification\n\nx"
    assert kannon("bounces", "classify", "-", stdin=receipt).out.startswith(
        "-\tunrecognised (read-receipt)\t"
    )


def test_a_file_that_cannot_be_read_stops_no_other(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.eml")
    done = kannon("bounces", "classify", absent, str(tmp_path), COMPLAINT, "--json")
    assert done.code == 1
    assert done.err == f"error: {absent}: No such file or directory\nerror: {tmp_path}: Is a directory\n"
    assert json.loads(done.out)["file"] == COMPLAINT


def test_no_file_is_wrong_usage() -> None:
    assert kannon("bounces", "classify").code == 2


def test_a_report_is_written_as_it_came_or_as_json_but_not_both() -> None:
    done = kannon("bounces", "show", "1", "--raw", "-", "--json", "--admin-token", "t")
    assert (done.code, "leave --json out" in done.err) == (2, True)
