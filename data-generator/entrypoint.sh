#!/bin/sh
# Fill the databases of COUCHDB_DBS once, then keep changing them until the container stops.
# Address and login come from the COUCHDB_* variables; arguments take the place of the defaults.
set -eu

if [ "$#" -eq 0 ]; then
    set -- --docs "${GENERATOR_DOCS:-2000}" --rate "${GENERATOR_RATE:-2}" --seed "${GENERATOR_SEED:-1}"
fi
exec cht-sync generate "$@"
