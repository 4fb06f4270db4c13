"""What the whole chain does on this machine, as ratios that were measured side by side in one run.

    python -m bench.suite [--only NAME]... [--documents N] [--many N] [--rounds N] [--output FOLDER]

`python -m bench.suite --help` lists the measurements; bench/README.md says how to read them. Nothing passes
or fails.
"""
