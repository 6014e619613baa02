<?php
// Two connections that it never closes, one that it does, and two idle ones of a pool.
$port = $argv[1];

function read_to_the_end($port) {
    $client = stream_socket_client("tcp://127.0.0.1:$port");
    fwrite($client, "GET /end HTTP/1.1\r\nHost: x\r\n\r\n");
    stream_get_contents($client);
    return $client;
}

$leaked = [read_to_the_end($port), read_to_the_end($port)];
fclose(read_to_the_end($port));
$pool = [];
foreach ([1, 2] as $number) {
    $pool[$number] = curl_init("http://127.0.0.1:$port/pool");
    curl_setopt($pool[$number], CURLOPT_RETURNTRANSFER, true);
    curl_exec($pool[$number]);
}
echo "ready\n";
stream_get_contents(STDIN);
