"""Answers and reports of mail systems that the corpus does not have, written from knowledge of what they send."""

import pytest

from kannon.core.reports.reading import read
from tests.foreign_reports import SAMPLES, read_right
from tests.refusals import FORMS, answers, judged

ANSWERS = answers()


def test_there_are_as_many_as_were_written() -> None:
    assert len(ANSWERS) > 650
    assert len(SAMPLES) > 190


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("category", sorted({answer.category for answer in ANSWERS}))
def test_answers_are_judged_in_any_form_of_report(form: str, category: str) -> None:
    group = [answer for answer in ANSWERS if answer.category == category]
    wrong = [one for one in group if not all(judged(one, read(FORMS[form](one))))]
    assert group
    assert wrong == []


@pytest.mark.parametrize("name", SAMPLES)
def test_a_report_of_another_system_is_read(name: str) -> None:
    sample = SAMPLES[name]
    report = read(sample.raw)
    assert read_right(sample, report) == (True, True, True)
    assert [one.address for one in report.recipients] == [address for address, _, _ in sample.recipients]
