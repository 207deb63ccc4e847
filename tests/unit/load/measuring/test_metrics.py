"""What processes say of themselves."""

import pytest

from load.measuring.generator import MeasurementError
from load.measuring.metrics import samples_in

TEXT = """# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{method="Open",code="OK"} 12.0
degraded 0.0
"""


def test_samples_are_read_by_name_with_labels_in_the_order_asked_for() -> None:
    assert samples_in(TEXT, "degraded", 'calls_total{method="Open",code="OK"}') == [0.0, 12.0]


def test_a_metric_that_is_not_there_is_named() -> None:
    with pytest.raises(MeasurementError, match="no metric calls_total, size"):
        samples_in(TEXT, "calls_total", "degraded", "size")
