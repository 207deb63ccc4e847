"""The count of calls."""

from load.simulated_model.calls import Calls


def test_a_call_waits_until_it_runs_and_the_peak_is_remembered() -> None:
    calls = Calls(begun=3)
    assert calls.waiting == 3
    with calls.running():
        with calls.running():
            assert (calls.waiting, calls.concurrent) == (1, 2)
        calls.completed += 1
        assert (calls.waiting, calls.concurrent, calls.max_concurrent) == (1, 1, 2)


def test_a_reset_forgets_all_but_the_calls_that_have_not_ended() -> None:
    calls = Calls(begun=10, completed=5, cancelled=2, concurrent=2, max_concurrent=4, last_request=b"{}")
    calls.reset()
    assert calls == Calls(begun=3, concurrent=2, max_concurrent=2)
    assert calls.waiting == 1
