import java.util.concurrent.Callable;

/** One line per case on standard output; remembers whether any case failed. */
final class Report {
    private int failed;

    synchronized void pass(String feature) {
        System.out.println("CASE " + feature + " pass");
    }

    synchronized void fail(String feature, String why) {
        failed++;
        System.out.println("CASE " + feature + " fail " + why.replaceAll("\\s+", " "));
    }

    /** Null means pass, text says what was wrong; an exception is a failure too. */
    void check(String feature, Callable<String> body) {
        try {
            String why = body.call();
            if (why == null) {
                pass(feature);
            } else {
                fail(feature, why);
            }
        } catch (Throwable e) {
            fail(feature, e.toString());
        }
    }

    int failures() {
        return failed;
    }
}
