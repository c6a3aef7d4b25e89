"""Cover: one claim judged by its policy, on average over the scenarios, and the shipped policies read and checked."""

import statistics
import time
from typing import Any

from risk.policy.cover import judge, judge_whole
from risk.policy.definition import load_policies
from risk.policy.request import request_of
from tests.scenario import scenarios


def run(repeats: int = 20) -> dict[str, Any]:
    """Microseconds a claim, as a decision judges it and as an explanation does; milliseconds for all policies; medians."""
    reads = []
    for _repeat in range(repeats):
        load_policies.cache_clear()
        start = time.perf_counter()
        policies = load_policies()
        reads.append(1e3 * (time.perf_counter() - start))
    claims = [scenario.claim for scenario in scenarios()]
    cases = [(policies.at(request.moments["paid_at"]), request) for request in map(request_of, claims)]
    decided, judged, built = [], [], []
    for _repeat in range(repeats):
        start = time.perf_counter()
        for policy, request in cases:
            judge_whole(policy, request).within(request.left)
        decided.append(1e6 * (time.perf_counter() - start) / len(cases))
        start = time.perf_counter()
        for policy, request in cases:
            judge(policy, request)
        judged.append(1e6 * (time.perf_counter() - start) / len(cases))
        start = time.perf_counter()
        for claim in claims:
            request_of(claim)
        built.append(1e6 * (time.perf_counter() - start) / len(claims))
    return {
        "claims": len(cases),
        "for_a_decision_us": round(statistics.median(decided), 1),
        "with_every_finding_us": round(statistics.median(judged), 1),
        "request_us": round(statistics.median(built), 1),
        "read_and_check_policies_ms": round(statistics.median(reads), 1),
    }
