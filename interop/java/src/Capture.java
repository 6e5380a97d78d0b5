import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

/** A short session with small bodies that touches every request code, for the golden captures. */
final class Capture {
    private Capture() {
    }

    static void run(Clients clients) throws Exception {
        String topic = clients.topic("c");
        DefaultMQProducer producer = clients.producer("p");
        Message message = new Message(topic, "TagA", "key-1", "sync body".getBytes());
        message.putUserProperty("place", "Zürich 東京");
        SendResult sent = producer.send(message);
        CountDownLatch done = new CountDownLatch(1);
        producer.send(new Message(topic, "TagB", "key-2", "async body".getBytes()),
            new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    done.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    e.printStackTrace();
                }
            });
        done.await(5, TimeUnit.SECONDS);
        producer.sendOneway(new Message(topic, "", "key-3", "one-way body".getBytes()));
        List<Message> batch = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            batch.add(new Message(topic, "TagA", "batch-" + i, ("batch body " + i).getBytes()));
        }
        producer.send(batch);
        producer.send(new Message(topic, "", "key-4", Bodies.compressible("key-4", 6000)));
        admin(producer, topic, sent);
        consume(clients, topic);
        producer.shutdown();
    }

    private static void admin(DefaultMQProducer producer, String topic, SendResult sent)
        throws Exception {
        MessageQueue queue = sent.getMessageQueue();
        producer.maxOffset(queue);
        producer.minOffset(queue);
        producer.earliestMsgStoreTime(queue);
        producer.searchOffset(queue, System.currentTimeMillis() - 60_000);
        producer.viewMessage(topic, sent.getOffsetMsgId());
    }

    private static void consume(Clients clients, String topic) throws Exception {
        Clients.Wish wish = new Clients.Wish();
        wish.tags = "TagA || TagB";
        Clients.Push all = clients.push("g", topic, new Clients.Wish());
        Clients.Push tagged = clients.push("t", topic, wish);
        Features.within(10_000, () -> all.received.get() >= 7 && tagged.received.get() >= 5);
        Clients.Push second = clients.push("g", topic, new Clients.Wish());
        Thread.sleep(1_500);
        second.close();
        Thread.sleep(500);
        all.close();
        tagged.close();
        DefaultLitePullConsumer lite = new DefaultLitePullConsumer(clients.prefix + "-l");
        lite.setNamesrvAddr(clients.namesrv);
        lite.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        lite.subscribe(topic, "*");
        lite.start();
        long end = System.currentTimeMillis() + 8_000;
        int count = 0;
        while (count < 7 && System.currentTimeMillis() < end) {
            count += lite.poll(500).size();
        }
        lite.commitSync();
        Thread.sleep(200);
        lite.shutdown();
        System.out.println("CAPTURE push " + all.received + " tagged " + tagged.received
            + " lite " + count);
    }
}
