"""The reader against messages that were labelled by others: how much of it is right."""

from collections import Counter
from pathlib import Path

import pytest

from kannon.core import replies
from kannon.core.reports.reading import read
from tests import report_corpus
from tests.report_corpus import FOLDER, Entry, Sample, alternatives, samples, score, total

CORPUS = samples()


def test_the_corpus_is_whole() -> None:
    assert len(CORPUS) == len(list(FOLDER.glob("*.eml"))) == 208
    assert "*.eml -text" in (Path(__file__).parents[2] / ".gitattributes").read_text()


def test_nearly_all_reports_are_read_right() -> None:
    confusion = Counter((_told(sample), str(read(sample.raw).kind)) for sample in CORPUS)
    for (label, kind), count in sorted(confusion.items()):
        print(f"{label:10} read as {kind:12} {count:4}")
    reached = total(CORPUS)
    print(reached)
    assert reached.recognised >= 0.99 * reached.messages
    assert reached.classes >= 0.98 * reached.recipients
    assert reached.hard >= 0.95 * reached.recipients


@pytest.mark.parametrize("sample", CORPUS, ids=lambda sample: sample.name)
def test_every_report_is_recognised(sample: Sample) -> None:
    assert score(sample).recognised == 1


def test_without_a_row_it_is_less_right() -> None:
    hard = [
        Entry(replies, "RULES", index)
        for index, rule in enumerate(report_corpus.RULES)
        if rule.judgement.hard
    ]
    whole = total(CORPUS)
    with report_corpus.without(hard):
        assert total(CORPUS).hard < whole.hard - 50
    assert total(CORPUS) == whole


def test_alternatives_are_those_outside_of_groups() -> None:
    assert alternatives(r"a(b|c)|[|)]d|\|e") == ["a(b|c)", "[|)]d", r"\|e"]


def _told(sample: Sample) -> str:
    reason = sample.labels[0]["reason"]
    return {"feedback": "complaint", "delivered": "delivered"}.get(str(reason), "bounce")
