"""Work in hand is capped, and flows all the same: without waiting for ticks, and fairly."""

from collections.abc import Callable

from tests.e2e.system import System, wait_until
from tests.smtp_peer import Behaviour, SmtpPeer

IN_HAND = 60
MANY = 1200


def test_a_large_batch_flows_without_ticks_and_a_small_one_is_not_behind_it(
    own_system: Callable[..., System], sink: SmtpPeer
) -> None:
    system = own_system(
        K_SENDER_ROUTES=f"example.org={sink.target}",
        K_DISPATCH_IN_HAND=str(IN_HAND),
        K_TICK_EVERY="10m",
    )
    large, small = system.tenant(), system.tenant()
    sink.behaviours["*"] = Behaviour(delay=0.02)
    large.send([f"reader{number}@example.org" for number in range(MANY)])
    wait_until(lambda: large.counts()["delivered"] >= IN_HAND, 30, "the large Batch is under way")
    small.send(["one@example.org"])
    assert small.wait_for_end(1) == {"accepted": 1, "delivered": 1}
    assert large.counts()["delivered"] < MANY / 2, "the small Batch did not wait for the large one"
    sink.behaviours.clear()
    assert large.wait_for_end(MANY, within=60) == {"accepted": MANY, "delivered": MANY}
