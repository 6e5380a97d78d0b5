'use strict';

const readline = require('readline');
const { Clients, within, sleep } = require('./clients');
const { Features } = require('./features');
const { Message } = require('ali-ons');
const { compressible } = require('./bodies');

const ALL = [ 'sync', 'async', 'one-way', 'batch', 'body-100B', 'body-2KiB', 'body-4MiB',
  'body-5MiB', 'compressed', 'tags', 'keys', 'properties', 'push-cluster', 'push-broadcast',
  'rebalance', 'pull', 'from-first', 'from-last', 'from-timestamp', 'offsets-kill',
  'two-shards' ];

// --namesrv ADDR --prefix P --feature all|NAME,…|capture
function options(args) {
  const found = { feature: 'all' };
  for (let i = 0; i + 1 < args.length; i += 2) found[args[i].slice(2)] = args[i + 1];
  return found;
}

// The harness kills the broker, starts it again and answers with one line.
function askForKill() {
  console.log('WAIT kill');
  return new Promise(resolve => {
    readline.createInterface({ input: process.stdin }).once('line', resolve);
  });
}

// A short session with small bodies that touches every request code, for the golden captures.
async function capture(clients) {
  const topic = clients.topic('c');
  const producer = await clients.producer('p');
  await clients.createTopic(producer, topic, 2);
  const first = new Message(topic, 'TagA', 'sync body');
  first.keys = [ 'key-1', 'key-2' ];
  first.properties.place = 'Zürich 東京';
  await producer.send(first);
  await producer.send(new Message(topic, 'TagB', 'second body'));
  await producer.send(new Message(topic, '', compressible('key-3', 6000)));
  const minuteAgo = new Date(Date.now() - 60000).toISOString().slice(0, 19).replace(/[-:T]/g, '');
  const started = [];
  for (const wish of [
    { from: 'CONSUME_FROM_FIRST_OFFSET' },
    { from: 'CONSUME_FROM_FIRST_OFFSET', tags: 'TagA || TagB' },
    { from: 'CONSUME_FROM_LAST_OFFSET', broadcast: true },
    { from: 'CONSUME_FROM_TIMESTAMP', broadcast: true, timestamp: minuteAgo },
  ]) {
    started.push(await clients.push(`g${started.length}`, topic, wish));
  }
  await within(10000, () => started[0].received >= 3 && started[1].received >= 2
    && started[3].received >= 3);
  const second = await clients.push('g0', topic, { from: 'CONSUME_FROM_FIRST_OFFSET' });
  await sleep(1500);
  await second.close();
  for (const push of started) await push.close();
  await producer.close();
  console.log(`CAPTURE push ${started[0].received} tagged ${started[1].received}`);
}

async function main() {
  const { namesrv, prefix, feature } = options(process.argv.slice(2));
  const clients = new Clients(namesrv, prefix);
  if (feature === 'capture') {
    await capture(clients);
    return 0;
  }
  const wanted = feature === 'all' ? ALL : feature.split(',');
  return await new Features(clients, wanted, askForKill).run() ? 1 : 0;
}

// The client never lets the process end by itself, not even after close().
main().then(code => process.exit(code), err => {
  console.error(err);
  process.exit(2);
});
