// Two connections that it never closes, one that it does, and two idle ones of a pool.
const http = require("http");
const net = require("net");
const port = Number(process.argv[2]);
const leaked = [];

const readToTheEnd = (then) => {
  const client = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  client.write("GET /end HTTP/1.1\r\nHost: x\r\n\r\n");
  client.on("data", () => {}).on("end", () => then(client));
};
const ask = (then) => {
  const agent = new http.Agent({ keepAlive: true });
  http.get({ port, host: "127.0.0.1", path: "/pool", agent }, (response) => {
    response.resume().on("end", then);
  });
};

readToTheEnd((first) => {
  leaked.push(first);
  readToTheEnd((second) => {
    leaked.push(second);
    readToTheEnd((third) => {
      third.end();
      ask(() => ask(() => console.log("ready")));
    });
  });
});
process.stdin.resume().on("end", () => process.exit());
