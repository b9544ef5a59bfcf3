<?php
// How PHP's own library calls: MODE ADDRESS PORT [SOURCE SOURCE_PORT].
[, $mode, $address, $port] = $argv;
$host = str_contains($address, ':') ? "[$address]" : $address;
$context = isset($argv[4]) ? ['socket' => ['bindto' => "$argv[4]:$argv[5]"]] : [];
switch ($mode) {
    case 'connect':
        $local = stream_context_create($context);
        $socket = stream_socket_client("tcp://$host:$port", $code, $said, 5, STREAM_CLIENT_CONNECT, $local);
        if (!$socket) exit("$said ($code)\n");
        fwrite($socket, "hello\n");
        fread($socket, 1);
        break;
    case 'file': file_get_contents("http://$host:$port/", false, stream_context_create($context)); break;
    case 'fsockopen': fsockopen($host, (int) $port); break;
    case 'listen': stream_socket_server("tcp://$host:$port", $code, $said); break;
    case 'udp': fwrite(stream_socket_client("udp://$host:$port"), 'hello'); break;
    case 'udp-connect':
        $socket = stream_socket_client("udp://$host:$port");
        for ($i = 0; $i < 2; $i++) { fwrite($socket, 'hello'); usleep(50000); }
        break;
    case 'udp-bind': stream_socket_server("udp://$host:$port", $code, $said, STREAM_SERVER_BIND); break;
}
