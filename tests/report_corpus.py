"""The corpus of reports with its labels: how right the reader is, and what of that it owes to single systems.

`python -m tests.report_corpus` prints the figures. *Left out* means: measured on some messages without each
alternative of a pattern, and each row of the table, that is needed for these messages only, as if nobody had
ever seen them. What no message needs was written from knowledge of the formats, and stays.
"""

import dataclasses
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kannon.core import replies, reply_words
from kannon.core.reports import notices, signs
from kannon.core.reports.reading import read
from kannon.core.reports.values import Action, Kind, Report

FOLDER = Path(__file__).parent / "corpus" / "bounces"
TABLES = (reply_words, signs, notices)
RULES = replies.RULES
NEVER = r"(?!)"


@dataclass(frozen=True)
class Sample:
    """A message, its name, and what is to be found: a label for each recipient."""

    name: str
    raw: bytes
    labels: list[dict[str, object]]

    @property
    def system(self) -> str:
        """The mail system that it is of."""
        return self.name.rpartition("-")[0]


@dataclass
class Score:
    """How many there were, and how many were right."""

    messages: int = 0
    recognised: int = 0
    recipients: int = 0
    classes: int = 0
    hard: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )

    def __str__(self) -> str:
        return (
            f"recognised {self.recognised}/{self.messages} ({self.recognised / self.messages:.1%}), "
            f"status class {self.classes}/{self.recipients} ({self.classes / self.recipients:.1%}), "
            f"hard {self.hard}/{self.recipients} ({self.hard / self.recipients:.1%})"
        )


def samples() -> list[Sample]:
    """The whole corpus, in the order of its names."""
    labels = json.loads((FOLDER / "labels.json").read_text())
    return [Sample(name, (FOLDER / f"{name}.eml").read_bytes(), labels[name]) for name in sorted(labels)]


def is_recognised(sample: Sample, report: Report) -> bool:
    """Whether the kind is the label's. Delays and successes have labels, too, and are no bounces."""
    if sample.labels[0]["reason"] == "feedback":
        return report.kind is Kind.COMPLAINT
    if report.kind is Kind.DELAYED:
        return all(one.action is not Action.FAILED for one in report.recipients)
    return report.kind is Kind.BOUNCE


def score(sample: Sample) -> Score:
    """How right the reader is about a message and its recipients, in their order; one left out is wrong."""
    report = read(sample.raw)
    pairs = list(zip(sample.labels, report.recipients, strict=False))
    return Score(
        1,
        int(is_recognised(sample, report)),
        len(sample.labels),
        sum(one.status[:1] == str(label["status"])[:1] for label, one in pairs),
        sum(one.hard == label["hard"] for label, one in pairs),
    )


def total(of: Iterable[Sample]) -> Score:
    """The sum over messages."""
    return sum((score(sample) for sample in of), Score())


@dataclass(frozen=True)
class Entry:
    """Something that can be left out: an alternative of a pattern in a table, or a row of RULES."""

    table: object
    name: str
    index: int
    alternative: int = -1


def entries() -> list[Entry]:
    """All of them."""
    found = [
        Entry(table, name, index, alternative)
        for table in TABLES
        for name, value in vars(table).items()
        if name.isupper() and isinstance(value, tuple) and value and isinstance(value[0], str)
        for index, pattern in enumerate(value)
        for alternative in range(len(alternatives(pattern)))
    ]
    return found + [Entry(replies, "RULES", index) for index in range(len(RULES) - 1)]


def alternatives(pattern: str) -> list[str]:
    """What stands between the bars that are in no group and no class."""
    parts, depth, in_class, at = [""], 0, False, 0
    while at < len(pattern):
        sign = pattern[at : at + 2] if pattern[at] == "\\" else pattern[at]
        at += len(sign)
        if sign == "[" and not in_class:
            in_class = True
        elif sign == "]" and in_class:
            in_class = False
        elif not in_class and sign in "()":
            depth += 1 if sign == "(" else -1
        if sign == "|" and depth == 0 and not in_class:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


@contextmanager
def without(left_out: Iterable[Entry]) -> Iterator[None]:
    """The reader without some entries."""
    before: dict[tuple[object, str], tuple[str, ...]] = {
        (table, name): value for table in TABLES for name, value in vars(table).items() if name.isupper()
    }
    cut: dict[tuple[object, str], dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for entry in left_out:
        cut[entry.table, entry.name][entry.index].add(entry.alternative)
    changed = {}
    for (table, name), patterns in cut.items():
        if table is not replies:
            changed[before[table, name]] = tuple(
                _less(pattern, patterns[index]) if index in patterns else pattern
                for index, pattern in enumerate(before[table, name])
            )
            setattr(table, name, changed[before[table, name]])
    rules = cut.get((replies, "RULES"), {})
    replies.RULES = tuple(
        dataclasses.replace(rule, text=changed.get(rule.text, rule.text))
        for index, rule in enumerate(RULES)
        if index not in rules
    )
    replies.judge.cache_clear()
    try:
        yield
    finally:
        replies.judge.cache_clear()
        replies.RULES = RULES
        for (table, name), value in before.items():
            setattr(table, name, value)


def _less(pattern: str, indexes: set[int]) -> str:
    kept = [one for index, one in enumerate(alternatives(pattern)) if index not in indexes]
    return "|".join(kept) or NEVER


def needed_by(of: list[Sample]) -> dict[Entry, set[str]]:
    """Which messages are read less well without an entry; entries that none needs are left out."""
    whole = {sample.name: score(sample) for sample in of}
    texts = {sample.name: _all_text(sample) for sample in of}
    found = {}
    for entry in entries():
        touched = [sample for sample in of if _may_touch(entry, texts[sample.name])]
        with without([entry]):
            worse = {sample.name for sample in touched if _is_worse(score(sample), whole[sample.name])}
        if worse:
            found[entry] = worse
    return found


def left_out(
    of: list[Sample], groups: Iterable[list[Sample]], needs: dict[Entry, set[str]]
) -> dict[str, Score]:
    """The score of each group, by its first message's name, without what that group alone needs."""
    scores = {}
    for group in groups:
        names = {sample.name for sample in group}
        with without([entry for entry, who in needs.items() if who <= names]):
            scores[group[0].name] = total(group)
    return scores


def halves(of: list[Sample], seed: int) -> list[list[Sample]]:
    """Two halves by chance, the same for the same seed."""
    shuffled = random.Random(seed).sample(of, len(of))
    return [shuffled[: len(of) // 2], shuffled[len(of) // 2 :]]


def by_system(of: list[Sample]) -> list[list[Sample]]:
    """The messages of each mail system."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in of:
        groups[sample.system].append(sample)
    return list(groups.values())


def _is_worse(now: Score, before: Score) -> bool:
    return any(a < b for a, b in zip(dataclasses.astuple(now), dataclasses.astuple(before), strict=True))


def _all_text(sample: Sample) -> str:
    from kannon.core.reports.entities import read_message

    message = read_message(sample.raw)
    fields = [message.headers.get(name) for name in ("from", "sender", "subject")]
    text = "\n".join([*fields, *(part.text for part in message.parts)])[:120_000]
    return text + "\n" + " ".join(text.split())


def _may_touch(entry: Entry, text: str) -> bool:
    if entry.table is replies:
        return True
    pattern = alternatives(getattr(entry.table, entry.name)[entry.index])[entry.alternative]
    return re.search(pattern, text, re.IGNORECASE | re.MULTILINE) is not None


def slowest(of: Iterable[Sample], clock: Callable[[], float] = time.perf_counter) -> tuple[float, str]:
    """The longest time, in seconds, and the message that took it."""
    times = []
    for sample in of:
        start = clock()
        read(sample.raw)
        times.append((clock() - start, sample.name))
    return max(times)


def main() -> None:
    """Print all figures; it takes about a minute."""
    whole = samples()
    print("in sample:             ", total(whole))
    needs = needed_by(whole)
    for seed in (1, 2, 3):
        print(
            f"by halves ({seed}):         ",
            sum(left_out(whole, halves(whole, seed), needs).values(), Score()),
        )
    systems = left_out(whole, by_system(whole), needs)
    print("one system left out:   ", sum(systems.values(), Score()))
    for name, one in systems.items():
        if (one.recognised, one.classes, one.hard) != (one.messages, one.recipients, one.recipients):
            print(f"  {name.rpartition('-')[0]:20} {one}")
    print("slowest: {:.3f} s ({})".format(*slowest(whole)))


if __name__ == "__main__":
    main()
