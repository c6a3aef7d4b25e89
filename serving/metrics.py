"""What Prometheus sees. Workers share their numbers through files in `PROMETHEUS_MULTIPROC_DIR`, set before import."""

from functools import cache
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5)

STEP = Histogram("risk_step_seconds", "Time of each step of a decision.", ["step"], buckets=_SECONDS)
DECISIONS = Counter("risk_decisions_total", "Decisions by the first gate that failed (none: approved).", ["decision", "gate"])
SCORES = Histogram("risk_score", "Calibrated scores.", buckets=[i / 20 for i in range(1, 20)])
DOUBTS = Counter("risk_doubts_total", "Claims handed over because a part was in doubt, by cause.", ["cause"])
REPEATS = Counter("risk_repeats_total", "Claims answered from an earlier decision.")
CONFLICTS = Counter("risk_conflicts_total", "Claims refused because their id was used with another body.")
UNAVAILABLE = Counter("risk_unavailable_total", "Requests answered 503.")
WATCHED = Gauge(
    "risk_watch_value", "What a bet against the promise has become since the certificate, by segment.", ["segment"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
ALARMS = Counter("risk_alarms_total", "Segments that the watch turned off.", ["segment"])
REQUESTS = Counter("risk_http_responses_total", "Answers by status.", ["status"])


class Steps:
    """Times the steps of one decision, each from the end of the one before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = perf_counter()

    def done(self, name: str) -> None:
        """What ran since the step before, or since the beginning, was this step."""
        now = perf_counter()
        self.seconds[name], self._since = now - self._since, now

    def publish(self) -> None:
        """Add the times to the histograms."""
        for name, seconds in self.seconds.items():
            _step(name).observe(seconds)


@cache
def _step(name: str) -> Histogram:
    return STEP.labels(name)


@cache
def decided(decision: str, gate: str) -> Counter:
    """The counter of one kind of decision; looking a label up costs more than counting."""
    return DECISIONS.labels(decision, gate)


@cache
def answered(status: int) -> Counter:
    """The counter of one status."""
    return REQUESTS.labels(status)
