"""Makes clients of the stock library: one name server, one prefix, an instance name each."""

import ctypes
import itertools
import os
import threading
import time

from rocketmq.client import Message, MessageModel, Producer, PullConsumer, PushConsumer
from rocketmq.ffi import _CMessageQueue, dll

MAX_MESSAGE_SIZE = 8 * 1024 * 1024
INSTANCES = itertools.count(1)


def instance():
    """Two clients of one process share connection and client id unless their names differ."""
    return 'i%d-%d' % (os.getpid(), next(INSTANCES))


class Push:
    """A running push consumer and copies of what it has received, by key."""

    def __init__(self, consumer):
        self.consumer = consumer
        self.lock = threading.Lock()
        self.by_key = {}
        self.received = 0

    def take(self, message):
        # Copied at once: the client frees the message after the callback.
        copy = {
            'body': message.body,
            'place': message.get_property('place'),
            'plain': message.get_property('plain'),
        }
        with self.lock:
            self.received += 1
            self.by_key[(message.keys or b'').decode()] = copy

    def has(self, keys):
        return all(key in self.by_key for key in keys)

    def close(self):
        self.consumer.shutdown()


class BrokerAwarePull(PullConsumer):
    """The client remembers offsets by topic and queue id and forgets the broker's name, so on
    two brokers it would skip the second one's queues; only that key is corrected."""

    def _get_mq_key(self, mq):
        return '%s@%s@%s' % (mq.topic, mq.brokerName, mq.queueId)


class Clients:
    def __init__(self, namesrv, prefix):
        self.namesrv = namesrv
        self.prefix = prefix

    def topic(self, name):
        return '%s-%s' % (self.prefix, name)

    def producer(self, group, raw=False):
        producer = Producer(self.topic(group), timeout=10000, max_message_size=MAX_MESSAGE_SIZE)
        producer.set_namesrv_addr(self.namesrv)
        dll.SetProducerInstanceName(producer._handle, instance().encode())
        if raw:
            # Declared by the library, not by the Python wrapper: no compression below this size.
            dll.SetProducerCompressMsgBodyOverHowmuch(
                ctypes.c_void_p(producer._handle), MAX_MESSAGE_SIZE)
        producer.start()
        return producer

    def push(self, group, topic, tags='*', broadcast=False):
        model = MessageModel.BROADCASTING if broadcast else MessageModel.CLUSTERING
        consumer = PushConsumer(self.topic(group), message_model=model)
        consumer.set_namesrv_addr(self.namesrv)
        consumer.set_instance_name(instance())
        push = Push(consumer)
        consumer.subscribe(topic, push.take, tags)
        consumer.start()
        return push

    def puller(self, group):
        consumer = BrokerAwarePull(self.topic(group))
        consumer.set_namesrv_addr(self.namesrv)
        consumer.start()
        return consumer

    def brokers(self, topic):
        """Names of the brokers in the topic's route, as this client sees them."""
        consumer = self.puller('route')
        queues = ctypes.POINTER(_CMessageQueue)()
        count = ctypes.c_int()
        dll.FetchSubscriptionMessageQueues(
            consumer._handle, topic.encode(), ctypes.pointer(queues), ctypes.pointer(count))
        names = {queues[i].brokerName for i in range(count.value)}
        dll.ReleaseSubscriptionMessageQueue(queues)
        consumer.shutdown()
        return names


def message(topic, key, body, tag=None, properties=None):
    made = Message(topic)
    made.set_keys(key)
    if tag is not None:
        made.set_tags(tag)
    for name, value in (properties or {}).items():
        made.set_property(name, value)
    made.set_body(body)
    return made


def within(limit_s, done):
    """Waits until `done` says yes; false when the time is up first."""
    end = time.time() + limit_s
    while not done():
        if time.time() > end:
            return False
        time.sleep(0.005)
    return True
