"""Who may do what: the first administrator, and the role of analysts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import metadata
from superset.extensions import db, security_manager
from superset.models.core import Database
from superset.utils.core import override_user
from werkzeug.security import check_password_hash, generate_password_hash

ADMINISTRATOR = "admin"
ANALYST = "Analyst"
BUILT_UPON = ("Gamma", "sql_lab")
"""Superset's own roles: charts and dashboards, and SQL Lab, without any data."""
EXPLORING = ("can_samples", "can_get_column_values")
"""What Explore asks of data that somebody may see, and Gamma lacks: rows, and values to choose from."""


def administrator() -> str:
    """Make the user `admin`; return what was done, empty for nothing.

    A password that the person changed in Superset stays, until SUPERSET_PASSWORD itself changes.
    """
    password, email = os.environ["SUPERSET_PASSWORD"], os.environ["SUPERSET_ADMIN_EMAIL"]
    before = metadata.remembered("password of admin")
    user = security_manager.find_user(username=ADMINISTRATOR)
    done = ""
    if user is None:
        user = security_manager.add_user(
            ADMINISTRATOR, "cht-sync", "administrator", email, security_manager.find_role("Admin"), password
        )
        if not user:
            raise SystemExit(f"The user admin could not be made; is {email} somebody else's address there?")
        done = f"made the user {ADMINISTRATOR}"
    elif before is None or not check_password_hash(before[0], password):
        security_manager.reset_password(user.id, password)
        done = f"changed the password of {ADMINISTRATOR} to SUPERSET_PASSWORD"
    if done:
        metadata.remember("password of admin", generate_password_hash(password), "")
        db.session.commit()
    return done


@contextmanager
def as_administrator() -> Iterator[None]:
    """Let what follows be done in the administrator's name, who owns it then."""
    with override_user(security_manager.find_user(username=ADMINISTRATOR)):
        yield


def analysts(database: Database, schema: str) -> None:
    """Give the role Analyst dashboards, charts and SQL Lab on one schema, and no more on an earlier one."""
    role = security_manager.add_role(ANALYST)
    wanted = [one for name in BUILT_UPON for one in security_manager.find_role(name).permissions]
    wanted += [security_manager.add_permission_view_menu(one, "Datasource") for one in EXPLORING]
    catalog = database.get_default_catalog()
    view = security_manager.get_schema_perm(database.database_name, catalog, schema)
    wanted.append(security_manager.add_permission_view_menu("schema_access", view))
    ours = security_manager.get_schema_perm(database.database_name, catalog, "")[: -len("[]")]
    others = [
        one
        for one in role.permissions
        if one.permission.name != "schema_access" or not one.view_menu.name.startswith(ours)
    ]
    role.permissions = list({one.id: one for one in [*others, *wanted]}.values())
    db.session.commit()
