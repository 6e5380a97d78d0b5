'use strict';

const { Producer, Consumer } = require('ali-ons');

const quiet = { info() {}, warn() {}, error() {}, debug() {} };
let instances = 0;

// Makes clients of the stock library: one name server, one prefix, an instance name each.
class Clients {
  constructor(namesrv, prefix) {
    this.namesrv = namesrv;
    this.prefix = prefix;
  }

  topic(name) {
    return `${this.prefix}-${name}`;
  }

  // Two clients of one process share connection and client id unless their names differ. This
  // client ignores the broker's "consumers changed" and rebalances by its timer only.
  options(extra) {
    return Object.assign({
      nameSrv: this.namesrv,
      httpclient: {},
      logger: quiet,
      rebalanceInterval: 1000,
      instanceName: `${process.pid}-${++instances}`,
    }, extra);
  }

  async producer(group) {
    const producer = new Producer(this.options({
      producerGroup: this.topic(group),
      sendMsgTimeout: 10000,
      maxMessageSize: 8 * 1024 * 1024,
    }));
    producer.on('error', () => {});
    await producer.ready();
    return producer;
  }

  // The client never creates a topic by sending to it, so it is made on every broker of the
  // cluster with the client's own call.
  async createTopic(producer, topic, queues) {
    const client = producer._mqClient;
    const route = await client.getDefaultTopicRouteInfoFromNameServer('TBW102', 3000);
    for (const broker of route.brokerDatas) {
      await client.createTopic(broker.brokerAddrs[0], 'TBW102', {
        topicName: topic,
        readQueueNums: queues,
        writeQueueNums: queues,
        perm: 6,
        topicFilterType: 'SINGLE_TAG',
        topicSysFlag: 0,
        order: false,
      }, 3000);
    }
  }

  async push(group, topic, wish) {
    const consumer = new Consumer(this.options({
      consumerGroup: this.topic(group),
      consumeFromWhere: wish.from,
      consumeTimestamp: wish.timestamp,
      isBroadcast: !!wish.broadcast,
    }));
    // Harmless 'error' events come while the retry topic does not exist.
    consumer.on('error', () => {});
    const push = { consumer, byKey: new Map(), received: 0, close: () => consumer.close() };
    push.has = keys => keys.every(key => push.byKey.has(key));
    consumer.subscribe(topic, wish.tags || '*', async message => {
      push.received++;
      push.byKey.set(message.keys, message);
    });
    await consumer.ready();
    return push;
  }
}

// Waits until `done` says yes; false when the time is up first.
async function within(limitMs, done) {
  const end = Date.now() + limitMs;
  while (!done()) {
    if (Date.now() > end) return false;
    await sleep(5);
  }
  return true;
}

function sleep(ms) {
  return new Promise(resolve => setTimeout(resolve, ms));
}

module.exports = { Clients, within, sleep };
