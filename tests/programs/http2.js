// HTTP/2 by node, both ends, on a port of its own, which it prints first. Then each line that it reads is a request of
// one connection, which the first of them opens, and it prints how that ended for the client; `close` ends the connection, and the program.
//
// GET PATH: /early has an interim response, /trailers has trailers, /push pushes /pushed, /refused is refused,
// /held is never answered, and the client cancels it; /window is a body that waits for the client, /slow one that
// waits for it for 1.5 s; for /goaway the server ends the connection and does nothing. POST PATH BODY is answered with its body. GRPC STATUS is a call of two messages each way.
'use strict';
const http2 = require('http2');
const readline = require('readline');
const { constants } = http2;

const message = (text) => {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(text.length, 1);
  return Buffer.concat([prefix, Buffer.from(text)]);
};

const server = http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const path = headers[':path'];
  const answer = (text, more) => {
    stream.respond({ ':status': 200, ...more });
    stream.end(text);
  };
  if (headers['content-type'] === 'application/grpc') {
    stream.resume();
    stream.on('end', () => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => {
        stream.sendTrailers({ 'grpc-status': path.slice('/pkg.Service/'.length), 'grpc-message': 'so%20be%20it' });
      });
      stream.write(message('one'));
      stream.end(message('three'));
    });
  } else if (headers[':method'] === 'POST') {
    stream.respond({ ':status': 201 });
    stream.pipe(stream);
  } else if (path === '/early') {
    stream.additionalHeaders({ ':status': 103, link: '</a.css>' });
    answer('late');
  } else if (path === '/trailers') {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ checksum: '7' }));
    stream.end('body');
  } else if (path === '/push') {
    stream.pushStream({ ':path': '/pushed' }, (error, pushed) => {
      pushed.respond({ ':status': 200 });
      pushed.end('pushed');
      answer('pusher');
    });
  } else if (path === '/refused') {
    stream.close(constants.NGHTTP2_REFUSED_STREAM);
  } else if (path === '/goaway') {
    stream.session.goaway(constants.NGHTTP2_NO_ERROR, stream.id - 2);
  } else if (path === '/window' || path === '/slow') {
    answer(Buffer.alloc(300000));
  } else if (path !== '/held') {
    answer('text', { 'x-same': 'always the same' });
  }
});

server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  let session;
  const connect = () => {
    session = http2.connect(`http://127.0.0.1:${port}`);
    session.on('stream', (pushed) => pushed.resume());
    session.on('goaway', () => session.destroy());
  };
  console.log(port);
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const [word, path, body] = line.split(' ');
    if (word === 'close') {
      process.stdin.destroy();
      server.close();
      if (!session.destroyed) {
        session.close();
      }
      return;
    }
    if (!session) {
      connect();
    }
    const isCall = word === 'GRPC';
    const call = { 'content-type': 'application/grpc', te: 'trailers', 'grpc-timeout': '30S' };
    const headers = { ':method': isCall ? 'POST' : word, ':path': isCall ? `/pkg.Service/${path}` : path };
    const stream = session.request({ ...headers, 'x-asked': 'by a test', ...(isCall ? call : {}) }, { endStream: word === 'GET' });
    let [status, size] = ['-', 0];
    stream.on('response', (fields) => { status = fields[':status']; });
    stream.on('error', () => {});
    stream.on('data', (data) => { size += data.length; });
    stream.on('close', () => console.log(`${stream.id} ${status} ${size} ${stream.rstCode}`));
    if (path === '/window') {
      stream.pause();
      setTimeout(() => stream.resume(), 50);
    } else if (path === '/slow') {
      stream.pause();
      setTimeout(() => stream.resume(), 1500);
    } else {
      stream.resume();
    }
    if (isCall) {
      stream.write(message('a'));
      stream.end(message('bc'));
    } else if (word === 'POST') {
      stream.end(body);
    } else if (path === '/held') {
      // Once the server has it.
      server.once('stream', () => stream.close(constants.NGHTTP2_CANCEL));
    }
  });
});
