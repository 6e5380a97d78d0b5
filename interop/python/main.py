"""Entry: --namesrv ADDR --prefix P --feature all|NAME,…|capture."""

import argparse
import os
import sys
import time

from bodies import compressible
from clients import Clients, message, within
from features import Features

ALL = ['sync', 'async', 'one-way', 'batch', 'body-100B', 'body-2KiB', 'body-4MiB', 'body-5MiB',
       'compressed', 'tags', 'keys', 'properties', 'push-cluster', 'push-broadcast', 'rebalance',
       'pull', 'from-first', 'from-last', 'from-timestamp', 'offsets-kill', 'two-shards']


def ask_for_kill():
    """The harness kills the broker, starts it again and answers with one line."""
    print('WAIT kill', flush=True)
    if not sys.stdin.readline():
        raise RuntimeError('nobody answered WAIT kill')


def capture(clients):
    """A short session with small bodies that touches every request code, for the captures."""
    topic = clients.topic('c')
    producer = clients.producer('p')
    place = {'place': 'Zürich 東京'}
    producer.send_sync(message(topic, 'key-1', b'sync body', 'TagA', place))
    producer.send_async(message(topic, 'key-2', b'async body', 'TagB'), None, None)
    producer.send_oneway(message(topic, 'key-3', b'one-way body'))
    producer.send_sync(message(topic, 'key-4', compressible('key-4', 6000)))
    producer.send_batch([message(topic, 'batch-%d' % i, b'batch body') for i in range(2)])
    time.sleep(0.5)
    every = clients.push('g', topic)
    tagged = clients.push('t', topic, tags='TagA || TagB')
    wide = clients.push('b', topic, broadcast=True)
    within(10, lambda: every.received >= 5 and tagged.received >= 2)
    second = clients.push('g', topic)
    time.sleep(2)
    second.close()
    for push in (every, tagged, wide):
        push.close()
    puller = clients.puller('l')
    pulled = sum(1 for _ in puller.pull(topic))
    puller.shutdown()
    producer.shutdown()
    print('CAPTURE push %d tagged %d pulled %d' % (every.received, tagged.received, pulled))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--namesrv', required=True)
    parser.add_argument('--prefix', required=True)
    parser.add_argument('--feature', default='all')
    args = parser.parse_args()
    clients = Clients(args.namesrv, args.prefix)
    if args.feature == 'capture':
        capture(clients)
        return 0
    wanted = ALL if args.feature == 'all' else args.feature.split(',')
    return 1 if Features(clients, wanted, ask_for_kill).run() else 0


if __name__ == '__main__':
    try:
        code = main()
    except BaseException as error:
        print('main: %r' % error, file=sys.stderr, flush=True)
        code = 2
    sys.stdout.flush()
    # The library's threads and destructors are not worth waiting for.
    os._exit(code)
