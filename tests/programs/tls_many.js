// Many TLS connections, both ends of each in one thread, whose library reads from and writes to memory. Each has a marker of its own.
//
// tls_many.js PORT CERTIFICATE KEY: prints the target and the client's port of each request as JSON.

const fs = require("fs");
const https = require("https");

const CONNECTIONS = 50;
const REQUESTS = 10;

const [port, certificate, key] = process.argv.slice(2);
const options = { cert: fs.readFileSync(certificate), key: fs.readFileSync(key), keepAlive: true };
const server = https.createServer(options, (request, response) => {
  response.setHeader("Content-Length", request.url.length);
  response.end(request.url);
});

function ask(agent, marker, number, done) {
  const target = `/${marker}/${number}`;
  const request = https.get(
    { host: "127.0.0.1", port, path: target, agent, rejectUnauthorized: false },
    (response) => {
      const local = response.socket.localPort;
      response.resume().on("end", () => {
        console.log(JSON.stringify({ target, port: local }));
        if (number + 1 < REQUESTS) setImmediate(ask, agent, marker, number + 1, done);
        else done(agent);
      });
    },
  );
  request.on("error", (error) => {
    throw error;
  });
}

server.listen(port, "127.0.0.1", () => {
  let open = CONNECTIONS;
  const done = (agent) => {
    agent.destroy();
    if (--open === 0) server.close();
  };
  for (let marker = 0; marker < CONNECTIONS; marker++) {
    ask(new https.Agent({ keepAlive: true, maxSockets: 1 }), marker, 0, done);
  }
});
