'use strict';

// GET / and GET /:db, with what a replicator needs to notice another server, and a database that was
// deleted and made again: `uuid` is kept beside the databases, `instance_start_time` in the database
// itself, so both survive a restart of the server.

const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { sendJSON } = require('express-pouchdb/lib/utils');
const { version } = require('./package.json');

const UUID_FILE = 'server.uuid'; // a name that no database can have
const BIRTH = '_local/instance_start_time';

function serverUuid(data) {
  const file = path.join(data, UUID_FILE);
  const known = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim() : '';
  if (known) return known;
  const uuid = randomBytes(16).toString('hex');
  const unfinished = `${file}.tmp`;
  fs.writeFileSync(unfinished, uuid, { mode: 0o600, flush: true });
  fs.renameSync(unfinished, file);
  return uuid;
}

function welcome(data) {
  const answer = { couchdb: 'Welcome', version, uuid: serverUuid(data), vendor: { name: 'cht-sync', version } };
  return (_request, response) => sendJSON(response, 200, answer);
}

// Milliseconds, where CouchDB has seconds: on one machine a database is easily made twice within one.
async function bornAt(database) {
  const readBirth = async () => {
    const { milliseconds, seconds } = await database.get(BIRTH);
    return milliseconds ?? seconds;
  };
  try {
    return await readBirth();
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  const milliseconds = Date.now();
  try {
    await database.put({ _id: BIRTH, milliseconds });
    return milliseconds;
  } catch (error) {
    if (error.status !== 409) throw error;
    return readBirth(); // another request was faster
  }
}

async function databaseInformation(request, response, next) {
  try {
    const { db_name, doc_count, update_seq } = await request.db.info();
    const instance_start_time = String(await bornAt(request.db));
    sendJSON(response, 200, { instance_start_time, db_name, update_seq, doc_count });
  } catch (error) {
    next(error);
  }
}

module.exports = { databaseInformation, welcome };
