"""Secrets that protect nothing: defaults of products, examples of documentation, what is short or monotonous.

`settings` asks for every environment but local. What is told never holds the secret.
"""

from __future__ import annotations

import re

SHORTEST = 12
"""Characters; of 64 different ones that is more than can be tried, also by somebody who has the hash."""
FEWEST_DIFFERENT = 5

KNOWN = frozenset(
    {
        # Defaults and habits.
        "admin", "administrator", "changeit", "changeme", "changethis", "chtsync", "couchdb", "couchbase",
        "data", "database", "dbt", "default", "demo", "example", "guest", "letmein", "logstash", "medic",
        "medicmobile", "none", "null", "pass", "passw0rd", "password", "postgres", "postgresql", "postgrest",
        "qwerty", "root", "secret", "superset", "test", "todo", "user", "welcome",
        # Placeholders, among them our own.
        "alongrandomtext", "mypassword", "mysecret", "mysecretpassword", "replaceme", "replacethis",
        "supersecret", "yourpassword", "yoursecret", "yourcouchdbpassword",
        # Superset's own keys and those of its images and charts (CVE-2023-27524).
        "x02x01thisismyscretkeyx01x02eyyh", "thisismyscretkeyeyyh", "changemesecretkey",
        "changemetoacomplexrandomsecret", "thisisasecret", "yourownrandomgeneratedsecretkey",
        "yourownrandomgeneratedstrongkey", "useyourownsecurerandomkey", "testnondevsecret",
        # Examples of PostgREST's and of JWT's documentation.
        "reallyreallyreallyreallyverysafe", "your256bitsecret", "asecretkeythatisatleast32byteslong",
    }
)  # fmt: skip
"""In small letters, without what is neither a letter nor a digit, and without digits at the end."""

COUNTED = "1234567890" * 2


def well_known(secret: str, *names: str) -> str | None:
    """What is wrong with a secret that many have, or that is one of the `names` beside it; None: nothing."""
    plain = _plain(secret)
    known = plain in KNOWN or (plain and plain in {_plain(name) for name in names})
    if known or secret in COUNTED or not secret.strip("<>{}[]()$*.-_ "):
        return "is a default or an example, which others know"
    return None


def weak(secret: str, *names: str) -> str | None:
    """What is wrong with a secret that is ours to choose; None: nothing."""
    if problem := well_known(secret, *names):
        return problem
    if len(secret) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if len(set(secret)) < FEWEST_DIFFERENT:
        return "repeats a few characters"
    return None


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold()).rstrip("0123456789")
