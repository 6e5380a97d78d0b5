import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/**
 * Sends when told to and prints what came back, so that a harness can read refusals as a stock
 * client's user would. Standard input: "burst TOPIC COUNT BYTES"; for each kind of answer one line
 * "ANSWER COUNT CODE-OR-STATUS REMARK" (of the first such), then "DONE".
 */
final class Remarks {
    private Remarks() {
    }

    static void run(Clients clients) throws Exception {
        DefaultMQProducer producer = clients.producer("remarks");
        producer.setRetryTimesWhenSendFailed(0);
        producer.setRetryTimesWhenSendAsyncFailed(0);
        System.out.println("REMARKS ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            burst(producer, words[1], Integer.parseInt(words[2]), Integer.parseInt(words[3]));
            System.out.println("DONE");
            System.out.flush();
        }
        producer.shutdown();
    }

    private static void burst(DefaultMQProducer producer, String topic, int count, int bytes)
        throws Exception {
        Map<String, Integer> counts = new TreeMap<>();
        Map<String, String> first = new TreeMap<>();
        CountDownLatch left = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            producer.send(new Message(topic, Bodies.of("r" + i, bytes)), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    take(result.getSendStatus().name(), "-");
                }

                @Override
                public void onException(Throwable error) {
                    if (error instanceof MQBrokerException) {
                        MQBrokerException refusal = (MQBrokerException) error;
                        take(refusal.getResponseCode() + "", refusal.getErrorMessage());
                    } else {
                        take("trouble", String.valueOf(error));
                    }
                }

                private void take(String code, String remark) {
                    // The first word and the reason tell refusals apart; numbers do not.
                    String kind = code + remark.replaceAll("[0-9]+", "#");
                    synchronized (counts) {
                        counts.merge(kind, 1, Integer::sum);
                        first.putIfAbsent(kind, code + " " + remark.replace('\n', ' '));
                    }
                    left.countDown();
                }
            }, 20_000);
        }
        if (!left.await(30, TimeUnit.SECONDS)) {
            System.out.println("ANSWER " + left.getCount() + " silence -");
        }
        synchronized (counts) {
            counts.forEach((kind, n) ->
                System.out.println("ANSWER " + n + " " + first.get(kind)));
        }
    }
}
