"""cht-sync: CouchDB to PostgreSQL for the Community Health Toolkit."""

from importlib.metadata import version

__version__ = version("cht-sync")
