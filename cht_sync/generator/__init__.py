"""Realistic documents of a fictional Community Health Toolkit deployment, the same for the same seed.

`plan` says exactly what will be written; `burst` writes a planned number of documents at once;
`steady` goes on writing at a given rate until it is stopped.
"""

from cht_sync.generator.couchdb import Client
from cht_sync.generator.plan import Change, GeneratorOptions, Kind, plan
from cht_sync.generator.run import Summary, burst
from cht_sync.generator.steady import steady

__all__ = ["Change", "Client", "GeneratorOptions", "Kind", "Summary", "burst", "plan", "steady"]
