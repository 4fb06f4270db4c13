'use strict';

// GET /:db, with what a replicator needs to notice a database that was deleted and made again:
// `instance_start_time` is kept in the database itself, so it survives a restart of the server and
// is another one after the database was recreated.

const { sendJSON } = require('express-pouchdb/lib/utils');

const BIRTH = '_local/instance_start_time';

async function bornAt(database) {
  const readBirth = async () => (await database.get(BIRTH)).seconds;
  try {
    return await readBirth();
  } catch (error) {
    if (error.status !== 404) throw error;
  }
  const seconds = Math.floor(Date.now() / 1000);
  try {
    await database.put({ _id: BIRTH, seconds });
    return seconds;
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

module.exports = { databaseInformation };
