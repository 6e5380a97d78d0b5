import java.lang.reflect.Method;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Makes clients of the stock library; one name server, one prefix, an instance name each. */
final class Clients {
    private static final AtomicInteger INSTANCES = new AtomicInteger();
    static final int MAX_MESSAGE_SIZE = 8 * 1024 * 1024;
    static final int HEARTBEAT_MS = 2_000;

    final String namesrv;
    final String prefix;

    Clients(String namesrv, String prefix) {
        this.namesrv = namesrv;
        this.prefix = prefix;
    }

    String topic(String name) {
        return prefix + "-" + name;
    }

    /** Two clients of one process share connection and client id unless their names differ. */
    static String instance() {
        return "i" + INSTANCES.incrementAndGet();
    }

    DefaultMQProducer producer(String group) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(prefix + "-" + group);
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName(instance());
        producer.setMaxMessageSize(MAX_MESSAGE_SIZE);
        producer.setSendMsgTimeout(10_000);
        producer.start();
        return producer;
    }

    /** What a push consumer is asked to do. */
    static final class Wish {
        String tags = "*";
        boolean broadcast;
        ConsumeFromWhere from = ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET;
        String timestamp;
    }

    /** A running push consumer and what it has received, by key. */
    static final class Push {
        final DefaultMQPushConsumer consumer;
        final Map<String, MessageExt> byKey = new ConcurrentHashMap<>();
        final AtomicInteger received = new AtomicInteger();

        Push(DefaultMQPushConsumer consumer) {
            this.consumer = consumer;
        }

        boolean has(Iterable<String> keys) {
            for (String key : keys) {
                if (!byKey.containsKey(key)) {
                    return false;
                }
            }
            return true;
        }

        void close() {
            consumer.shutdown();
        }
    }

    Push push(String group, String topic, Wish wish) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(prefix + "-" + group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName(instance());
        // Its first rebalance raises the subscription's version, and the heartbeat that would tell
        // the broker is dropped when the regular one is under way: the pull is then answered with
        // SUBSCRIPTION_NOT_LATEST until the next regular one, 30 s later by default.
        consumer.setHeartbeatBrokerInterval(HEARTBEAT_MS);
        consumer.setConsumeFromWhere(wish.from);
        if (wish.timestamp != null) {
            consumer.setConsumeTimestamp(wish.timestamp);
        }
        setModel(consumer, wish.broadcast ? "BROADCASTING" : "CLUSTERING");
        consumer.subscribe(topic, wish.tags);
        Push push = new Push(consumer);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            take(push, messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return push;
    }

    private static void take(Push push, List<MessageExt> messages) {
        for (MessageExt message : messages) {
            push.received.incrementAndGet();
            push.byKey.put(String.valueOf(message.getKeys()), message);
        }
    }

    /** MessageModel moved to another package in 5.x, so one source has to find it by reflection. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void setModel(DefaultMQPushConsumer consumer, String name) throws Exception {
        for (Method method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                Class type = method.getParameterTypes()[0];
                method.invoke(consumer, Enum.valueOf(type, name));
                return;
            }
        }
        throw new IllegalStateException("setMessageModel is gone");
    }
}
