'use strict';

// What a Mango selector lets through. PouchDB's own implementation decides, after a check that refuses, in
// CouchDB's words, what it would take for the name of a field or fail at later.

const { matchesSelector } = require('pouchdb-selector-core');

class BadSelector extends Error {}

const anything = () => true;
const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

function isPattern(value) {
  try {
    return typeof value === 'string' && new RegExp(value) !== null;
  } catch {
    return false;
  }
}

// What each operator takes.
const OPERATORS = {
  $and: Array.isArray, $or: Array.isArray, $nor: Array.isArray, $not: isObject,
  $eq: anything, $ne: anything, $gt: anything, $gte: anything, $lt: anything, $lte: anything,
  $exists: (value) => typeof value === 'boolean', $type: (value) => typeof value === 'string',
  $in: Array.isArray, $nin: Array.isArray, $all: Array.isArray, $elemMatch: isObject, $allMatch: isObject,
  $size: Number.isInteger,
  $mod: (value) => Array.isArray(value) && value.length === 2 && value.every(Number.isInteger),
  $regex: isPattern,
};

function check(selector) {
  for (const [name, value] of Object.entries(selector)) {
    if (name.startsWith('$')) {
      if (!Object.hasOwn(OPERATORS, name)) throw new BadSelector(`Invalid operator: ${name}`);
      if (!OPERATORS[name](value)) {
        throw new BadSelector(`Bad argument for operator ${name}: ${JSON.stringify(value)}`);
      }
    }
    [value].flat().filter(isObject).forEach(check);
  }
}

// Return the function that says whether a document matches. Throws BadSelector.
function matcher(selector) {
  if (!isObject(selector)) throw new BadSelector('Selector error: expected a JSON object');
  check(selector);
  // Beside $and the library forgets all other members.
  const { $and, ...others } = selector;
  const whole = $and ? { $and: [others, ...$and] } : selector;
  return (document) => matchesSelector(document, whole);
}

module.exports = { matcher, BadSelector };
