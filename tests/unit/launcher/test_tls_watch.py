"""What becomes of a certificate that is replaced, decided from look to look."""

from launcher.edge.tls_watch import Fault, Pair, Watch

FIRST, SECOND = Pair("certificate 1", "key 1"), Pair("certificate 2", "key 2")
MIXED = Fault("the key is not that of the certificate")


def watching(good: Pair | None = FIRST) -> Watch:
    """A watch that has published this one, and has just seen it."""
    watch = Watch(good=good)
    if good:
        watch.news(good)
    return watch


def test_the_first_pair_is_news_when_it_was_seen_twice() -> None:
    watch = Watch()
    assert watch.news(FIRST) is None
    assert watch.news(FIRST) == FIRST


def test_what_was_published_is_no_news() -> None:
    watch = watching()
    assert [watch.news(FIRST) for _ in range(3)] == [None] * 3


def test_a_new_pair_is_news_until_it_is_published() -> None:
    watch = watching()
    assert [watch.news(SECOND) for _ in range(3)] == [None, SECOND, SECOND]
    assert watch.conclude(SECOND) is None
    assert watch.news(SECOND) is None


def test_two_files_that_are_replaced_one_after_the_other_are_no_fault() -> None:
    watch = watching()
    assert [watch.news(seen) for seen in (MIXED, SECOND, SECOND)] == [None, None, SECOND]


def test_a_fault_that_stays_is_told_once() -> None:
    watch = watching()
    assert [watch.news(MIXED) for _ in range(2)] == [None, MIXED]
    assert watch.conclude(MIXED) == MIXED
    assert watch.news(MIXED) is None


def test_a_fault_that_comes_back_after_a_good_pair_is_told_again() -> None:
    watch = watching()
    watch.conclude(MIXED)
    assert [watch.news(seen) for seen in (FIRST, MIXED, MIXED)] == [None, None, MIXED]


def test_a_pair_that_could_not_be_published_is_tried_again_and_the_fault_told_once() -> None:
    watch, full = watching(), Fault("the disk is full")
    watch.news(SECOND)
    assert watch.news(SECOND) == SECOND
    assert watch.conclude(full) == full
    assert watch.news(SECOND) == SECOND
    assert watch.conclude(full) is None


def test_a_key_is_not_shown() -> None:
    assert "key 1" not in repr(FIRST)
