// How the JDK calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT]. An error is not caught, so that the JDK prints it.
import java.net.*;
import java.nio.ByteBuffer;
import java.nio.channels.*;

class Main {
    public static void main(String[] args) throws Exception {
        var target = new InetSocketAddress(args[1], Integer.parseInt(args[2]));
        var source = args.length > 4 ? new InetSocketAddress(args[3], Integer.parseInt(args[4])) : null;
        switch (args[0]) {
            case "connect" -> {
                var socket = new Socket();
                if (source != null) socket.bind(source);
                socket.connect(target);
                socket.getOutputStream().write(1);
                socket.getInputStream().read();
            }
            case "nio" -> {
                var channel = SocketChannel.open();
                if (source != null) channel.bind(source);
                channel.connect(target);
                channel.write(ByteBuffer.wrap(new byte[1]));
                channel.read(ByteBuffer.allocate(1));
            }
            case "async" -> AsynchronousSocketChannel.open().connect(target).get();
            case "http" -> java.net.http.HttpClient.newHttpClient().send(
                java.net.http.HttpRequest.newBuilder(
                    new URI("http", null, args[1], target.getPort(), "/", null, null)).build(),
                java.net.http.HttpResponse.BodyHandlers.discarding());
            case "url" -> new URI("http", null, args[1], target.getPort(), "/", null, null).toURL().openStream();
            case "listen" -> new ServerSocket().bind(target);
            case "nio-listen" -> ServerSocketChannel.open().bind(target);
            case "udp" -> {
                var socket = new DatagramSocket();
                socket.send(new DatagramPacket(new byte[1], 1, target));
            }
            case "udp-connect" -> {
                var channel = DatagramChannel.open().connect(target);
                channel.write(ByteBuffer.wrap(new byte[1]));
                Thread.sleep(50);
                channel.write(ByteBuffer.wrap(new byte[1]));
            }
            case "udp-bind" -> new DatagramSocket(target);
            case "exhaust" -> { for (int i = 0; i < 5000; i++) SocketChannel.open(); }
        }
    }
}
