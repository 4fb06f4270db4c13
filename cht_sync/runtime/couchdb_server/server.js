'use strict';

// A server of the CouchDB protocol for one machine: express-pouchdb over PouchDB and LevelDB,
// behind a login, with a feed and information on server and databases that a replicator can rely on.
//
// Configured by environment variables only:
//   COUCHDB_USER, COUCHDB_PASSWORD   the one login (required)
//   COUCHDB_DATA                     folder of the databases (required; made if missing)
//   COUCHDB_BIND_ADDRESS             default 127.0.0.1
//   COUCHDB_PORT                     default 5984; 0 takes a free one
//   COUCHDB_SESSION_TIMEOUT          seconds that a cookie counts, default 600
//
// Prints one line when it listens. SIGTERM and SIGINT end feeds, let running requests finish and exit 0.

const { setMaxListeners } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');

setMaxListeners(0); // every live feed listens until its client goes: many of them are no leak

const express = require('express');
const expressPouchDB = require('express-pouchdb');
const { setDBOnReq, sendJSON, sendError } = require('express-pouchdb/lib/utils');
const PouchDB = require('pouchdb');
const { authentication, MalformedCookie } = require('./authentication');
const { changesFeed } = require('./changes');
const { databaseInformation, welcome } = require('./information');

const LEGAL_NAME = /^(_users|_replicator|_global_changes|[a-z][a-z0-9_$()+-]*)$/;
const MALFORMED_COOKIE = 'Malformed AuthSession cookie. Please clear your cookies.';
const PATIENCE = 5000; // milliseconds that running requests get after a signal
const IDLE_CHECK = 20; // milliseconds

function settings(environment) {
  const missing = ['COUCHDB_USER', 'COUCHDB_PASSWORD', 'COUCHDB_DATA'].filter((name) => !environment[name]);
  const port = Number(environment.COUCHDB_PORT ?? 5984);
  const sessionTimeout = Number(environment.COUCHDB_SESSION_TIMEOUT ?? 600);
  const problems = missing.map((name) => `${name}: must be set`);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    problems.push('COUCHDB_PORT: must be a number from 0 to 65535');
  }
  if (!Number.isInteger(sessionTimeout) || sessionTimeout < 1) {
    problems.push('COUCHDB_SESSION_TIMEOUT: must be a number of at least 1');
  }
  return {
    problems,
    port,
    address: environment.COUCHDB_BIND_ADDRESS || '127.0.0.1',
    user: environment.COUCHDB_USER,
    password: environment.COUCHDB_PASSWORD,
    sessionTimeout,
    data: environment.COUCHDB_DATA,
  };
}

// CouchDB takes a document as JSON whatever its type says; curl -d alone says that it is a form.
function readAsJson(request, _response, next) {
  const type = request.headers['content-type'] ?? '';
  if (type === '' || type.startsWith('application/x-www-form-urlencoded')) {
    request.headers['content-type'] = 'application/json';
  }
  next();
}

// express-pouchdb would take any name, and silently drop what the file system does not allow.
function legalName(request, response, next) {
  if (LEGAL_NAME.test(request.params.db)) {
    next();
    return;
  }
  sendJSON(response, 400, {
    error: 'illegal_database_name',
    reason: `Name: '${request.params.db}'. Only lowercase characters (a-z), digits (0-9), and any of the ` +
      'characters _, $, (, ), +, and - are allowed by this server. Must begin with a letter.',
  });
}

function badRequest(response, reason) {
  sendJSON(response, 400, { error: 'bad_request', reason });
}

async function application({ data, user, password, sessionTimeout }, stopping) {
  fs.mkdirSync(data, { recursive: true, mode: 0o700 });
  const Pouch = PouchDB.defaults({ prefix: path.resolve(data) + path.sep });
  const protocol = expressPouchDB({
    mode: 'minimumForPouchDB',
    overrideMode: { exclude: ['compression', 'routes/changes', 'routes/root', 'routes/session-stub'] },
  });
  await protocol.setPouchDB(Pouch);

  const openDatabase = (request, response, next) => {
    request.PouchDB = Pouch;
    setDBOnReq(request.params.db, protocol.dbWrapper, request, response, next);
  };
  const app = express().disable('x-powered-by').enable('case sensitive routing');
  app.get('/_up', (_request, response) => sendJSON(response, 200, { status: 'ok', seeds: {} }));
  const { session, required } = authentication(user, password, sessionTimeout);
  app.use(session);
  app.use(required);
  app.use(readAsJson);
  app.get('/', welcome(data));
  app.put('/:db', legalName);
  app.get('/:db', (request, _response, next) => {
    next(LEGAL_NAME.test(request.params.db) ? undefined : 'route');
  }, openDatabase, databaseInformation);
  app.route('/:db/_changes').get(openDatabase, changesFeed(stopping))
    .post(express.json(), openDatabase, changesFeed(stopping));
  app.use(protocol);
  // The fourth parameter is what tells Express that this handles errors.
  app.use((error, _request, response, _next) => {
    if (response.headersSent) response.destroy(error);
    else if (error instanceof MalformedCookie) badRequest(response, MALFORMED_COOKIE);
    else if (error.type === 'entity.parse.failed') badRequest(response, 'invalid UTF-8 JSON');
    else sendError(response, error);
  });
  return app;
}

async function main() {
  const options = settings(process.env);
  if (options.problems.length > 0) {
    console.error(options.problems.join('\n'));
    process.exitCode = 2;
    return;
  }
  const stopping = new AbortController();
  const server = (await application(options, stopping.signal)).listen(options.port, options.address);
  server.on('listening', () => {
    const { address, port } = server.address();
    console.log(`CouchDB protocol on http://${address.includes(':') ? `[${address}]` : address}:${port}`);
  });
  server.on('error', (error) => {
    console.error(error.message);
    process.exit(1);
  });
  const stop = () => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    server.close(() => process.exit(0));
    // A connection becomes idle when its request is done, and would then be kept open for the client.
    setInterval(() => server.closeIdleConnections(), IDLE_CHECK);
    setTimeout(() => process.exit(0), PATIENCE).unref();
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

main();
