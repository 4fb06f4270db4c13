"""Superset's configuration. Everything that differs between installations comes from the environment.

SUPERSET_SECRET_KEY signs the sessions and encrypts stored passwords; SUPERSET_METADATA_URI is the
database in which Superset keeps its own things (users, dashboards). SUPERSET_MAP_TILES is the address of
tiles for maps, where there are any; SUPERSET_BEHIND_TLS says that a proxy with TLS is in front.
"""

import os
import sys
from pathlib import Path
from urllib.parse import urljoin

sys.path.append(str(Path(__file__).resolve().parent))

import questions
from flask import Response
from flask_appbuilder.security.api import SecurityApi
from flask_appbuilder.security.views import AuthDBView
from flask_appbuilder.utils.limit import Limit
from flask_limiter.util import get_remote_address

SECRET_KEY = os.environ["SUPERSET_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = os.environ["SUPERSET_METADATA_URI"]

APP_NAME = "cht-sync"

# Nobody sees anything without signing in: the public role stays without rights.
AUTH_ROLE_PUBLIC = ""
PUBLIC_ROLE_LIKE = None

FEATURE_FLAGS = {
    "ALERT_REPORTS": False,
    "DASHBOARD_RBAC": True,
    "EMBEDDED_SUPERSET": False,
    "ENABLE_TEMPLATE_PROCESSING": False,
}

# What reaches our PostgreSQL are questions.
DB_CONNECTION_MUTATOR = questions.connection

# It would need a program of PostgreSQL's (ecpg), and marks every query as wrong without it.
SQL_VALIDATORS_BY_ENGINE: dict[str, str] = {}

# A dashboard shows what is in PostgreSQL now, not what was there a day ago.
CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}
DATA_CACHE_CONFIG = {"CACHE_TYPE": "NullCache"}

# Seconds. What ends a forgotten WHERE is statement_timeout of the connection (provision/warehouse.py):
# Superset stops queries by a signal, which threads of gunicorn do not get.
SQLLAB_TIMEOUT = 60
SUPERSET_WEBSERVER_TIMEOUT = 60
SQLLAB_CTAS_NO_LIMIT = False
ROW_LIMIT = 10_000

# Cookies travel only over TLS where the operator says that there is TLS in front.
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = os.environ.get("SUPERSET_BEHIND_TLS", "false").lower() == "true"
ENABLE_PROXY_FIX = SESSION_COOKIE_SECURE

# Maps lie on plain ground, since tiles come from another host; the operator may allow one.
MAP_TILES = os.environ.get("SUPERSET_MAP_TILES", "")
TILE_HOSTS = [urljoin(MAP_TILES, "/").rstrip("/")] if MAP_TILES else []
DECKGL_BASE_MAP = [["plain", "Plain"]] + ([[f"tile://{MAP_TILES}", "Tiles"]] if MAP_TILES else [])

# Who guesses passwords waits. Each process counts for itself, since there is no Redis here; only what was
# refused counts, so that programs may sign in as often as they like. Superset's own limit is on a page that
# shows the form, not on the one that takes it.
RATELIMIT_ENABLED = True
RATELIMIT_STORAGE_URI = "memory://"
RATELIMIT_APPLICATION = ""
AUTH_RATE_LIMITED = False
AUTH_RATE_LIMIT = "10 per minute"


def _was_refused(answer: Response) -> bool:
    """Whether a password was wrong: the API says 401, the page leads to itself again."""
    return answer.status_code == 401 or "/login/" in answer.headers.get("Location", "")


for _door in (SecurityApi, AuthDBView):
    _door.limits = [Limit(AUTH_RATE_LIMIT, get_remote_address, methods=("POST",), deduct_when=_was_refused)]

# No page of another host asks anything here.
ENABLE_CORS = False

# As Superset's own rules, without the addresses of others: a page loads nothing from elsewhere, and the
# picture by which Superset counts its installations is not asked for.
TALISMAN_ENABLED = True
TALISMAN_CONFIG = {
    "content_security_policy": {
        "base-uri": ["'self'"],
        "default-src": ["'self'"],
        "img-src": ["'self'", "blob:", "data:"],
        "worker-src": ["'self'", "blob:"],
        "connect-src": ["'self'", *TILE_HOSTS],
        "object-src": "'none'",
        "style-src": ["'self'", "'unsafe-inline'"],
        "font-src": ["'self'"],
        "script-src": ["'self'", "'strict-dynamic'"],
    },
    "content_security_policy_nonce_in": ["script-src"],
    "force_https": False,
    "session_cookie_secure": SESSION_COOKIE_SECURE,
}
