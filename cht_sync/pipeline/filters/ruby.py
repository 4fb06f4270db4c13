"""ruby: Logstash's filter that runs Ruby code; refused here, where there is no Ruby."""

from __future__ import annotations

from cht_sync.pipeline.plugins import refuse

refuse(
    "filter",
    "ruby",
    "runs Ruby code, which this engine cannot: write a Python function and name it in the filter "
    '"python { function => "module:name" }", which --enable-python-filter allows',
)
