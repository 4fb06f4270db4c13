'use strict';

// GET and POST /:db/_changes in CouchDB's wire format: feeds normal, longpoll and continuous, and the
// filter _selector.
//
// This takes the place of express-pouchdb's route, which holds a whole normal feed in memory, keeps
// a continuous feed running after its client has gone, and never waits for a slow client. Here every
// feed is a loop over short pages that waits for the socket, so memory stays flat.
//
// `seq` is PouchDB's integer. `pending` counts the sequence numbers that are still to come, of which
// some may belong to superseded revisions or not match: it is an upper bound, and exact when it is 0.

const { once } = require('node:events');
const { sendJSON } = require('express-pouchdb/lib/utils');
const { matcher, BadSelector } = require('./selector');

const PAGE = 200; // rows
const PARAMETERS = [
  'feed', 'since', 'limit', 'include_docs', 'heartbeat', 'timeout', 'style', 'conflicts', 'filter',
];
const DEFAULT_PERIOD = 60000; // milliseconds, CouchDB's own, for heartbeat=true and for timeout

class BadQuery extends Error {}

function wholeNumber(value, name, least) {
  const number = /^\d+$/.test(value) ? Number(value) : NaN;
  if (!(number >= least)) throw new BadQuery(`The ${name} value should be an integer of at least ${least}.`);
  return number;
}

// What the rows of a feed must match; null for all.
function wanted({ filter }, body) {
  if (filter === undefined) return null;
  if (filter !== '_selector') throw new BadQuery(`This server does not support the filter ${filter}`);
  if (body?.selector === undefined) throw new BadQuery('Selector must be specified in POST payload');
  return matcher(body.selector);
}

function parse(query, body) {
  const unknown = Object.keys(query).filter((name) => !PARAMETERS.includes(name));
  if (unknown.length > 0) throw new BadQuery(`This server does not support: ${unknown.join(', ')}`);
  const { feed = 'normal', since = '0', heartbeat, timeout } = query;
  if (!['normal', 'longpoll', 'continuous'].includes(feed)) {
    throw new BadQuery('Supported `feed` types: normal, continuous, longpoll');
  }
  if (since !== 'now' && !/^\d+$/.test(since)) {
    throw new BadQuery("Malformed sequence supplied in 'since' parameter.");
  }
  let beat = null;
  if (heartbeat === 'true') beat = DEFAULT_PERIOD;
  else if (heartbeat !== undefined && heartbeat !== 'false') beat = wholeNumber(heartbeat, 'heartbeat', 1);
  const matches = wanted(query, body);
  const includeDocuments = query.include_docs === 'true';
  return {
    feed,
    since,
    matches,
    includeDocuments,
    limit: query.limit === undefined ? Infinity : wholeNumber(query.limit, 'limit', 0),
    heartbeat: beat,
    timeout: timeout === undefined ? DEFAULT_PERIOD : wholeNumber(timeout, 'timeout', 0),
    reading: {
      include_docs: includeDocuments || matches !== null,
      conflicts: query.conflicts === 'true',
      style: query.style === 'all_docs' ? 'all_docs' : 'main_only',
    },
  };
}

function change(database, since, signal) {
  return new Promise((resolve) => {
    const live = database.changes({ live: true, since });
    const done = () => {
      signal.removeEventListener('abort', done);
      live.cancel();
      resolve();
    };
    live.once('change', done).once('complete', done).once('error', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}

class Feed {
  constructor(database, options, response, signal) {
    this.database = database;
    this.options = options;
    this.response = response;
    this.signal = signal;
    this.left = options.limit;
  }

  async start() {
    const { update_seq } = await this.database.info();
    this.since = this.options.since === 'now' ? update_seq : Number(this.options.since);
    // The sequence of a database that was deleted and created again: CouchDB reads from the start then.
    if (this.since > update_seq) this.since = 0;
  }

  get goesOn() {
    return this.left > 0 && !this.signal.aborted;
  }

  // All rows that there are now, as pages of JSON texts.
  async *pages() {
    const { matches, includeDocuments } = this.options;
    while (this.goesOn) {
      const limit = matches ? PAGE : Math.min(PAGE, this.left);
      const page = await this.database.changes({ ...this.options.reading, since: this.since, limit });
      // A feed that was ended meanwhile writes no more rows, and must not say that it has come past them.
      if (page.results.length === 0 || this.signal.aborted) return;
      const matching = matches ? page.results.filter(({ doc }) => matches(doc)) : page.results;
      const rows = matching.slice(0, this.left);
      this.since = rows.length < matching.length ? rows.at(-1).seq : page.last_seq;
      this.left -= rows.length;
      if (rows.length > 0) {
        yield rows.map(({ seq, id, changes, deleted, doc }) =>
          JSON.stringify({ seq, id, changes, deleted, doc: includeDocuments ? doc : undefined }));
      }
      if (page.results.length < limit) return;
    }
  }

  async write(text) {
    if (this.signal.aborted || this.response.write(text)) return;
    await once(this.response, 'drain', { signal: this.signal });
  }

  // Write the rows of a JSON array; true if there was at least one.
  async writeElements() {
    let separator = '';
    for await (const rows of this.pages()) {
      await this.write(separator + rows.join(',\r\n'));
      separator = ',\r\n';
    }
    return separator !== '';
  }

  // The place to go on from, and how much there is behind it.
  async place() {
    let pending = 0;
    // A feed that was ended from outside had caught up, and its database may be gone.
    if (!this.signal.aborted) pending = Math.max(0, (await this.database.info()).update_seq - this.since);
    return `"last_seq":${this.since},"pending":${pending}}\n`;
  }

  // Also where time has run out before the first row: what ends must have begun.
  begin() {
    this.response.write('{"results":[\n');
  }

  async normal() {
    this.begin();
    await this.writeElements();
    this.response.end(`\n],\n${await this.place()}`);
  }

  async longpoll() {
    this.begin();
    while (this.goesOn && !(await this.writeElements())) {
      await change(this.database, this.since, this.signal);
    }
    this.response.end(`\n],\n${await this.place()}`);
  }

  async continuous() {
    // At once, so that the client of an idle feed sees that it is connected.
    await this.write('\n');
    while (this.goesOn) {
      for await (const rows of this.pages()) await this.write(`${rows.join('\n')}\n`);
      if (this.goesOn) await change(this.database, this.since, this.signal);
    }
    this.response.end(`{${await this.place()}`);
  }
}

// End a live feed when the client goes, the server stops, the database is deleted or time runs out;
// return what keeps it alive until then.
function lifetime({ feed, heartbeat, timeout }, database, response, stopping) {
  const ended = new AbortController();
  const end = () => ended.abort();
  let timer;
  if (feed !== 'normal') {
    timer = heartbeat === null
      ? setTimeout(end, timeout)
      : setInterval(() => response.writableLength === 0 && response.write('\n'), heartbeat);
    stopping.addEventListener('abort', end, { once: true });
    database.once('destroyed', end);
  }
  response.once('close', end);
  const release = () => {
    clearTimeout(timer);
    stopping.removeEventListener('abort', end);
    database.removeListener('destroyed', end);
  };
  return { signal: ended.signal, release };
}

function changesFeed(stopping) {
  return async (request, response, next) => {
    let options;
    try {
      options = parse(request.query, request.body);
    } catch (error) {
      if (!(error instanceof BadQuery || error instanceof BadSelector)) next(error);
      else sendJSON(response, 400, { error: 'bad_request', reason: error.message });
      return;
    }
    response.set({ 'Content-Type': 'application/json', 'Cache-Control': 'must-revalidate' });
    const { signal, release } = lifetime(options, request.db, response, stopping);
    try {
      const feed = new Feed(request.db, options, response, signal);
      await feed.start();
      await feed[options.feed]();
    } catch (error) {
      if (!signal.aborted) next(error);
      else response.end();
    } finally {
      release();
    }
  };
}

module.exports = { changesFeed };
