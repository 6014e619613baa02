// HTTP by node on the port that it is given: says when it listens, then prints each exchange as JSON.
//
// POST and PUT are answered with the request's body, chunk by chunk; /page is a page that talks WebSocket; /held is
// answered once a WebSocket message has been; anything else is text.
'use strict';
const cluster = require('cluster');
const crypto = require('crypto');
const http = require('http');

const page = `<html><body><img src="/held"><script>
const socket = new WebSocket('ws://' + location.host + '/socket');
socket.onopen = () => socket.send('GET /inside HTTP/1.1\\r\\n\\r\\n');
</script></body></html>`;
let isTalked = false;
let held = [];

function log(request, status, bodyBytes, bytes) {
  const fields = request.rawHeaders;
  // Names and values with ": " between and CR LF behind: how curl and browsers write them.
  let length = `${request.method} ${request.url} HTTP/1.1\r\n\r\n`.length;
  for (let i = 0; i < fields.length; i += 2) length += fields[i].length + fields[i + 1].length + 4;
  console.log(JSON.stringify({
    method: request.method, uri: request.url, status, body_bytes_sent: bodyBytes, bytes_sent: bytes,
    request_length: length, remote_port: request.socket.remotePort, pid: process.pid,
  }));
}

const server = http.createServer((request, response) => {
  const socket = request.socket;
  const before = socket.bytesWritten;
  let bodyBytes = 0;
  response.on('finish', () => log(request, response.statusCode, bodyBytes, socket.bytesWritten - before));
  const answer = (type, text) => {
    bodyBytes = request.method === 'HEAD' ? 0 : text.length;
    response.writeHead(200, { 'Content-Type': type, 'Content-Length': text.length });
    response.end(text);
  };
  if (request.method === 'POST' || request.method === 'PUT') {
    request.on('data', (data) => { bodyBytes += data.length; response.write(data); });
    request.on('end', () => response.end());
  } else if (request.url === '/page') {
    answer('text/html', page);
  } else if (request.url === '/held' && !isTalked) {
    held.push(() => answer('image/svg+xml', '<svg xmlns="http://www.w3.org/2000/svg"/>'));
  } else {
    answer('text/plain', `you asked for ${request.url}\n`);
  }
});

server.on('upgrade', (request, socket) => {
  const magic = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(magic).digest('base64');
  const head = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + `Sec-WebSocket-Accept: ${accept}\r\n\r\n`;
  socket.write(head);
  log(request, 101, 0, head.length);
  let frame = Buffer.alloc(0);
  socket.on('data', (data) => {
    frame = Buffer.concat([frame, data]);
    // One short masked text frame (RFC 6455, section 5.2), which is sent back without mask.
    if (frame.length < 6 || frame.length < 6 + (frame[1] & 127) || (frame[0] & 15) !== 1) return;
    const mask = frame.subarray(2, 6);
    const text = Buffer.from(frame.subarray(6, 6 + (frame[1] & 127)).map((byte, i) => byte ^ mask[i % 4]));
    socket.write(Buffer.concat([Buffer.from([0x81, text.length]), text]));
    frame = Buffer.alloc(0);
    isTalked = true;
    held.forEach((answer) => answer());
    held = [];
  });
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.end());
});

server.listen(Number(process.argv[2]), '127.0.0.1', () => cluster.isWorker || console.log('listening'));
