import java.io.BufferedWriter;
import java.io.FileWriter;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** The kill test's two halves: load that writes down every SEND_OK, and the check against it. */
final class Load {
    private static final int THREADS = 8;
    private static final int BODY_BYTES = 1024;
    private static final AtomicLong FAILED = new AtomicLong();

    private Load() {
    }

    /** Sends from several threads until a line comes in; a key is written only after SEND_OK. */
    static void produce(Clients clients, String journal) throws Exception {
        DefaultMQProducer producer = clients.producer("load");
        producer.setSendMsgTimeout(2_000);
        producer.setRetryTimesWhenSendFailed(0);
        AtomicBoolean stop = new AtomicBoolean();
        List<Thread> threads = new ArrayList<>();
        try (BufferedWriter out = new BufferedWriter(new FileWriter(journal))) {
            for (int t = 0; t < THREADS; t++) {
                String name = "k" + t + "-";
                Thread thread = new Thread(
                    () -> sendUntil(stop, producer, clients.topic("load"), name, out));
                thread.start();
                threads.add(thread);
            }
            System.out.println("LOAD started");
            while (!Main.asked()) {
                Thread.sleep(20);
            }
            stop.set(true);
            for (Thread thread : threads) {
                thread.join(15_000);
            }
        }
        System.out.println("LOAD stopped, " + FAILED + " sends failed");
        producer.shutdown();
    }

    private static void sendUntil(AtomicBoolean stop, DefaultMQProducer producer, String topic,
        String name, BufferedWriter out) {
        for (long i = 0; !stop.get(); i++) {
            String key = name + i;
            try {
                SendResult result =
                    producer.send(new Message(topic, "", key, Bodies.of(key, BODY_BYTES)));
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    synchronized (out) {
                        out.write(key + "\n");
                    }
                }
            } catch (Exception e) {
                FAILED.incrementAndGet();
                pause();
            }
        }
    }

    private static void pause() {
        try {
            Thread.sleep(5);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** A client asks the name server every 30 s where its brokers are. */
    private static final long QUIET_MS = 40_000;

    /** Reads the whole topic and looks up every key of the journal, body included. */
    static int verify(Clients clients, String journal) throws Exception {
        Map<String, Boolean> found = new HashMap<>();
        for (String key : Files.readAllLines(Paths.get(journal))) {
            found.put(key, false);
        }
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(clients.prefix + "-verify");
        consumer.setNamesrvAddr(clients.namesrv);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPullBatchSize(32);
        consumer.subscribe(clients.topic("load"), "*");
        consumer.start();
        long read = 0;
        long damaged = 0;
        long missing = found.size();
        long end = System.currentTimeMillis() + 60_000;
        long quiet = System.currentTimeMillis();
        while (missing > 0 && System.currentTimeMillis() < end
            && System.currentTimeMillis() - quiet < QUIET_MS) {
            for (MessageExt message : consumer.poll(200)) {
                quiet = System.currentTimeMillis();
                read++;
                String key = message.getKeys();
                if (!Arrays.equals(message.getBody(), Bodies.of(key, BODY_BYTES))) {
                    damaged++;
                } else if (found.replace(key, false, true)) {
                    missing--;
                }
            }
        }
        consumer.shutdown();
        System.out.println("VERIFY acknowledged " + found.size() + " read " + read
            + " missing " + missing + " damaged " + damaged);
        found.entrySet().stream().filter(e -> !e.getValue()).limit(5)
            .forEach(e -> System.out.println("LOST " + e.getKey()));
        return missing == 0 && damaged == 0 ? 0 : 1;
    }
}
