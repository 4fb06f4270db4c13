"""The filters drop, prune, date, clone, fingerprint, uuid, split and truncate: the recorded cases."""

from __future__ import annotations

import pytest
from logstash_cases import Case, assert_is, cases, event_of
from printed import filtered

from cht_sync.errors import ConfigError

OUR_OWN_WAY = {
    "prune: blacklist_values: number field raises": [{}],
    "prune: blacklist_values: number field in whitelist raises": [{"a": 5}],
    "truncate: map in a bare field name raises (the walk makes the name a[x])": [
        {"a": {"x": "ab", "y": {"z": "de"}}}
    ],
}
"""Where the original ends the pipeline, and what comes out instead."""


@pytest.mark.usefixtures("utc")
@cases("other_filters.json")
def test_a_filter_does_to_an_event_what_logstash_s_does(case: Case) -> None:
    if case.get("expected_error", {}).get("when") == "start":
        with pytest.raises(ConfigError):
            filtered(case["filter"], case["config"], event_of(case["event"]))
        return
    events = filtered(case["filter"], case["config"], event_of(case["event"]))
    expected = OUR_OWN_WAY.get(case["name"]) or case["expected_events"]
    assert len(events) == len(expected)
    for event, wanted in zip(events, expected, strict=True):
        assert_is(event, wanted, tuple(case.get("expected_absent", ())))
