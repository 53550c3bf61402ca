import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.Proxy;
import java.net.SocketTimeoutException;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.time.Duration;

/**
 * Calls $URL for ever, in turn with java.net.http.HttpClient and HttpURLConnection, both as they come, and says when the outcome
 * changes. Run it with: java Loop.java
 */
public class Loop {
    private static final String NAME = "java";
    private static final Duration TIMEOUT = Duration.ofSeconds(1);

    public static void main(String[] args) throws InterruptedException {
        URI url = URI.create(System.getenv("URL"));
        // HttpClient asks to upgrade to HTTP/2 in its first request, as any app does that doesn't say otherwise.
        HttpClient client = HttpClient.newBuilder().connectTimeout(TIMEOUT).build();
        String last = "";
        long ok = 0;
        for (long calls = 1; ; calls++) {
            String outcome;
            try {
                outcome = String.valueOf(calls % 2 == 1 ? withClient(client, url) : withConnection(url));
            } catch (IOException | RuntimeException e) {
                outcome = outcomeOf(e);
            }
            if (outcome.matches("2..")) {
                ok++;
            }
            if (!outcome.equals(last)) {
                System.out.println(NAME + " " + outcome);
                last = outcome;
            }
            if (calls % 100 == 0) {
                System.out.println(NAME + " calls=" + calls + " ok=" + ok);
            }
            Thread.sleep(20);
        }
    }

    private static int withClient(HttpClient client, URI url) throws IOException, InterruptedException {
        HttpRequest request = HttpRequest.newBuilder(url).timeout(TIMEOUT).header("User-Agent", NAME).build();
        return client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
    }

    private static int withConnection(URI url) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) url.toURL().openConnection(Proxy.NO_PROXY);
        connection.setConnectTimeout((int) TIMEOUT.toMillis());
        connection.setReadTimeout((int) TIMEOUT.toMillis());
        connection.setRequestProperty("User-Agent", NAME);
        int status = connection.getResponseCode();
        // Only a body read to its end lets the connection be used again.
        try (InputStream body = status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            if (body != null) {
                body.transferTo(OutputStream.nullOutputStream());
            }
        }
        return status;
    }

    /** Looks at all causes together: both APIs wrap what the socket said, HttpClient sometimes in a text that means something else. */
    private static String outcomeOf(Throwable failed) {
        StringBuilder all = new StringBuilder();
        for (Throwable e = failed; e != null; e = e.getCause()) {
            if (e instanceof HttpTimeoutException || e instanceof SocketTimeoutException) {
                return "timeout";
            }
            if (e instanceof UnknownHostException || e instanceof UnresolvedAddressException) {
                return "dns";
            }
            all.append(e).append('\n');
        }
        String text = all.toString().toLowerCase();
        if (text.contains("unreachable") || text.contains("no route")) {
            return "no-route";
        }
        if (text.contains("refused")) {
            return "refused";
        }
        if (text.contains("reset") || text.contains("broken pipe")) {
            return "reset";
        }
        if (text.contains("eof") || text.contains("unexpected end of") || text.contains("received no bytes")) {
            return "eof";
        }
        // HttpClient's has lost its message on the way.
        return text.contains("connectexception") ? "refused" : "other:" + failed;
    }
}
