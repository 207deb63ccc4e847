"""What an agent replica measures beside its calls."""

from prometheus_client import CollectorRegistry, Gauge

from services.agent.slots import Slots


def show_slots(slots: Slots, registry: CollectorRegistry) -> None:
    """Shows, whenever it is asked for, how full the replica is."""
    for name, text, value in (
        ("slots", "Turns that the replica works on at once.", lambda: slots.slots),
        ("turns_running", "Turns that have a slot.", lambda: slots.running),
        ("turns_waiting", "Turns that wait for a slot.", lambda: slots.waiting),
    ):
        Gauge(f"shoal_agent_{name}", text, registry=registry).set_function(value)
