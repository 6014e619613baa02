// A client with TLS: MODULE PORT [REQUEST..], where a request is METHOD:PATH and a POST has a body of 1000 bytes. Makes them one after the
// other on one connection, with node's module https or http2.
'use strict';
const https = require('https');
const http2 = require('http2');

const [module_, port, ...requests] = process.argv.slice(2);
const url = `https://127.0.0.1:${port}`;
const body = (method) => (method === 'POST' ? Buffer.alloc(1000, 'x') : undefined);
const read = (stream, done) => stream.resume().on('end', done);

const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
const withHttps = (method, path) =>
  new Promise((done) => {
    https.request(`${url}${path}`, { method, agent }, (response) => read(response, done)).end(body(method));
  });

const session = module_ === 'http2' ? http2.connect(url, { rejectUnauthorized: false }) : undefined;
const withHttp2 = (method, path) =>
  new Promise((done) => {
    const stream = session.request({ ':method': method, ':path': path });
    read(stream, done).end(body(method));
  });

(async () => {
  for (const request of requests) {
    await (session ? withHttp2 : withHttps)(...request.split(':'));
  }
  if (session) {
    session.close();
  } else {
    agent.destroy();
  }
})();
