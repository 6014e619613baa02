// A server with TLS, HTTP/2 and HTTP/1.1: PORT CERTIFICATE KEY. It has /big, 200,000 bytes, and /text.txt; everything else is missing. Prints
// `listening`, and then each exchange.
'use strict';
const fs = require('fs');
const http2 = require('http2');

const [port, certificate, key] = process.argv.slice(2);
const contents = { '/big': Buffer.alloc(200000, 'x'), '/text.txt': Buffer.from('text '.repeat(2000)) };

const options = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key), allowHTTP1: true };
const server = http2.createSecureServer(options, (request, response) => {
  const { method, url } = request;
  const content = contents[url] ?? Buffer.from('missing');
  const status = url in contents ? 200 : 404;
  request.resume();
  request.on('end', () => {
    const { remotePort } = request.socket;
    response.writeHead(status, { 'content-length': content.length });
    response.end(content, () => {
      const line = { method, uri: url, status, body_bytes_sent: content.length, bytes_sent: 0, remote_port: remotePort, pid: process.pid };
      console.log(JSON.stringify(line));
    });
  });
});
server.listen(port, '127.0.0.1', () => console.log('listening'));
