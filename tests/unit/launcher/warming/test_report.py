"""What a run says at its end."""

from launcher.cache.warming.answers import Outcome, Result, Usage
from launcher.cache.warming.report import ASKED_AGAIN, SHOWN_LINES, Report


def report_of(*results: Result) -> Report:
    report = Report(lambda: None)
    for line, result in enumerate(results, start=1):
        report.add(line, result)
    return report


def test_lines_are_counted_by_what_became_of_them_with_what_they_took() -> None:
    report = report_of(
        Result(Outcome.COMPUTED, usage=Usage(1000, 20, 0.5)),
        Result(Outcome.COMPUTED, usage=Usage(500, 5, 0.25)),
        Result(Outcome.NOT_CACHEABLE, "asks about now", Usage(1, 1, 0.0)),
        Result(Outcome.PRESENT),
    )
    assert report.text(lines=4, seconds=2.0).splitlines() == [
        "4 of 4 lines in 2.0 s, 2.0 a second",
        "  computed       2",
        "  already there  1",
        "  not cacheable  1",
        "used: 1,501 tokens in, 26 out, $0.750000",
        "not cacheable:",
        "  line 3: asks about now",
        ASKED_AGAIN,
    ]
    assert report.is_complete


def test_the_first_failures_are_told_and_the_others_counted() -> None:
    report = report_of(*[Result(Outcome.FAILED, "no")] * (SHOWN_LINES + 2))
    text = report.text(lines=12, seconds=1.0).splitlines()
    assert text[-SHOWN_LINES - 3 :] == [
        "failed:",
        *(f"  line {line}: no" for line in range(1, SHOWN_LINES + 1)),
        "  and 2 more",
        "The same command goes on with what failed and what was left.",
    ]
    assert not report.is_complete


def test_failures_are_told_in_the_order_of_their_lines_whichever_was_done_first() -> None:
    report = Report(lambda: None)
    for line in range(2 * SHOWN_LINES, 0, -1):
        report.add(line, Result(Outcome.FAILED, "no"))
    text = report.text(lines=30, seconds=1.0)
    told = [line for line in text.splitlines() if line.startswith("  line")]
    assert told == [f"  line {line}: no" for line in range(1, SHOWN_LINES + 1)]
    assert f"and {SHOWN_LINES} more" in text
    assert ASKED_AGAIN not in text


def test_a_run_that_ended_early_says_the_first_reason() -> None:
    report = report_of(Result(Outcome.COMPUTED))
    report.ended_early("It was told to stop.")
    report.ended_early("Something that came of it.")
    text = report.text(lines=9, seconds=1.0)
    assert "1 of 9 lines" in text
    assert "Ended early. It was told to stop.\nThe same command goes on" in text
    assert not report.is_complete


def test_nothing_to_do_is_complete() -> None:
    assert report_of().text(lines=0, seconds=0.0).startswith("0 of 0 lines in 0.0 s\nused: 0 tokens")
    assert report_of().is_complete


def test_each_line_is_announced() -> None:
    announced: list[None] = []
    report = Report(lambda: announced.append(None))
    report.add(1, Result(Outcome.COMPUTED))
    report.add(2, Result(Outcome.PRESENT))
    assert len(announced) == report.count == 2
