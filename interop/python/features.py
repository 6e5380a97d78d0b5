"""The features of the table, in one run: consumers start first, then every kind of send, then
the consumers that begin at a chosen place, then the case that needs a broker killed."""

import threading
import time

from rocketmq.client import PushConsumer, SendStatus

from bodies import body, compressible, digest
from clients import message, within

LIMIT = 20
PLACE = 'Zürich – 東京 – naïve ☃'
MISSING = {
    'from-first': (PushConsumer, 'set_consume_from_where'),
    'from-timestamp': (PushConsumer, 'set_consume_timestamp'),
}


class Features:
    def __init__(self, clients, wanted, ask_for_kill):
        self.clients = clients
        self.wanted = wanted
        self.ask_for_kill = ask_for_kill
        self.topic = clients.topic('main')
        self.hashes = {}
        self.keys_of = {}
        self.errors = {}
        self.failed = 0

    def run(self):
        self.producer = self.clients.producer('p')
        self.raw = self.clients.producer('raw', raw=True)
        for feature, (kind, method) in MISSING.items():
            self.missing(feature, kind, method)
        if self.wanted != ['offsets-kill']:
            self.main_topic()
        self.check('offsets-kill', self.offsets_kill)
        return self.failed

    # ---------------------------------------------------------- one topic, many consumers

    def main_topic(self):
        self.send('first', body('first', 10))
        cluster = self.clients.push('cluster', self.topic)
        tags = self.clients.push('tags', self.topic, tags='TagA || TagB')
        left = self.clients.push('broadcast', self.topic, broadcast=True)
        right = self.clients.push('broadcast', self.topic, broadcast=True)
        probes = self.probe([cluster, left, right])
        self.produce()
        keys = [key for of in self.keys_of.values() for key in of]
        tagged = self.keys_of['tags'][:2]
        within(LIMIT, lambda: tags.has(tagged)
               and all(c.has(keys) for c in (cluster, left, right)))
        self.arrivals(cluster, keys, 1 + probes)
        self.check('tags', lambda: self.arrived(tags.by_key, tagged) or (
            tags.received != 2 and 'the filter let through %d messages' % tags.received))
        self.check('push-broadcast', lambda: self.arrived(left.by_key, keys)
                   or self.arrived(right.by_key, keys))
        self.check('two-shards', lambda: self.two_shards(cluster))
        self.check('batch', self.batch)
        self.check('pull', lambda: self.pull(keys))
        self.check('from-last', lambda: self.from_last(keys))
        for push in (cluster, tags, left, right):
            push.close()
        self.check('rebalance', self.rebalance)

    def arrivals(self, cluster, keys, others):
        for feature in ('sync', 'async', 'one-way', 'body-100B', 'body-2KiB', 'body-4MiB',
                        'body-5MiB', 'compressed', 'keys'):
            self.check(feature, lambda: self.arrived(cluster.by_key, self.keys_of[feature]))

        def properties():
            why = self.arrived(cluster.by_key, ['properties'])
            got = cluster.by_key.get('properties', {})
            return why or (got['place'] != PLACE.encode() or got['plain'] != b'value with spaces'
                           ) and 'received %r' % got

        self.check('properties', properties)
        self.check('push-cluster', lambda: self.arrived(cluster.by_key, keys) or (
            cluster.received != len(keys) + others and 'received %d messages, sent %d'
            % (cluster.received, len(keys) + others)))

    def probe(self, consumers):
        """A broadcast consumer starts at the end: nothing counts before each of the four queues,
        which a producer takes in turn, is seen to reach every consumer."""
        sent = heard = 0
        end = time.time() + LIMIT
        while heard < 4:
            if time.time() > end:
                raise RuntimeError('a consumer never received')
            key = 'probe%d' % time.time_ns()
            self.send(key, body(key, 16))
            sent += 1
            heard = heard + 1 if within(0.3, lambda: all(c.has([key]) for c in consumers)) else 0
        return sent

    def produce(self):
        self.attempt('sync', lambda: self.send_each('sync', 10))
        self.attempt('async', self.send_async)
        self.attempt('one-way', self.send_one_way)
        sizes = {'body-100B': 100, 'body-2KiB': 2048, 'body-4MiB': 4 * 1024 * 1024 - 1024,
                 'body-5MiB': 5 * 1024 * 1024}
        for feature, size in sizes.items():
            content = body(feature, size)
            self.remember(feature, feature, content)
            self.attempt(feature, lambda: self.send(feature, content, producer=self.raw))
        content = compressible('compressed', 100000)
        self.remember('compressed', 'compressed', content)
        self.attempt('compressed', lambda: self.send('compressed', content))
        for tag in ('TagA', 'TagB', 'TagC'):
            self.remember('tags', 'tags-' + tag, body(tag, 64))
            self.attempt('tags', lambda: self.send('tags-' + tag, body(tag, 64), tag=tag))
        self.remember('keys', 'order-1 order-2', body('keys', 64))
        self.attempt('keys', lambda: self.send('order-1 order-2', body('keys', 64)))
        self.remember('properties', 'properties', body('properties', 64))
        self.attempt('properties', lambda: self.send(
            'properties', body('properties', 64),
            properties={'plain': 'value with spaces', 'place': PLACE}))

    def send_async(self):
        done, errors = threading.Semaphore(0), []
        for i in range(10):
            key = 'async-%d' % i
            content = body(key, 200)
            self.remember('async', key, content)
            self.producer.send_async(message(self.topic, key, content),
                                     lambda result: done.release(), errors.append)
        for i in range(10):
            if not done.acquire(timeout=10):
                raise RuntimeError('%d of 10 callbacks came %r' % (i, errors))

    def send_one_way(self):
        for i in range(5):
            key = 'one-way-%d' % i
            content = body(key, 200)
            self.remember('one-way', key, content)
            self.producer.send_oneway(message(self.topic, key, content))

    def send_each(self, feature, count, topic=None):
        for i in range(count):
            key = '%s-%d' % (feature, i)
            content = body(key, 100)
            self.remember(feature, key, content)
            self.send(key, content, topic=topic)
        return self.keys_of[feature]

    def send(self, key, content, tag=None, properties=None, topic=None, producer=None):
        result = (producer or self.producer).send_sync(
            message(topic or self.topic, key, content, tag, properties))
        if result.status != SendStatus.OK:
            raise RuntimeError('status %r' % (result,))

    # -------------------------------------------------------------------------- the cases

    def batch(self):
        """This client says `batch=1`, which RocketMQ does not take for true: the broker stores
        the batch as ONE message, and so must we."""
        topic = self.clients.topic('batch')
        self.send('before', b'x', topic=topic)
        self.producer.send_batch(
            [message(topic, 'batch-%d' % i, body('batch', 50 + i)) for i in range(20)])
        self.send('after', b'x', topic=topic)
        push = self.clients.push('batch', topic)
        within(LIMIT, lambda: push.has(['before', 'after']) and push.received >= 3)
        time.sleep(0.2)
        push.close()
        return push.received != 3 and 'received %d messages' % push.received

    def two_shards(self, cluster):
        names = self.clients.brokers(self.topic)
        if len(names) != 2:
            return 'the route names the brokers %r' % names
        keys = self.send_each('shards', 8)
        within(LIMIT, lambda: cluster.has(keys))
        return self.arrived(cluster.by_key, keys)

    def pull(self, keys):
        consumer = self.clients.puller('pull')
        by_key = {}
        end = time.time() + LIMIT
        while not all(key in by_key for key in keys) and time.time() < end:
            for got in consumer.pull(self.topic):
                by_key[(got.keys or b'').decode()] = {'body': got.body}
        consumer.shutdown()
        return self.arrived(by_key, keys)

    def from_last(self, keys):
        """The client's default. Broadcast starts at the end; in cluster mode a new group on a
        young topic starts at 0, because the broker answers so."""
        last = self.clients.push('from-last', self.topic, broadcast=True)
        young = self.clients.push('from-young', self.topic)
        self.probe([last])
        within(LIMIT, lambda: young.has(keys))
        last.close()
        young.close()
        return none(last, keys) or self.arrived(young.by_key, keys)

    def rebalance(self):
        topic = self.clients.topic('shared')
        self.send('first', b'x', topic=topic)
        left = self.clients.push('shared', topic)
        right = self.clients.push('shared', topic)
        # Both hold queues, together all of them: seen when one round reaches both consumers.
        split, end, turn = False, time.time() + 2 * LIMIT, 0
        while not split and time.time() < end:
            turn += 1
            keys = self.send_each('both%d' % turn, 8, topic)

            def counts():
                return [sum(key in push.by_key for key in keys) for push in (left, right)]

            if not within(LIMIT, lambda: sum(counts()) >= len(keys)):
                return 'two consumers left messages of %r unread' % keys
            split = all(counts()) and sum(counts()) == len(keys)
        right.close()
        if not split:
            return 'two consumers never shared the queues'
        keys = self.send_each('one', 8, topic)
        took = within(2 * LIMIT, lambda: left.has(keys))
        left.close()
        return not took and 'the one that stayed did not take over every queue'

    def offsets_kill(self):
        """Reads a part, has the broker killed and started, and must then get only the rest."""
        topic = self.clients.topic('kept')
        before = self.send_each('before', 20, topic)
        reader = self.clients.push('kept', topic)
        read = within(LIMIT, lambda: reader.has(before))
        # The offset moves only after the callback of the last message has returned.
        time.sleep(0.5)
        reader.close()
        if not read:
            return 'before the kill: not everything arrived'
        self.ask_for_kill()
        after = self.send_each('after', 10, topic)
        again = self.clients.push('kept', topic)
        fresh = self.clients.push('kept-fresh', topic)
        within(LIMIT, lambda: again.has(after) and fresh.has(after) and fresh.has(before))
        again.close()
        fresh.close()
        return (self.arrived(fresh.by_key, before) or self.arrived(again.by_key, after)
                or none(again, before))

    # ------------------------------------------------------------------------ small parts

    def remember(self, feature, key, content):
        self.hashes[key] = digest(content)
        self.keys_of.setdefault(feature, []).append(key)

    def attempt(self, feature, what):
        """A send that fails fails its own case later, not the whole run."""
        try:
            what()
        except Exception as error:
            self.errors[feature] = 'send: %r' % error

    def arrived(self, by_key, keys):
        for key in keys:
            got = by_key.get(key)
            if got is None:
                return 'no message %s' % key
            if digest(got['body']) != self.hashes[key]:
                return 'another body in %s, %d bytes' % (key, len(got['body']))
        return None

    def check(self, feature, what):
        if feature not in self.wanted:
            return
        try:
            why = self.errors.get(feature) or what()
        except Exception as error:
            why = repr(error)
        self.failed += bool(why)
        print('CASE %s fail %s' % (feature, ' '.join(str(why).split())) if why
              else 'CASE %s pass' % feature, flush=True)

    def missing(self, feature, kind, method):
        if feature not in self.wanted:
            return
        there = hasattr(kind, method)
        self.failed += there
        name = '%s.%s' % (kind.__name__, method)
        print('CASE %s fail the client has %s now' % (feature, name) if there
              else 'CASE %s missing %s' % (feature, name), flush=True)


def none(push, keys):
    early = [key for key in keys if key in push.by_key]
    return early and 'received %s, which lies before its start' % early[0]
