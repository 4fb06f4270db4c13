"""The engine alone: generator, the filters of the rendered configuration, null output; documents a second.

    python bench/engine.py ../shared/data/cht_docs.ndjson.gz [--documents N] [--rounds N]

Runs the same pipeline with and without the filters, in turn in one process, so that their ratio holds
whatever else the machine does. Rates are documents for each second of the process's processor time; the best
of the rounds counts. The generator decodes its lines, which `couchdb_changes` does not: what is measured is
an upper bound for the time of the filters, and a lower one for the rate. Nothing passes or fails.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path

from cht_sync import render
from cht_sync.environments import Environment
from cht_sync.pipeline.run import run_pipelines
from cht_sync.pipeline.sources import PipelineSource, load_all
from cht_sync.settings import load

LINES = 500
"""Different documents; they are given again and again."""


def configuration(lines: list[str], times: int, filters: str) -> str:
    quoted = ",\n".join("'" + line.replace("'", " ") + "'" for line in lines)
    return f"""
        input {{
          generator {{
            lines => [{quoted}]
            count => {times}
            codec => json
            add_field => {{ "[@metadata][action]" => "update" }}
          }}
        }}
        {filters}
        output {{ null {{ }} }}
    """


def rendered_filters() -> str:
    """The filter section of the configuration that `render-config` writes."""
    settings = load(Environment.LOCAL, environ={"COUCHDB_DBS": "medic"}, read_file=False)
    text = next(text for name, text in render.render(settings, engine="native").items() if "medic" in name)
    return text[text.index("filter {") : text.index("output {")]


def rate(text: str, documents: int, folder: Path) -> float:
    pipelines = load_all([PipelineSource("bench", text)], os.environ, folder)
    before = time.process_time()
    run_pipelines(pipelines, threading.Event())
    return documents / (time.process_time() - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with gzip.open(options.data, "rt") as file:
        documents = [json.loads(line) for line in islice(file, LINES)]
    lines = [json.dumps({"doc": one, "doc_as_upsert": True}) for one in documents]
    times = max(1, options.documents // len(lines))
    best = {"without filters": 0.0, "with filters": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for _round in range(options.rounds):
            for name, filters in (("without filters", ""), ("with filters", rendered_filters())):
                text = configuration(lines, times, filters)
                best[name] = max(best[name], rate(text, times * len(lines), Path(folder)))
    for name, found in best.items():
        print(f"{name:<16} {found:>9,.0f} documents a second of processor time")
    print(f"ratio            {best['with filters'] / best['without filters']:>9.2f}")


if __name__ == "__main__":
    main()
