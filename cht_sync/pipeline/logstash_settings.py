"""Names of Logstash's settings that this engine does not have.

Source: Logstash's logstash/environment.rb and logstash/config/source/multi_local.rb, version 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ABSENT_LISTED = frozenset(
    (
        "config.debug",
        "dead_letter_queue.enable",
        "dead_letter_queue.flush_check_interval",
        "dead_letter_queue.flush_interval",
        "dead_letter_queue.retain.age",
        "dead_letter_queue.storage_policy",
        "metric.collect",
        "path.queue",
        "pipeline.batch.metrics.sampling_mode",
        "pipeline.batch.output_chunking.growth_threshold_factor",
        "pipeline.plugin_classloaders",
        "pipeline.recoverable",
        "pipeline.system",
        "queue.checkpoint.acks",
        "queue.checkpoint.interval",
        "queue.checkpoint.retry",
        "queue.checkpoint.writes",
        "queue.compression",
        "queue.drain",
        "queue.max_bytes",
        "queue.max_events",
        "queue.page_capacity",
        "queue.type",
    )
)
"""Allowed in pipelines.yml as well as in logstash.yml."""

ABSENT = ABSENT_LISTED | frozenset(
    (
        "allow_superuser",
        "api.auth.basic.password",
        "api.auth.basic.password_policy.include.digit",
        "api.auth.basic.password_policy.include.lower",
        "api.auth.basic.password_policy.include.symbol",
        "api.auth.basic.password_policy.include.upper",
        "api.auth.basic.password_policy.length.minimum",
        "api.auth.basic.password_policy.mode",
        "api.auth.basic.username",
        "api.environment",
        "api.ssl.keystore.password",
        "api.ssl.keystore.path",
        "api.ssl.supported_protocols",
        "enable-local-plugin-development",
        "interactive",
        "keystore.classname",
        "keystore.file",
        "log.format.json.fix_duplicate_message_fields",
        "monitoring.cluster_uuid",
        "otel.exporter.otlp.endpoint",
        "otel.exporter.otlp.protocol",
        "otel.metric.export.interval",
        "otel.metrics.enabled",
        "path.logs",
        "path.plugins",
        "pipeline.buffer.type",
        "pipeline.separate_logs",
        "pipeline.unsafe_shutdown",
        "slowlog.threshold.debug",
        "slowlog.threshold.info",
        "slowlog.threshold.trace",
        "slowlog.threshold.warn",
        "ssl.reload.automatic",
    )
)
"""All that have no effect here."""

ABSENT_FAMILIES = ("cloud.", "modules", "var.", "xpack.")
"""Beginnings of the names of settings that Elastic's extensions have."""

REFUSED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "api.auth.type": (
        ("none",),
        "the monitoring API has no login; leave it on loopback, behind a proxy that has one",
    ),
    "api.ssl.enabled": (
        (False, "false"),
        "the monitoring API has no https; leave it on loopback, behind a proxy that has",
    ),
    "config.field_reference.escape_style": (
        ("none",),
        "names of fields cannot be escaped here; remove the setting",
    ),
}
"""Settings that stop the start unless they have one of the values, with what to do."""
