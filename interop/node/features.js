'use strict';

const { Message, Producer } = require('ali-ons');
const onsExports = require('ali-ons');
const { body, compressible, hash } = require('./bodies');
const { within, sleep } = require('./clients');

const LIMIT = 20000;
const PLACE = 'Zürich – 東京 – naïve ☃';
const FIRST = 'CONSUME_FROM_FIRST_OFFSET';
const LAST = 'CONSUME_FROM_LAST_OFFSET';
const SINCE = 'CONSUME_FROM_TIMESTAMP';

// Features this client's API does not have: the method that is looked for, and where.
const MISSING = {
  'one-way': { name: 'Producer.sendOneway', there: () => 'sendOneway' in Producer.prototype },
  batch: { name: 'Producer.sendBatch', there: () => 'sendBatch' in Producer.prototype },
  pull: { name: 'PullConsumer', there: () => 'PullConsumer' in onsExports },
};

// Runs the features: consumers start first, then every kind of send, then the consumers that
// begin at a chosen place, then the case that needs a broker killed.
class Features {
  constructor(clients, wanted, askForKill) {
    this.clients = clients;
    this.wanted = new Set(wanted);
    this.askForKill = askForKill;
    this.topic = clients.topic('main');
    this.hashes = new Map();
    this.keysOf = {};
    this.errors = {};
    this.failed = 0;
  }

  async run() {
    this.producer = await this.clients.producer('p');
    for (const feature of Object.keys(MISSING)) {
      this.missing(feature, MISSING[feature]);
    }
    if (this.wanted.size > 1 || !this.wanted.has('offsets-kill')) {
      await this.mainTopic();
    }
    await this.check('offsets-kill', () => this.offsetsKill());
    return this.failed;
  }

  async mainTopic() {
    await this.clients.createTopic(this.producer, this.topic, 2);
    await this.clients.createTopic(this.producer, this.clients.topic('shared'), 2);
    await this.send('first', body('first', 10));
    const wide = { from: LAST, broadcast: true };
    const cluster = await this.clients.push('cluster', this.topic, { from: FIRST });
    const tags = await this.clients.push('tags', this.topic, { from: FIRST, tags: 'TagA || TagB' });
    const left = await this.clients.push('broadcast', this.topic, wide);
    const right = await this.clients.push('broadcast', this.topic, wide);
    const probes = await this.probe([ cluster, left, right ]);
    await this.produce();
    const middle = await crossSecond();
    await this.attempt('late', () => this.sendEach('late', 12));
    const keys = [].concat(...Object.values(this.keysOf));
    const tagged = this.keysOf.tags.slice(0, 2);
    await within(LIMIT, () => [ cluster, left, right ].every(c => c.has(keys)) && tags.has(tagged));
    await this.arrivals(cluster, keys, 1 + probes);
    await this.check('tags', () => this.arrived(tags, tagged)
      || (tags.received !== 2 && `the filter let through ${tags.received} messages`));
    await this.check('push-broadcast', () =>
      this.arrived(left, keys) || this.arrived(right, keys));
    await this.check('two-shards', () => this.twoShards(cluster));
    for (const push of [ cluster, tags, left, right ]) await push.close();
    await this.startingPlaces(keys, middle);
    await this.check('rebalance', () => this.rebalance());
  }

  async arrivals(cluster, keys, others) {
    for (const feature of [ 'sync', 'async', 'body-100B', 'body-2KiB', 'body-4MiB', 'body-5MiB',
      'compressed', 'keys' ]) {
      await this.check(feature, () => this.arrived(cluster, this.keysOf[feature]));
    }
    await this.check('properties', () => {
      const why = this.arrived(cluster, this.keysOf.properties);
      if (why) return why;
      const got = cluster.byKey.get('properties').properties;
      return (got.place !== PLACE || got.plain !== 'value with spaces')
        && `received ${JSON.stringify(got)}`;
    });
    await this.check('push-cluster', () => this.arrived(cluster, keys)
      || (cluster.received !== keys.length + others
        && `received ${cluster.received} messages, sent ${keys.length + others}`));
  }

  async startingPlaces(keys, middle) {
    const places = [];
    for (const wish of [
      { from: FIRST },
      { from: LAST },
      { from: LAST, broadcast: true },
      { from: SINCE, broadcast: true, timestamp: middle },
    ]) {
      places.push(await this.clients.push(`from-${places.length}`, this.topic, wish));
    }
    const [ first, young, last, since ] = places;
    await this.probe([ last ]);
    const late = this.keysOf.late;
    await within(LIMIT, () => first.has(keys) && young.has(keys) && since.has(late));
    await this.check('from-first', () => this.arrived(first, keys));
    await this.check('from-last', () => none(last, keys) || this.arrived(young, keys));
    await this.check('from-timestamp', () =>
      this.arrived(since, late) || none(since, this.keysOf.sync));
    for (const push of places) await push.close();
  }

  // A broadcast consumer starts at the end: nothing counts before each of the four queues, which
  // a producer takes in turn, is seen to reach every consumer.
  async probe(consumers) {
    const end = Date.now() + LIMIT;
    let sent = 0;
    for (let heard = 0; heard < 4;) {
      if (Date.now() > end) throw new Error('a consumer never received');
      const key = `probe${Date.now()}-${sent++}`;
      await this.send(key, body(key, 16));
      const all = await within(300, () => consumers.every(c => c.byKey.has(key)));
      heard = all ? heard + 1 : 0;
    }
    return sent;
  }

  async produce() {
    await this.attempt('sync', () => this.sendEach('sync', 10));
    await this.attempt('async', async () => {
      const flying = [];
      for (let i = 0; i < 10; i++) {
        const content = body(`async-${i}`, 200);
        this.remember('async', `async-${i}`, content);
        flying.push(this.send(`async-${i}`, content));
      }
      await Promise.all(flying);
    });
    const bodies = {
      'body-100B': body('body-100B', 100),
      'body-2KiB': body('body-2KiB', 2048),
      'body-4MiB': body('body-4MiB', 4 * 1024 * 1024 - 1024),
      'body-5MiB': body('body-5MiB', 5 * 1024 * 1024),
      compressed: compressible('compressed', 100000),
    };
    for (const feature of Object.keys(bodies)) {
      await this.attempt(feature, async () => {
        this.remember(feature, feature, bodies[feature]);
        await this.send(feature, bodies[feature]);
      });
    }
    await this.attempt('tags', async () => {
      for (const tag of [ 'TagA', 'TagB', 'TagC' ]) {
        this.remember('tags', `tags-${tag}`, body(tag, 64));
        await this.send(`tags-${tag}`, body(tag, 64), { tag });
      }
    });
    await this.attempt('keys', async () => {
      this.remember('keys', 'order-1 order-2', body('keys', 64));
      await this.send([ 'order-1', 'order-2' ], body('keys', 64));
    });
    await this.attempt('properties', async () => {
      this.remember('properties', 'properties', body('properties', 64));
      await this.send('properties', body('properties', 64), {
        properties: { plain: 'value with spaces', place: PLACE },
      });
    });
  }

  async sendEach(feature, count, topic) {
    for (let i = 0; i < count; i++) {
      const key = `${feature}-${i}`;
      const content = body(key, 100);
      this.remember(feature, key, content);
      await this.send(key, content, { topic });
    }
    return this.keysOf[feature];
  }

  async send(keys, content, { tag = '', properties = {}, topic } = {}) {
    const message = new Message(topic || this.topic, tag, content);
    Object.assign(message.properties, properties);
    message.keys = [].concat(keys);
    const result = await this.producer.send(message);
    if (result.sendStatus !== 'SEND_OK') throw new Error(`status ${result.sendStatus}`);
    return result;
  }

  async twoShards(cluster) {
    const used = new Set();
    const keys = [];
    for (let i = 0; i < 8; i++) {
      const key = `shards-${i}`;
      const content = body(key, 100);
      this.remember('two-shards', key, content);
      keys.push(key);
      used.add((await this.send(key, content)).messageQueue.brokerName);
    }
    await within(LIMIT, () => cluster.has(keys));
    return this.arrived(cluster, keys)
      || (used.size !== 2 && `messages went to the brokers ${[ ...used ]}`);
  }

  async rebalance() {
    const topic = this.clients.topic('shared');
    const left = await this.clients.push('shared', topic, { from: FIRST });
    const right = await this.clients.push('shared', topic, { from: FIRST });
    // Both hold queues, together all of them: seen when one round reaches both consumers.
    let split = false;
    const end = Date.now() + LIMIT;
    for (let round = 0; !split && Date.now() < end; round++) {
      const keys = await this.sendEach(`both${round}`, 8, topic);
      const count = push => keys.filter(key => push.byKey.has(key)).length;
      if (!await within(8000, () => count(left) + count(right) >= keys.length)) {
        return `two consumers left messages of ${keys} unread`;
      }
      split = count(left) > 0 && count(right) > 0 && count(left) + count(right) === keys.length;
    }
    await right.close();
    if (!split) return 'two consumers never shared the queues';
    const keys = await this.sendEach('one', 8, topic);
    const took = await within(LIMIT, () => left.has(keys));
    await left.close();
    return !took && 'the one that stayed did not take over every queue';
  }

  // Reads a part, has the broker killed and started again, and must then get only the rest.
  async offsetsKill() {
    const topic = this.clients.topic('kept');
    await this.clients.createTopic(this.producer, topic, 2);
    const before = await this.sendEach('before', 20, topic);
    const reader = await this.clients.push('kept', topic, { from: FIRST });
    const read = await within(LIMIT, () => reader.has(before));
    // The offset moves only after the handler of the last message has returned.
    await sleep(500);
    await reader.close();
    if (!read) return 'before the kill: not everything arrived';
    await this.askForKill();
    const after = await this.sendEach('after', 10, topic);
    const again = await this.clients.push('kept', topic, { from: FIRST });
    const fresh = await this.clients.push('kept-fresh', topic, { from: FIRST });
    await within(LIMIT, () => again.has(after) && fresh.has(after) && fresh.has(before));
    return this.arrived(fresh, before) || this.arrived(again, after) || none(again, before);
  }

  remember(feature, key, content) {
    this.hashes.set(key, hash(content));
    (this.keysOf[feature] = this.keysOf[feature] || []).push(key);
  }

  // A send that fails fails its own case later, not the whole run.
  async attempt(feature, what) {
    try {
      await what();
    } catch (err) {
      this.errors[feature] = err;
    }
  }

  arrived(push, keys) {
    for (const key of keys) {
      const message = push.byKey.get(key);
      if (!message) return `no message ${key}`;
      if (hash(message.body) !== this.hashes.get(key)) {
        return `another body in ${key}, ${message.body.length} bytes`;
      }
    }
    return false;
  }

  async check(feature, what) {
    if (!this.wanted.has(feature)) return;
    let why;
    try {
      why = this.errors[feature] ? `send: ${this.errors[feature].message}` : await what();
    } catch (err) {
      why = err.stack;
    }
    if (why) this.failed++;
    console.log(why ? `CASE ${feature} fail ${String(why).replace(/\s+/g, ' ')}`
      : `CASE ${feature} pass`);
  }

  missing(feature, method) {
    if (!this.wanted.has(feature)) return;
    if (method.there()) this.failed++;
    console.log(method.there() ? `CASE ${feature} fail the client has ${method.name} now`
      : `CASE ${feature} missing ${method.name}`);
  }
}

function none(push, keys) {
  const early = keys.find(key => push.byKey.has(key));
  return early && `received ${early}, which lies before its start`;
}

// Consume timestamps have whole seconds: leaves a clear second on both sides of the answer.
async function crossSecond() {
  const second = (Math.floor(Date.now() / 1000) + 1) * 1000;
  await sleep(second - Date.now() + 100);
  const at = new Date(second - new Date().getTimezoneOffset() * 60000);
  return at.toISOString().slice(0, 19).replace(/[-:T]/g, '');
}

module.exports = { Features };
