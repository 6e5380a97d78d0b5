import java.text.SimpleDateFormat;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/**
 * The features of the table, in one run: consumers start first, then every kind of send, then the
 * consumers that begin at a chosen place, then the case that needs a broker killed.
 */
final class Features {
    private static final long WAIT_MS = 20_000;
    private static final String PLACE = "Zürich – 東京 – naïve ☃";

    private final Clients clients;
    private final Report report;
    private final String topic;
    private final Map<String, String> hashes = new HashMap<>();
    private final Map<String, List<String>> keysOf = new HashMap<>();
    private final Map<String, String> sendErrors = new HashMap<>();
    private DefaultMQProducer producer;

    Features(Clients clients, Report report) {
        this.clients = clients;
        this.report = report;
        this.topic = clients.topic("main");
    }

    void run(Set<String> wanted) throws Exception {
        producer = clients.producer("p");
        boolean rest = !wanted.equals(Set.of("offsets-kill"));
        if (rest) {
            mainTopic(wanted);
        }
        if (wanted.contains("offsets-kill")) {
            report.check("offsets-kill", this::offsetsKill);
        }
        producer.shutdown();
    }

    // ------------------------------------------------------------------ one topic, many consumers

    private void mainTopic(Set<String> wanted) throws Exception {
        send(new Message(topic, "", "first", Bodies.of("first", 10)));
        Clients.Wish any = new Clients.Wish();
        Clients.Wish tagged = new Clients.Wish();
        tagged.tags = "TagA || TagB";
        Clients.Wish broadcast = new Clients.Wish();
        broadcast.broadcast = true;
        broadcast.from = ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET;

        Clients.Push cluster = clients.push("cluster", topic, any);
        Clients.Push tags = clients.push("tags", topic, tagged);
        Clients.Push left = clients.push("broadcast", topic, broadcast);
        Clients.Push right = clients.push("broadcast", topic, broadcast);
        List<String> probes = probe(Arrays.asList(cluster, left, right));

        produce();
        String middle = crossSecond();
        List<String> late = sendEach("late", 12);
        List<String> all = new ArrayList<>();
        keysOf.values().forEach(all::addAll);

        await(() -> cluster.has(all) && left.has(all) && right.has(all)
            && tags.has(keysOf.get("tags").subList(0, 2)));
        for (String feature : Arrays.asList("sync", "async", "one-way", "batch", "body-100B",
            "body-2KiB", "body-4MiB", "body-5MiB", "compressed")) {
            check(wanted, feature, () -> arrived(cluster.byKey, keysOf.get(feature)));
        }
        check(wanted, "tags", () -> tags(tags));
        check(wanted, "keys", () -> arrived(cluster.byKey, keysOf.get("keys")));
        check(wanted, "properties", () -> properties(cluster));
        check(wanted, "push-cluster", () -> exactly(cluster, all, 1 + probes.size()));
        check(wanted, "push-broadcast", () -> both(
            arrived(left.byKey, all), arrived(right.byKey, all)));
        check(wanted, "two-shards", () -> twoShards(cluster));
        cluster.close();
        tags.close();
        left.close();
        right.close();
        startingPlaces(wanted, all, late, middle);
        check(wanted, "rebalance", this::rebalance);
    }

    private void startingPlaces(Set<String> wanted, List<String> all, List<String> late,
        String middle) throws Exception {
        Clients.Wish first = new Clients.Wish();
        Clients.Wish young = new Clients.Wish();
        young.from = ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET;
        Clients.Wish last = new Clients.Wish();
        last.from = ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET;
        last.broadcast = true;
        Clients.Wish since = new Clients.Wish();
        since.from = ConsumeFromWhere.CONSUME_FROM_TIMESTAMP;
        since.timestamp = middle;
        since.broadcast = true;
        Clients.Push fromFirst = clients.push("from-first", topic, first);
        Clients.Push fromYoung = clients.push("from-young", topic, young);
        Clients.Push fromLast = clients.push("from-last", topic, last);
        Clients.Push fromTime = clients.push("from-time", topic, since);
        check(wanted, "pull", () -> pull(all));
        probe(Arrays.asList(fromLast));
        await(() -> fromFirst.has(all) && fromYoung.has(all) && fromTime.has(late));
        check(wanted, "from-first", () -> arrived(fromFirst.byKey, all));
        check(wanted, "from-last", () -> both(none(fromLast, all),
            arrived(fromYoung.byKey, all)));
        check(wanted, "from-timestamp", () -> both(arrived(fromTime.byKey, late),
            none(fromTime, keysOf.get("sync"))));
        fromFirst.close();
        fromYoung.close();
        fromLast.close();
        fromTime.close();
    }

    /** A broadcast consumer starts at the end: nothing counts before it is seen to receive. */
    private List<String> probe(List<Clients.Push> consumers) throws Exception {
        List<String> probes = new ArrayList<>();
        long end = System.currentTimeMillis() + WAIT_MS;
        String name = "probe" + System.nanoTime() + "-";
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            boolean heard = false;
            while (!heard && System.currentTimeMillis() < end) {
                String key = name + probes.size();
                probes.add(key);
                producer.send(new Message(topic, "", key, Bodies.of(key, 16)), queue);
                heard = within(300, () -> consumers.stream().allMatch(c -> c.has(List.of(key))));
            }
            if (!heard) {
                List<Integer> counts = new ArrayList<>();
                consumers.forEach(c -> counts.add(c.received.get()));
                throw new IllegalStateException("a consumer never received from " + queue
                    + "; sent " + probes.size() + ", received " + counts);
            }
        }
        return probes;
    }

    private void produce() throws Exception {
        sendEach("sync", 10);
        attempt("async", this::sendAsync);
        attempt("one-way", this::sendOneWay);
        attempt("batch", this::sendBatch);
        attempt("body-100B", () -> sendBody("body-100B", Bodies.of("body-100B", 100)));
        attempt("body-2KiB", () -> sendBody("body-2KiB", Bodies.of("body-2KiB", 2048)));
        attempt("body-4MiB", () ->
            sendBody("body-4MiB", Bodies.of("body-4MiB", 4 * 1024 * 1024 - 1024)));
        attempt("body-5MiB", () ->
            sendBody("body-5MiB", Bodies.of("body-5MiB", 5 * 1024 * 1024)));
        attempt("compressed", () ->
            sendBody("compressed", Bodies.compressible("compressed", 100_000)));
        attempt("tags", this::sendTagged);
        attempt("keys", () -> {
            Message message = new Message(topic, Bodies.of("keys", 64));
            message.setKeys(Arrays.asList("order-1", "order-2"));
            remember("keys", "order-1 order-2", message);
            send(message);
        });
        attempt("properties", () -> {
            Message message = new Message(topic, "", "properties", Bodies.of("properties", 64));
            message.putUserProperty("plain", "value with spaces");
            message.putUserProperty("place", PLACE);
            remember("properties", "properties", message);
            send(message);
        });
    }

    private void sendAsync() throws Exception {
        CountDownLatch done = new CountDownLatch(10);
        for (int i = 0; i < 10; i++) {
            String key = "async-" + i;
            Message message = new Message(topic, "", key, Bodies.of(key, 200));
            remember("async", key, message);
            producer.send(message, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() == SendStatus.SEND_OK) {
                        done.countDown();
                    }
                }

                @Override
                public void onException(Throwable e) {
                    sendErrors.put("async", e.toString());
                }
            });
        }
        if (!done.await(10, TimeUnit.SECONDS)) {
            throw new IllegalStateException(done.getCount() + " of 10 callbacks are missing "
                + sendErrors.get("async"));
        }
    }

    private void sendOneWay() throws Exception {
        for (int i = 0; i < 5; i++) {
            String key = "one-way-" + i;
            Message message = new Message(topic, "", key, Bodies.of(key, 200));
            remember("one-way", key, message);
            producer.sendOneway(message);
        }
    }

    private void sendBatch() throws Exception {
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            String key = "batch-" + i;
            Message message = new Message(topic, "", key, Bodies.of(key, 50 + i));
            remember("batch", key, message);
            batch.add(message);
        }
        SendResult result = producer.send(batch);
        require(result.getSendStatus() == SendStatus.SEND_OK, "status " + result.getSendStatus());
        require(result.getMsgId().split(",").length == 20, "ids " + result.getMsgId());
    }

    private void sendBody(String feature, byte[] body) throws Exception {
        Message message = new Message(topic, "", feature, body);
        remember(feature, feature, message);
        send(message);
    }

    private void sendTagged() throws Exception {
        for (String tag : Arrays.asList("TagA", "TagB", "TagC")) {
            Message message = new Message(topic, tag, "tags-" + tag, Bodies.of(tag, 64));
            remember("tags", "tags-" + tag, message);
            send(message);
        }
    }

    private List<String> sendEach(String feature, int count) throws Exception {
        for (int i = 0; i < count; i++) {
            String key = feature + "-" + i;
            Message message = new Message(topic, "", key, Bodies.of(key, 100));
            remember(feature, key, message);
            send(message);
        }
        return keysOf.get(feature);
    }

    /** Consume timestamps have whole seconds: leaves a clear second on both sides of the answer. */
    private static String crossSecond() throws Exception {
        long now = System.currentTimeMillis();
        long second = (now / 1000 + 1) * 1000;
        Thread.sleep(second - now + 100);
        return new SimpleDateFormat("yyyyMMddHHmmss").format(new Date(second));
    }

    // -------------------------------------------------------------------------------- the checks

    private String tags(Clients.Push tags) {
        String why = arrived(tags.byKey, keysOf.get("tags").subList(0, 2));
        if (why == null && tags.byKey.size() != 2) {
            why = "the filter let through " + new TreeSet<>(tags.byKey.keySet());
        }
        return why;
    }

    private String properties(Clients.Push cluster) {
        String why = arrived(cluster.byKey, keysOf.get("properties"));
        if (why != null) {
            return why;
        }
        MessageExt message = cluster.byKey.get("properties");
        return PLACE.equals(message.getUserProperty("place"))
            && "value with spaces".equals(message.getUserProperty("plain"))
            ? null : "received " + message.getProperties();
    }

    private String twoShards(Clients.Push cluster) throws Exception {
        Set<String> routed = new TreeSet<>();
        List<String> keys = new ArrayList<>();
        for (MessageQueue queue : producer.fetchPublishMessageQueues(topic)) {
            routed.add(queue.getBrokerName());
            String key = "shards-" + queue.getBrokerName() + "-" + queue.getQueueId();
            Message message = new Message(topic, "", key, Bodies.of(key, 100));
            remember("two-shards", key, message);
            require(producer.send(message, queue).getSendStatus() == SendStatus.SEND_OK, key);
            keys.add(key);
        }
        if (routed.size() != 2) {
            return "the route names the brokers " + routed;
        }
        await(() -> cluster.has(keys));
        String why = arrived(cluster.byKey, keys);
        Set<String> received = new HashSet<>();
        keys.stream().filter(cluster.byKey::containsKey)
            .forEach(k -> received.add(cluster.byKey.get(k).getBrokerName()));
        return why == null && !received.equals(routed) ? "received only from " + received : why;
    }

    private String pull(List<String> all) throws Exception {
        DefaultLitePullConsumer consumer =
            new DefaultLitePullConsumer(clients.prefix + "-pull");
        consumer.setNamesrvAddr(clients.namesrv);
        consumer.setInstanceName(Clients.instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(topic, "*");
        consumer.start();
        Map<String, MessageExt> byKey = new HashMap<>();
        long end = System.currentTimeMillis() + WAIT_MS;
        while (!byKey.keySet().containsAll(all) && System.currentTimeMillis() < end) {
            for (MessageExt message : consumer.poll(500)) {
                byKey.put(String.valueOf(message.getKeys()), message);
            }
        }
        consumer.shutdown();
        return arrived(byKey, all);
    }

    private String rebalance() throws Exception {
        String shared = clients.topic("shared");
        producer.send(new Message(shared, "", "first", new byte[1]));
        Clients.Push left = clients.push("shared", shared, new Clients.Wish());
        Clients.Push right = clients.push("shared", shared, new Clients.Wish());
        List<MessageQueue> queues = producer.fetchPublishMessageQueues(shared);
        // Both hold queues, together all of them: seen when one round reaches both consumers.
        long end = System.currentTimeMillis() + WAIT_MS;
        boolean split = false;
        for (int round = 0; !split && System.currentTimeMillis() < end; round++) {
            List<String> keys = toEach(shared, queues, "both-" + round);
            if (!within(5_000, () -> covered(keys, left, right))) {
                return "two consumers left messages of " + keys + " unread";
            }
            long mine = keys.stream().filter(left.byKey::containsKey).count();
            long yours = keys.stream().filter(right.byKey::containsKey).count();
            split = mine > 0 && yours > 0 && mine + yours == keys.size();
        }
        if (!split) {
            return "two consumers never shared the queues";
        }
        right.close();
        List<String> keys = toEach(shared, queues, "one");
        boolean took = within(WAIT_MS, () -> left.has(keys));
        left.close();
        return took ? null : "the one that stayed did not take over every queue";
    }

    private static boolean covered(List<String> keys, Clients.Push left, Clients.Push right) {
        return keys.stream().allMatch(
            k -> left.byKey.containsKey(k) || right.byKey.containsKey(k));
    }

    private List<String> toEach(String topic, List<MessageQueue> queues, String name)
        throws Exception {
        List<String> keys = new ArrayList<>();
        for (MessageQueue queue : queues) {
            String key = name + "-" + queue.getBrokerName() + "-" + queue.getQueueId();
            producer.send(new Message(topic, "", key, Bodies.of(key, 32)), queue);
            keys.add(key);
        }
        return keys;
    }

    /** Reads half, has the broker killed and started again, and must then get the other half. */
    private String offsetsKill() throws Exception {
        String topic = clients.topic("kept");
        List<String> before = sendTo(topic, "before", 20);
        Clients.Push reader = clients.push("kept", topic, new Clients.Wish());
        boolean read = within(WAIT_MS, () -> reader.has(before));
        // The offset moves only after the listener of the last message has returned.
        Thread.sleep(500);
        reader.close();
        if (!read) {
            return "before the kill: not everything arrived";
        }
        Main.askForKill();
        List<String> after = sendTo(topic, "after", 10);
        Clients.Push again = clients.push("kept", topic, new Clients.Wish());
        Clients.Push fresh = clients.push("kept-fresh", topic, new Clients.Wish());
        await(() -> again.has(after) && fresh.has(after) && fresh.has(before));
        again.close();
        fresh.close();
        String why = both(arrived(fresh.byKey, before), arrived(again.byKey, after));
        return both(why, none(again, before));
    }

    private List<String> sendTo(String topic, String name, int count) throws Exception {
        List<String> keys = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String key = name + "-" + i;
            byte[] body = Bodies.of(key, 100);
            hashes.put(key, Bodies.hash(body));
            SendResult result = producer.send(new Message(topic, "", key, body));
            require(result.getSendStatus() == SendStatus.SEND_OK, result.toString());
            keys.add(key);
        }
        return keys;
    }

    // ------------------------------------------------------------------------------- small parts

    private interface Attempt {
        void run() throws Exception;
    }

    /** A send that throws fails its own case later, not the whole run. */
    private void attempt(String feature, Attempt body) {
        try {
            body.run();
        } catch (Exception e) {
            sendErrors.put(feature, e.toString());
        }
    }

    private void check(Set<String> wanted, String feature,
        java.util.concurrent.Callable<String> body) {
        if (!wanted.contains(feature)) {
            return;
        }
        if (sendErrors.containsKey(feature)) {
            report.fail(feature, "send: " + sendErrors.get(feature));
        } else {
            report.check(feature, body);
        }
    }

    private void remember(String feature, String key, Message message) {
        hashes.put(key, Bodies.hash(message.getBody()));
        keysOf.computeIfAbsent(feature, f -> new ArrayList<>()).add(key);
    }

    private void send(Message message) throws Exception {
        SendResult result = producer.send(message);
        require(result.getSendStatus() == SendStatus.SEND_OK, result.toString());
    }

    private static void require(boolean holds, String why) {
        if (!holds) {
            throw new IllegalStateException(why);
        }
    }

    private String arrived(Map<String, MessageExt> byKey, List<String> keys) {
        for (String key : keys) {
            MessageExt message = byKey.get(key);
            if (message == null) {
                return "no message " + key;
            }
            if (!hashes.get(key).equals(Bodies.hash(message.getBody()))) {
                return "another body in " + key + ", " + message.getBody().length + " bytes";
            }
        }
        return null;
    }

    private String exactly(Clients.Push push, List<String> keys, int others) {
        String why = arrived(push.byKey, keys);
        int wanted = keys.size() + others;
        return why == null && push.received.get() != wanted
            ? "received " + push.received.get() + " messages, sent " + wanted : why;
    }

    private static String none(Clients.Push push, List<String> keys) {
        for (String key : keys) {
            if (push.byKey.containsKey(key)) {
                return "received " + key + ", which lies before its start";
            }
        }
        return null;
    }

    private static String both(String first, String second) {
        return first != null ? first : second;
    }

    private static void await(BooleanSupplier done) throws Exception {
        within(WAIT_MS, done);
    }

    static boolean within(long limitMs, BooleanSupplier done) throws Exception {
        long end = System.currentTimeMillis() + limitMs;
        while (!done.getAsBoolean()) {
            if (System.currentTimeMillis() > end) {
                return false;
            }
            Thread.sleep(10);
        }
        return true;
    }
}
