# Two connections that it never closes, one that it does, and two idle ones of a pool.
require "net/http"
require "socket"
port = Integer(ARGV[0])

read_to_the_end = lambda do
  client = TCPSocket.new("127.0.0.1", port)
  client.write("GET /end HTTP/1.1\r\nHost: x\r\n\r\n")
  client.read
  client
end

leaked = [read_to_the_end.call, read_to_the_end.call]
read_to_the_end.call.close
pool = [1, 2].map { Net::HTTP.start("127.0.0.1", port) }
pool.each { |http| http.get("/pool").body }
puts "ready"
$stdout.flush
$stdin.read
