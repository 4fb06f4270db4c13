"""Every state that a row ever had, in the order in which it got them."""

from __future__ import annotations

from itertools import pairwise

from reconcile.world import World


def keep_history(world: World) -> None:
    """Write down each version of each row from now on."""
    world.installation.query("""
        create table if not exists public.history (
          place bigint generated always as identity, id text, rev text, stamp timestamp);
        truncate public.history;
        grant all on public.history to public;
        create or replace function public.keep_history() returns trigger language plpgsql
          security definer as $body$
        begin
          insert into public.history (id, rev, stamp) values (new._id, new._rev, new.saved_timestamp);
          return null;
        end $body$
    """)
    world.query("""
        create trigger keep_history after insert or update on {} for each row
          execute function public.keep_history()
    """)


def steps_back(world: World) -> list[tuple[str, str, str]]:
    """Rows that were given an older revision after a newer one: id, newer, older.

    For documents that nobody deletes and makes anew; their revisions can be told by their numbers.
    """
    versions: dict[str, list[str]] = {}
    for one, rev in world.installation.query("select id, rev from public.history order by place"):
        versions.setdefault(one, []).append(rev)
    return [
        (one, before, after)
        for one, revisions in versions.items()
        for before, after in pairwise(revisions)
        if int(after.partition("-")[0]) < int(before.partition("-")[0])
    ]


def stamps_in_visible_order(world: World) -> bool:
    """Whether each version's stamp is at least that of the one written before it."""
    stamps = [
        stamp for (stamp,) in world.installation.query("select stamp from public.history order by place")
    ]
    return stamps == sorted(stamps)
