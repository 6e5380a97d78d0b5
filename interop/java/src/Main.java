import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Entry: --namesrv ADDR --prefix P --feature all|NAME,…|capture|load|verify|remarks [--journal FILE]. */
public final class Main {
    private static final List<String> ALL = Arrays.asList("sync", "async", "one-way", "batch",
        "body-100B", "body-2KiB", "body-4MiB", "body-5MiB", "compressed", "tags", "keys",
        "properties", "push-cluster", "push-broadcast", "rebalance", "pull", "from-first",
        "from-last", "from-timestamp", "offsets-kill", "two-shards");
    private static final BufferedReader STDIN =
        new BufferedReader(new InputStreamReader(System.in));

    private Main() {
    }

    public static void main(String[] args) {
        int code = 2;
        try {
            code = run(options(args));
        } catch (Throwable e) {
            // Printed and left by exit: a client still open would keep the process alive for ever.
            e.printStackTrace();
        }
        System.out.flush();
        System.exit(code);
    }

    private static int run(Map<String, String> options) throws Exception {
        Clients clients = new Clients(options.get("namesrv"), options.get("prefix"));
        String feature = options.getOrDefault("feature", "all");
        switch (feature) {
            case "capture":
                Capture.run(clients);
                return 0;
            case "remarks":
                Remarks.run(clients);
                return 0;
            case "load":
                Load.produce(clients, options.get("journal"));
                return 0;
            case "verify":
                return Load.verify(clients, options.get("journal"));
            default:
                Report report = new Report();
                Set<String> wanted = new LinkedHashSet<>(
                    feature.equals("all") ? ALL : Arrays.asList(feature.split(",")));
                new Features(clients, report).run(wanted);
                return report.failures() == 0 ? 0 : 1;
        }
    }

    private static Map<String, String> options(String[] args) {
        Map<String, String> options = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) {
            options.put(args[i].substring(2), args[i + 1]);
        }
        return options;
    }

    /** The harness kills the broker, starts it again and answers with one line. */
    static void askForKill() throws Exception {
        System.out.println("WAIT kill");
        System.out.flush();
        if (STDIN.readLine() == null) {
            throw new IllegalStateException("nobody answered WAIT kill");
        }
    }

    /** True when the harness has written a line or closed the pipe. */
    static boolean asked() throws Exception {
        return STDIN.ready();
    }
}
