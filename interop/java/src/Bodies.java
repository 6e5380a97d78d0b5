import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;

/** Message bodies that can be told apart and checked: each is a function of its key and size. */
final class Bodies {
    private Bodies() {
    }

    /** Bytes that do not compress, of exactly {@code size}, the same for the same key. */
    static byte[] of(String key, int size) {
        long state = 0xcbf29ce484222325L;
        for (byte b : key.getBytes(StandardCharsets.UTF_8)) {
            state = (state ^ (b & 0xff)) * 0x100000001b3L;
        }
        state |= 1;
        byte[] body = new byte[size];
        for (int i = 0; i < size; i++) {
            if (i % 8 == 0) {
                state ^= state << 13;
                state ^= state >>> 7;
                state ^= state << 17;
            }
            body[i] = (byte) (state >>> (8 * (i % 8)));
        }
        return body;
    }

    /** Text of exactly {@code size} bytes that shrinks well, so the client compresses it. */
    static byte[] compressible(String key, int size) {
        byte[] line = (key + " the same line again and again; ").getBytes(StandardCharsets.UTF_8);
        byte[] body = new byte[size];
        for (int i = 0; i < size; i++) {
            body[i] = line[i % line.length];
        }
        return body;
    }

    /** SHA-256 in hex: what the cases compare, so that a failure line stays short. */
    static String hash(byte[] body) {
        try {
            StringBuilder text = new StringBuilder();
            for (byte b : MessageDigest.getInstance("SHA-256").digest(body)) {
                text.append(String.format("%02x", b));
            }
            return text.toString();
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
