// HTTP by two of node's workers on the port that it is given. The primary process accepts, and hands each connection to a worker in
// turn (Node's documentation, "Cluster", "How it works").
'use strict';
const cluster = require('cluster');

if (cluster.isPrimary) {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  let listening = 0;
  cluster.on('listening', () => { listening += 1; if (listening === 2) console.log('listening'); });
  for (let i = 0; i < 2; i += 1) cluster.fork();
  process.on('SIGTERM', () => { for (const id in cluster.workers) cluster.workers[id].process.kill(); process.exit(); });
} else {
  require('./server.js');
}
