'use strict';

// Who may ask: the one login, as Basic authentication or as a cookie that it was exchanged for at
// /_session, as CouchDB 3.4 does it. A cookie that has spent a tenth of its life is renewed by any
// answer. It is signed with a key that lives as long as the process: after a restart clients sign in anew.

const { createHash, createHmac, randomBytes, timingSafeEqual } = require('node:crypto');
const express = require('express');
const { sendJSON } = require('express-pouchdb/lib/utils');

const COOKIE = /(?:^|;)\s*AuthSession=([^;\s]*)/;
const BASIC = /^Basic +([A-Za-z0-9+/=]+) *$/i;
const RENEWED_AFTER = 0.1; // of its life
const WRONG = 'Name or password is incorrect.';
const NOBODY = 'You are not authorized to access this db.';

class MalformedCookie extends Error {}

function digest(text) {
  return createHash('sha256').update(text).digest();
}

function same(one, other) {
  return one.length === other.length && timingSafeEqual(one, other);
}

// `seconds` is how long a cookie counts.
function authentication(user, password, seconds) {
  const expected = digest(`${user}:${password}`);
  const key = randomBytes(32);

  const isLogin = (login) => timingSafeEqual(digest(login), expected);
  const sign = (signed) => createHmac('sha256', key).update(signed).digest();

  function setCookie(response, value) {
    const end = new Date(Date.now() + seconds * 1000).toUTCString();
    response.set('Set-Cookie',
      `AuthSession=${value}; Version=1; Expires=${end}; Max-Age=${seconds}; Path=/; HttpOnly`);
  }

  function newCookie(response) {
    const signed = Buffer.from(`${user}:${Date.now().toString(16).toUpperCase()}`);
    setCookie(response, Buffer.concat([signed, Buffer.from(':'), sign(signed)]).toString('base64url'));
  }

  // The age of the cookie in milliseconds; null where there is none that counts.
  function ageOf(value) {
    if (!value) return null;
    const raw = Buffer.from(value, 'base64url');
    const end = raw.indexOf(':', raw.indexOf(':') + 1);
    if (end <= 0) throw new MalformedCookie();
    const signed = raw.subarray(0, end);
    const [name, time] = signed.toString().split(':');
    const age = Date.now() - parseInt(time, 16);
    const counts = same(raw.subarray(end + 1), sign(signed)) && name === user && age < seconds * 1000;
    return counts ? age : null;
  }

  // By what the request is allowed, in CouchDB's words; null where it is not.
  function handler(request, response) {
    const age = ageOf(COOKIE.exec(request.headers.cookie ?? '')?.[1]);
    if (age !== null) {
      if (age > seconds * 1000 * RENEWED_AFTER) newCookie(response);
      return 'cookie';
    }
    const credentials = BASIC.exec(request.headers.authorization ?? '')?.[1];
    return credentials && isLogin(Buffer.from(credentials, 'base64').toString()) ? 'default' : null;
  }

  function refuse(request, response) {
    response.set('WWW-Authenticate', 'Basic realm="administrator"');
    const reason = BASIC.test(request.headers.authorization ?? '') ? WRONG : NOBODY;
    sendJSON(response, 401, { error: 'unauthorized', reason });
  }

  function required(request, response, next) {
    if (handler(request, response) !== null) next();
    else refuse(request, response);
  }

  function signIn(request, response) {
    const { name, username = name, password: given = '' } = request.body ?? {};
    if (username === undefined) {
      sendJSON(response, 400, { error: 'bad_request', reason: 'request body must contain a username' });
    } else if (isLogin(`${username}:${given}`)) {
      newCookie(response);
      sendJSON(response, 200, { ok: true, name: user, roles: ['_admin'] });
    } else {
      setCookie(response, '');
      sendJSON(response, 401, { error: 'unauthorized', reason: WRONG });
    }
  }

  function whoAmI(request, response) {
    const authenticated = handler(request, response);
    if (authenticated === null && request.headers.authorization !== undefined) {
      refuse(request, response);
      return;
    }
    const userCtx = authenticated ? { name: user, roles: ['_admin'] } : { name: null, roles: [] };
    const info = { authentication_handlers: ['cookie', 'default'] };
    sendJSON(response, 200, { ok: true, userCtx, info: authenticated ? { ...info, authenticated } : info });
  }

  function signOut(_request, response) {
    setCookie(response, '');
    sendJSON(response, 200, { ok: true });
  }

  const session = express.Router();
  const body = [express.json(), express.urlencoded({ extended: false })];
  session.route('/_session').get(whoAmI).post(body, signIn).delete(signOut);
  return { session, required };
}

module.exports = { authentication, MalformedCookie };
