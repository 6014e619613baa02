// Connections of one thread with TLS in memory (node): PORT COUNT. Opens them, prints `ready`, and then, for each line that it
// reads, sends a request on every one, /NUMBER/LINE, reads the responses and prints `done`. With `http2` behind that, the requests are
// streams of one connection.
'use strict';
const https = require('https');
const http2 = require('http2');
const readline = require('readline');

const [port, count, protocol] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
const insecure = { rejectUnauthorized: false };
const numbers = [...Array(count).keys()];

const agents = numbers.map(() => new https.Agent({ keepAlive: true, maxSockets: 1, ...insecure }));
const get = (number, path) =>
  new Promise((resolve, reject) => {
    const request = https.get({ host: '127.0.0.1', port, path, agent: agents[number] }, (response) => {
      response.resume();
      response.on('end', resolve);
    });
    request.on('error', reject);
  });

const session = protocol === 'http2' && http2.connect(`https://127.0.0.1:${port}`, insecure);
const stream = (number, path) =>
  new Promise((resolve, reject) => {
    const request = session.request({ ':path': path });
    request.on('error', reject);
    request.on('end', resolve);
    request.resume();
    request.end();
  });

const each = async (line) => {
  const one = session ? stream : get;
  await Promise.all(numbers.map((number) => one(number, `/${number}/${line}`)));
};

(async () => {
  console.log('ready');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    await each(line);
    console.log('done');
  }
  agents.forEach((agent) => agent.destroy());
  if (session) session.close();
})();
