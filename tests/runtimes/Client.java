// Two connections that it never closes, one that it does, and one idle one of a pool.
import java.net.HttpURLConnection;
import java.net.Socket;
import java.net.URI;
import java.util.ArrayList;

class Client {
    static Socket readToTheEnd(int port) throws Exception {
        Socket client = new Socket("127.0.0.1", port);
        client.getOutputStream().write("GET /end HTTP/1.1\r\nHost: x\r\n\r\n".getBytes());
        client.getInputStream().readAllBytes();
        return client;
    }

    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        var leaked = new ArrayList<Socket>();
        leaked.add(readToTheEnd(port));
        leaked.add(readToTheEnd(port));
        readToTheEnd(port).close();
        var url = URI.create("http://127.0.0.1:" + port + "/pool").toURL();
        ((HttpURLConnection) url.openConnection()).getInputStream().readAllBytes();
        System.out.println("ready");
        System.in.readAllBytes();
        System.out.println(leaked.size());
    }
}
