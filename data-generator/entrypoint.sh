#!/bin/sh
# Fills the databases of COUCHDB_DBS once, then keeps changing them until the container stops. Address
# and login come from the COUCHDB_* variables; arguments take the place of the defaults.
set -eu

[ "$#" -gt 0 ] || set -- --docs 2000 --rate 2
exec cht-sync generate --remote "$@"
